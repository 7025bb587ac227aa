"""The part of an answer that somebody asked for. A filter chooses rows; of a row it changes only the ports shown."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from gatewright.engine.addresses import AddressSet
from gatewright.engine.label_query import parse_selector
from gatewright.engine.model import Endpoint
from gatewright.engine.parts import Access
from gatewright.engine.ports import ALL_TRAFFIC, NO_TRAFFIC, PortSet, Protocol
from gatewright.engine.selectors import matches
from gatewright.engine.targets import Target, parse_port
from gatewright.engine.verdict import Party
from gatewright.engine.view import End, Group, Row, View
from gatewright.objects.meta import LabelSelector

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Filter:
    """What to keep; empty keeps everything.

    `sources` and `destinations` name the ends, `focus` either end. `namespace` and `labels` want one end of which both
    hold. Of each row the `ports` are kept, and a row of none of them goes.
    """

    sources: tuple[Target, ...] = ()
    destinations: tuple[Target, ...] = ()
    focus: tuple[Target, ...] = ()
    ports: PortSet = ALL_TRAFFIC
    namespace: str = ""
    labels: LabelSelector | None = None

    def __bool__(self) -> bool:
        return self != Filter()

    def apply(self, view: View) -> View:
        """The part of a view that the filter keeps."""
        kept = (self._cut(row) for row in view.rows if self._keeps(row))
        return View(tuple(row for row in kept if row.access), tuple(one for one in view.groups if self._chooses(one)))

    def _keeps(self, row: Row) -> bool:
        return (
            _is_any(row.source, self.sources)
            and _is_any(row.destination, self.destinations)
            and (_is_any(row.source, self.focus) or _is_any(row.destination, self.focus))
            and (self._chooses(row.source) or self._chooses(row.destination))
        )

    def _chooses(self, end: End) -> bool:
        if not self.namespace and self.labels is None:
            return True
        if not isinstance(end, Group) or self.namespace not in ("", end.namespace):
            return False
        return self.labels is None or any(matches(self.labels, member.labels) for member in end.members)

    def _cut(self, row: Row) -> Row:
        access = Access(row.access.ports & self.ports, row.access.possible & self.ports)
        return Row(row.source, row.destination, access, row.family)


def port_filter(texts: tuple[str, ...]) -> PortSet:
    """The ports of one or more `[PROTOCOL/]PORT`; everything for none. Raises BadPort."""
    ports = NO_TRAFFIC
    for text in texts:
        protocol, number = parse_port(text)
        ports |= PortSet(other=True) if protocol is None else PortSet.of(Protocol(protocol), (number, number))
    return ports or ALL_TRAFFIC


def label_filter(text: str) -> LabelSelector | None:
    """The selector of kubectl's `-l`; None for no text. Raises BadSelector."""
    return parse_selector(text) if text else None


def _is_any(end: End, targets: tuple[Target, ...]) -> bool:
    return not targets or any(_is(end, party) for target in targets for party in target.parties)


def _is(end: End, party: Party) -> bool:
    if isinstance(party, Endpoint):
        return isinstance(end, Group) and party in end.members
    if not isinstance(party, IPAddress):
        return end == party
    if isinstance(end, Group):
        return any(party in member.addresses for member in end.members)
    return isinstance(end, AddressSet) and end.contains(party)
