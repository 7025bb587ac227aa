"""The program of a node as a value that goes on: from compiled rules to a program, and from each change to the next.

The program is a function of the compiled rules alone. Equal rules give an equal program with equal names, whatever was
programmed before: `after` ends where `of` would have begun, and says what differs on the way. A first program is that,
too: everything added to the frame. Where it is asked for, sets that no rule names stay for a while (`spares`).

The classes of one cell of the partition have the same policies, so their names depend on no other cell. Where two pods
claim one address for a moment (the API still lists the last owner), the class whose name comes first has it: any of
them would do, as long as history does not choose.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from gatewright.engine.addresses import FAMILIES, IPAddress
from gatewright.engine.compile import Class, ClassKey, Update
from gatewright.engine.layers import variant
from gatewright.engine.model import Direction, DirectionRules, Endpoint, TierRules
from gatewright.engine.podset import PodSet
from gatewright.engine.roster import Move
from gatewright.kernel.affected import affected
from gatewright.kernel.change import NO_CHANGE, Change, Edits, MapChange
from gatewright.kernel.classes import (
    Addresses,
    CompiledRules,
    Ground,
    PodClass,
    Positions,
    begin,
    follow,
    resume,
)
from gatewright.kernel.denial import counters, limits
from gatewright.kernel.guards import NO_GUARDS, Guards, guard_changes, guard_sets
from gatewright.kernel.names import class_name, digest, policies_of
from gatewright.kernel.naming import Naming
from gatewright.kernel.options import Options
from gatewright.kernel.program import frame, verdict_map
from gatewright.kernel.spares import NOTHING, Keep, Spares
from gatewright.kernel.table import Program, VerdictMap

MOST_FORGOTTEN = 250
"""Cells that are gone, beside as many as there are, after which what is known of classes is put together anew."""
Cells = Mapping[Direction, Collection[int]]
"""Cells of the partition, whose classes may be others than before."""


class NodeProgram:
    """What a node's kernel should hold for some compiled rules, about all pods that these are about. A value."""

    def __init__(self, rules: CompiledRules, options: Options, guards: Guards, keep: Keep) -> None:
        """An empty program; `of` and `after` make those that are not."""
        self.options = options
        self.guards = guards
        self._rules = rules
        self._spares = Spares(keep)
        self._sides = {direction: _Side(direction, options) for direction in Direction}

    @classmethod
    def of(
        cls,
        rules: CompiledRules,
        options: Options | None = None,
        guards: Guards = NO_GUARDS,
        keep: Keep = NOTHING,
    ) -> tuple[NodeProgram, Program]:
        """The program of compiled rules, from the beginning: as a value that goes on, and as what it is now.

        Endpoints on the host network, without addresses, or not restricted by anything, stand in no map. The class of
        a pod that waits for its address is there already: when it comes, all that is missing is one entry. `keep` says
        which sets the programs after this one keep for a while after their class is gone.
        """
        made = cls(rules, options or Options(), guards, keep)
        empty = made.program
        cells = {direction: {key[0] for key in rules.classes(direction)} for direction in Direction}
        return made, made._follow(cells, Ground.between(rules, rules)).after(empty)

    def after(self, update: Update) -> tuple[NodeProgram, Change]:
        """The program of the rules that an update leads to, and what it changes in this one.

        Raises ValueError for an update that does not begin at this program's rules.
        """
        if update.before is not self._rules:
            raise ValueError("an update that does not begin at the rules of this program")
        following = variant(self)
        following._rules = update.compiled
        moves = [one for one in update.step.moves if _addresses_differ(one)]
        if not moves and not any(update.touched.values()):
            return following, NO_CHANGE
        following._sides = {direction: side.copy() for direction, side in self._sides.items()}
        cells = {direction: {key[0] for key in keys} for direction, keys in update.touched.items()}
        for position in (one.position for one in moves):
            for rules in (update.before, update.compiled):
                if rules.is_subject(position):
                    for direction, own in cells.items():
                        own.add(rules.class_of(position, direction).key[0])
        ground = Ground.between(update.before, update.compiled, PodSet.of([one.position for one in moves]))
        following._spares = self._spares.following(ground.moved)
        return following, following._follow(cells, ground)

    def guarded(self, guards: Guards) -> tuple[NodeProgram, Change]:
        """The program with other contents of the guards' sets, and what that changes."""
        following = variant(self)
        following.guards = guards
        return following, Change(sets=guard_changes(self.options, self.guards, guards))

    def tidied(self) -> NodeProgram:
        """The same without spares: for who makes the whole table anew, and fills only what rules use."""
        following = variant(self)
        following._spares = self._spares.none()
        return following

    def affected(self, change: Change) -> frozenset[IPAddress]:
        """The pods to which the change that led here may forbid something: whose connections are to be judged again."""
        return frozenset(map(_address, affected(change, self.classes)))

    @property
    def classes(self) -> Iterator[PodClass]:
        """The classes of both directions."""
        for side in self._sides.values():
            yield from side.classes()

    @property
    def element_count(self) -> int:
        """How many elements the sets and maps of all classes hold together."""
        entries = sum(len(side.claims) for side in self._sides.values())
        return entries + sum(one.element_count for one in self.classes)

    @property
    def spares(self) -> frozenset[str]:
        """The names of the sets that no rule uses and that stay for a while."""
        return frozenset(part.name for one in self._spares for part in one.sets)

    @property
    def program(self) -> Program:
        """All of it, worked out from the beginning, spares included."""
        classes = list(self.classes)
        sets = [part for one in classes for part in one.sets(self._rules.at)]
        maps = [part for side in self._sides.values() for part in side.maps()]
        chains = [chain for one in classes for chain in one.chains]
        sets += (part for one in self._spares for part in one.sets)
        sets += guard_sets(self.options, self.guards)
        chains += frame(self.options)
        return Program.of(self.options.table, sets, maps, chains, counters(chains), limits(self.options))

    def _follow(self, cells: Cells, ground: Ground) -> Change:
        edits = Edits()
        for direction, side in self._sides.items():
            side.follow(cells[direction], ground, self._spares, edits)
        self._spares.tidy(edits)
        return edits.change()


