"""The part of an answer that somebody asked for. A filter chooses rows; of a row it changes only the ports shown."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, replace

from gatewright.engine.addresses import AddressSet
from gatewright.engine.difference import Change, Difference
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
        """The part of a view that the filter keeps: rows, and of the groups those that it asks about."""
        kept = (self._cut(row) for row in view.rows if self._keeps(row.source, row.destination))
        groups = (one for one in view.groups if self._chooses(one) and _is_any(one, self._named))
        return View(tuple(row for row in kept if row.access), tuple(groups))

    def changes(self, found: Difference, old: View, new: View) -> Difference:
        """The part of a difference that the filter keeps, going by what its ends are in either of the two states.

        Of the workloads that are new or gone those stay that the filter names, and the ends of changes that stay.
        """
        whole = _in_both(old, new)
        kept = tuple(
            one
            for change in found.changes
            if self._keeps(whole.get(change.source, change.source), whole.get(change.destination, change.destination))
            and (one := self._cut_change(change)).before != one.after
        )
        ends = {end for change in kept for end in (change.source, change.destination)}
        new_and_gone = (
            tuple(g for g in groups if g in ends or (self._chooses(whole[g]) and _is_any(whole[g], self._named)))
            for groups in (found.new, found.gone)
        )
        return Difference(kept, *new_and_gone)

    @property
    def _named(self) -> tuple[Target, ...]:
        return (*self.sources, *self.destinations, *self.focus)

    def _keeps(self, source: End, destination: End) -> bool:
        return (
            _is_any(source, self.sources)
            and _is_any(destination, self.destinations)
            and (_is_any(source, self.focus) or _is_any(destination, self.focus))
            and (self._chooses(source) or self._chooses(destination))
        )

    def _chooses(self, end: End) -> bool:
        if not self.namespace and self.labels is None:
            return True
        if not isinstance(end, Group) or self.namespace not in ("", end.namespace):
            return False
        return self.labels is None or any(matches(self.labels, member.labels) for member in end.members)

    def _cut(self, row: Row) -> Row:
        return replace(row, access=self._cut_access(row.access))

    def _cut_change(self, change: Change) -> Change:
        return replace(change, before=self._cut_access(change.before), after=self._cut_access(change.after))

    def _cut_access(self, access: Access) -> Access:
        return Access(access.ports & self.ports, access.possible & self.ports)


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


def _in_both(old: View, new: View) -> dict[End, End]:
    """Each group with its members of both states."""
    found: dict[End, End] = {group: group for group in old.groups}
    for group in new.groups:
        before = found.get(group)
        members = before.members if isinstance(before, Group) else ()
        found[group] = replace(group, members=members + group.members)
    return found


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
