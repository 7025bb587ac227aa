"""What changed between two answers: connections added, removed and changed, workloads new and gone.

Outside addresses are compared as sets: a policy that cuts a range elsewhere changes only the addresses whose ports
differ. A connection that is written once for both address families equals the same one written family by family.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from gatewright.engine.addresses import FAMILIES, NO_ADDRESSES, AddressSet
from gatewright.engine.parts import Access
from gatewright.engine.ports import NO_TRAFFIC
from gatewright.engine.view import End, Group, Row, Source, View, order

NOTHING = Access(NO_TRAFFIC, NO_TRAFFIC)


class Kind(enum.StrEnum):
    """What became of a connection."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class Change:
    """One connection that is not what it was. `before` or `after` allows nothing where it was added or removed.

    `family` is 4 or 6 where only that family changed.
    """

    source: Source
    destination: End
    before: Access
    after: Access
    family: int | None = None

    @property
    def kind(self) -> Kind:
        """Added, removed, or changed."""
        if not self.before:
            return Kind.ADDED
        return Kind.CHANGED if self.after else Kind.REMOVED


@dataclass(frozen=True, slots=True)
class Difference:
    """Every change, in stable order; `new` and `gone` are the workloads of only one of the two states."""

    changes: tuple[Change, ...]
    new: tuple[Group, ...]
    gone: tuple[Group, ...]

    def __bool__(self) -> bool:
        return bool(self.changes or self.new or self.gone)


def difference(old: View, new: View) -> Difference:
    """What has to happen to the old answer to make it the new one."""
    changes = [*_between_groups(old.rows, new.rows), *_with_addresses(old.rows, new.rows)]
    changes.sort(key=lambda one: (order(one.source), order(one.destination), one.family or 0))
    before, after = set(old.groups), set(new.groups)
    return Difference(
        tuple(changes),
        tuple(group for group in new.groups if group not in before),
        tuple(group for group in old.groups if group not in after),
    )


def _between_groups(old: Iterable[Row], new: Iterable[Row]) -> Iterator[Change]:
    """Changes of rows whose two ends have names."""
    before, after = _by_place(old), _by_place(new)
    for source, destination in dict.fromkeys((*before, *after)):
        was, now = before.get((source, destination), {}), after.get((source, destination), {})
        if None in (was.keys() | now.keys()) and not (was.keys() | now.keys()) - {None}:
            families: tuple[int | None, ...] = (None,)
        else:
            families = FAMILIES
        pairs = {family: (_in_family(was, family), _in_family(now, family)) for family in families}
        if len(set(pairs.values())) == 1:
            pairs = {None: next(iter(pairs.values()))}
        for family, (left, right) in pairs.items():
            if left != right:
                yield Change(source, destination, left, right, family)


def _by_place(rows: Iterable[Row]) -> dict[tuple[Source, End], dict[int | None, Access]]:
    places: dict[tuple[Source, End], dict[int | None, Access]] = {}
    for row in rows:
        if not isinstance(row.source, AddressSet) and not isinstance(row.destination, AddressSet):
            places.setdefault((row.source, row.destination), {})[row.family] = row.access
    return places


def _in_family(accesses: dict[int | None, Access], family: int | None) -> Access:
    """A row without a family holds for each."""
    return accesses.get(family, accesses.get(None, NOTHING))


def _with_addresses(old: Iterable[Row], new: Iterable[Row]) -> Iterator[Change]:
    """Changes of rows with outside addresses, cut to the addresses for which something changed."""
    before, after = _by_named_end(old), _by_named_end(new)
    for place in dict.fromkeys((*before, *after)):
        group, inward = place
        for (left, right), addresses in _overlaid(before.get(place, {}), after.get(place, {})).items():
            if left != right:
                for piece in (AddressSet(v4=addresses.v4), AddressSet(v6=addresses.v6)):
                    if piece and inward:
                        yield Change(piece, group, left, right)
                    elif piece:
                        yield Change(group, piece, left, right)


def _by_named_end(rows: Iterable[Row]) -> dict[tuple[Group, bool], dict[Access, AddressSet]]:
    """By (group, whether traffic comes in): the addresses of each access."""
    places: dict[tuple[Group, bool], dict[Access, AddressSet]] = {}
    for row in rows:
        if isinstance(row.source, AddressSet):
            if not isinstance(row.destination, Group):
                continue
            group, inward, addresses = row.destination, True, row.source
        elif isinstance(row.destination, AddressSet):
            group, inward, addresses = row.source, False, row.destination
        else:
            continue
        found = places.setdefault((group, inward), {})
        found[row.access] = found.get(row.access, NO_ADDRESSES) | addresses
    return places


def _overlaid(
    before: dict[Access, AddressSet], after: dict[Access, AddressSet]
) -> dict[tuple[Access, Access], AddressSet]:
    """The addresses by (what they could before, what they can now)."""
    pieces: dict[tuple[Access, Access], AddressSet] = {}

    def add(left: Access, right: Access, addresses: AddressSet) -> None:
        if addresses:
            pieces[left, right] = pieces.get((left, right), NO_ADDRESSES) | addresses

    for left, addresses in before.items():
        rest = addresses
        for right, others in after.items():
            add(left, right, addresses & others)
            rest -= others
        add(left, NOTHING, rest)
    for right, others in after.items():
        for addresses in before.values():
            others -= addresses
        add(NOTHING, right, others)
    return pieces