class _Side:
    """One direction: the classes of each cell, and which of them have an address (the first has it)."""

    def __init__(self, direction: Direction, options: Options) -> None:
        self.direction = direction
        self.options = options
        self.cells: dict[int, tuple[PodClass, ...]] = {}
        self.claims: dict[tuple[int, int], tuple[str, ...]] = {}
        self._naming = Naming()

    def copy(self) -> _Side:
        """A side of its own."""
        other = _Side(self.direction, self.options)
        other.cells, other.claims, other._naming = dict(self.cells), dict(self.claims), self._naming
        return other

    def classes(self) -> Iterator[PodClass]:
        """Every class."""
        for own in self.cells.values():
            yield from own

    def maps(self) -> Iterator[VerdictMap]:
        """The maps from address to class."""
        for family in FAMILIES:
            entries = [(number, names[0]) for (kind, number), names in self.claims.items() if kind == family]
            yield verdict_map(self.direction, family, entries)

    def follow(self, cells: Collection[int], ground: Ground, spares: Spares, edits: Edits) -> None:
        """Make the classes of these cells again, and look after those that name a pod with another address."""
        there = {cell: self.cells.pop(cell, ()) for cell in cells}
        old = {one.name: one for classes in there.values() for one in classes}
        for cell in self._naming.near(ground.moved):
            classes = self.cells.get(cell, ())
            if any(one.names_any(ground.moved) for one in classes):
                own = [follow(one, one.rules, one.addresses, ground, edits) for one in classes]
                self.cells[cell] = tuple(own)
        before = {one.name: one.addresses for one in old.values()}
        after: dict[str, Addresses] = {}
        for cell, groups in _groups(ground.after, self.direction, cells).items():
            made = []
            for group in groups:
                name, addresses = group.name(len(groups) == 1), group.addresses
                after[name] = addresses
                if was := old.pop(name, None):
                    made.append(follow(was, group.rules, addresses, ground, edits))
                elif spare := spares.take(name):
                    made.append(resume(spare.left, group.rules, addresses, spare.ground(ground), edits))
                else:
                    made.append(begin(name, group.rules, addresses, ground.after.at, edits, self.options))
            self._naming.add(cell, _named(made) - _named(there[cell]))
            self.cells[cell] = tuple(made)
        for gone in old.values():
            spares.leave(gone, ground, edits)
        if len(self._naming) > 2 * len(self.cells) + MOST_FORGOTTEN:
            self._naming = Naming((cell, _named(classes)) for cell, classes in self.cells.items())
        self._claim(before, after, edits)

    def _claim(self, before: Mapping[str, Addresses], after: Mapping[str, Addresses], edits: Edits) -> None:
        """Classes have other addresses than before."""
        had: dict[tuple[int, int], tuple[str, ...]] = {}
        for name in before.keys() | after.keys():
            now = after.get(name, frozenset())
            for address in before.get(name, frozenset()) ^ now:
                names = self.claims.pop(address, ())
                had.setdefault(address, names)
                if names := tuple(sorted({*names, name} if address in now else {*names} - {name})):
                    self.claims[address] = names
        for family in FAMILIES:
            moved = [
                (number, names[:1], self.claims.get((kind, number), ())[:1])
                for (kind, number), names in had.items()
                if kind == family
            ]
            gone = [(number, name) for number, was, now in moved if was != now for name in was]
            added = [(number, name) for number, was, now in moved if was != now for name in now]
            if gone or added:
                edits.maps.append(MapChange(verdict_map(self.direction, family), gone, added))


def _named(classes: Iterable[PodClass]) -> PodSet:
    """The pods that the rules of some classes name."""
    return PodSet.union(stage.reach.members for one in classes for stage in one.stages)


def _address(numbered: tuple[int, int]) -> IPAddress:
    family, number = numbered
    return ipaddress.IPv4Address(number) if family == 4 else ipaddress.IPv6Address(number)


def _addresses_differ(move: Move) -> bool:
    before, after = move.before, move.after
    return (before.addresses if before else ()) != (after.addresses if after else ())


@dataclass(slots=True)
class _Group:
    """Pods of one cell under equal rules."""

    rules: DirectionRules
    pods: list[Endpoint] = field(default_factory=list)

    @property
    def addresses(self) -> Addresses:
        """Those of its pods."""
        return frozenset((address.version, int(address)) for pod in self.pods for address in pod.addresses)

    def name(self, alone: bool) -> str:
        """The name of the class. Those of the same policies, where port names differ, are told apart by a pod."""
        name = class_name(self.rules.direction, policies_of(self.rules))
        return name if alone else f"{name}/{digest(min(f'{pod.path}/{pod.kind}' for pod in self.pods))}"


def _groups(rules: CompiledRules, direction: Direction, cells: Collection[int]) -> dict[int, list[_Group]]:
    """The pods of these cells that something restricts."""
    found: dict[int, dict[tuple[TierRules, ...], _Group]] = {}
    for own in rules.of_cells(direction, cells):
        if own.rules:
            pods = [pod for pod in map(rules.at, own.members) if not pod.host_network]
            if pods:
                groups = found.setdefault(own.key[0], {})
                groups.setdefault(own.rules.tiers, _Group(own.rules)).pods.extend(pods)
    return {cell: list(groups.values()) for cell, groups in found.items()}


def node_program(
    compiled: CompiledRules, local: Iterable[int], *, options: Options | None = None, guards: Guards = NO_GUARDS
) -> Program:
    """The program of a node whose pods stand at the positions `local`, from rules that are about others too."""
    return NodeProgram.of(_Local(compiled, PodSet.of(sorted(set(local)))), options, guards)[1]


@dataclass(frozen=True)
class _Local:
    """Compiled rules of which only some pods count."""

    compiled: CompiledRules
    pods: PodSet

    def at(self, position: int) -> Endpoint:
        """The endpoint at a position."""
        return self.compiled.at(position)

    def classes(self, direction: Direction) -> dict[ClassKey, Class]:
        """The classes, as far as those pods are among their members."""
        found = self.compiled.classes(direction).items()
        return {key: Class(key, kept, one.rules) for key, one in found if (kept := one.members & self.pods)}

    def of_cells(self, direction: Direction, cells: Iterable[int]) -> Iterator[Class]:
        """Those of some cells."""
        for one in self.compiled.of_cells(direction, cells):
            if kept := one.members & self.pods:
                yield Class(one.key, kept, one.rules)

    @property
    def holders(self) -> Mapping[IPAddress, tuple[int, ...]]:
        """Who has an address."""
        return self.compiled.holders

    @property
    def positions(self) -> Positions:
        """Those of all pods."""
        return self.compiled.positions
