"""One class of a node's pods: what it needs of sets and chains, and what of them is different after a change.

A class is kept as its rules, as how many elements each of its sets has, and as the segments that its ranges are made
of; the elements themselves are worked out when somebody needs them. After a change only those addresses are looked at
whose pods came into the rules, left them or moved.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from gatewright.engine.addresses import FAMILIES, IPAddress
from gatewright.engine.compile import Class, ClassKey
from gatewright.engine.model import Direction, DirectionRules, Endpoint
from gatewright.engine.podset import NO_PODS, PodSet
from gatewright.engine.ports import PortSet, Ranges
from gatewright.kernel.change import Edits, SetChange
from gatewright.kernel.cover import (
    NOBODY,
    At,
    Elements,
    Part,
    Reach,
    cover,
    exact_elements,
    may_span,
    open_elements,
    pod_ports,
    segment_elements,
    segments_of,
    spans,
)
from gatewright.kernel.options import Options
from gatewright.kernel.program import Stage, class_chains, set_of, stages
from gatewright.kernel.segments import Segment, Segments, patched
from gatewright.kernel.table import Chain, Element, Set

Holders = Mapping[IPAddress, tuple[int, ...]]
"""The positions of the endpoints that have an address."""


class Positions(Protocol):
    """Who stands where, and who has which address."""

    def at(self, position: int) -> Endpoint:
        """The endpoint at a position. Raises KeyError where nobody is."""

    @property
    def holders(self) -> Holders:
        """The positions of the endpoints that have an address."""


class CompiledRules(Positions, Protocol):
    """What a program needs of `engine.compile.Compiled`."""

    def classes(self, direction: Direction) -> Mapping[ClassKey, Class]:
        """The classes of the pods that the program is about."""

    def of_cells(self, direction: Direction, cells: Iterable[int]) -> Iterator[Class]:
        """Those whose keys begin with one of these cells."""

    @property
    def positions(self) -> Positions:
        """The positions alone, for whoever keeps them when the rules are long gone."""


MOST_PATCHED = 64
"""Addresses with other ranges for which segments are patched one by one; for more they are made anew."""
NO_SEGMENTS: Mapping[int, Segments] = {family: [] for family in FAMILIES}
Addresses = frozenset[tuple[int, int]]
"""(family, number)."""


@dataclass(frozen=True, slots=True)
class PodClass:
    """Pods whose packets of one direction meet the same rules, in a set for each part of each stage.

    `addresses` are those of its pods. Stage by stage, `sizes` are the numbers of elements of its parts (those without
    any are left out), and `segments` by family what its ranges are made of.
    """

    name: str
    rules: DirectionRules
    addresses: Addresses
    stages: tuple[Stage, ...]
    sizes: tuple[Mapping[Part, int], ...]
    segments: tuple[Mapping[int, Segments], ...]
    options: Options

    @property
    def chains(self) -> tuple[Chain, ...]:
        """Its chains."""
        return class_chains(self.name, self.rules.direction, self._staged, self.options)

    @property
    def element_count(self) -> int:
        """How many elements its sets hold together."""
        return sum(sum(sizes.values()) for sizes in self.sizes)

    @property
    def shape(self) -> list[object]:
        """What its chains depend on, beside its name and the options."""
        return [(*stage.shape, sizes.keys()) for stage, sizes in self._staged]

    @property
    def _staged(self) -> list[tuple[Stage, Mapping[Part, int]]]:
        return list(zip(self.stages, self.sizes, strict=True))

    def sets(self, at: At) -> Iterator[Set]:
        """Its sets, worked out from the beginning."""
        for stage in self.stages:
            for part, items in cover(stage.reach, at).elements.items():
                yield set_of(self.name, stage, part, items)

    def names_any(self, pods: PodSet) -> bool:
        """Whether its rules name one of these pods."""
        return any(pods & stage.reach.members for stage in self.stages)


@dataclass(frozen=True, slots=True)
class Ground:
    """What a change leads between, and the positions of those who have other addresses than before."""

    before: Positions
    after: CompiledRules
    moved: PodSet
    held_before: Holders
    held_after: Holders

    @classmethod
    def between(cls, before: CompiledRules, after: CompiledRules, moved: PodSet = NO_PODS) -> Ground:
        """The ground of a change. The first one makes the index of addresses, which then goes on with the rules."""
        return cls(before.positions, after, moved, before.holders, after.holders)

    def addresses(self, positions: PodSet) -> set[IPAddress]:
        """The addresses that these positions had or have."""
        found: set[IPAddress] = set()
        for position in positions:
            for known in (self.before, self.after):
                with suppress(KeyError):  # not there yet, or not there any more
                    found.update(known.at(position).addresses)
        return found


def begin(name: str, rules: DirectionRules, addresses: Addresses, at: At, edits: Edits, options: Options) -> PodClass:
    """A class that was not there before."""
    own = stages(rules)
    covers = [cover(stage.reach, at) for stage in own]
    for stage, found in zip(own, covers, strict=True):
        edits.new_sets += [set_of(name, stage, part, items) for part, items in found.elements.items()]
    sizes = tuple({part: len(items) for part, items in found.elements.items()} for found in covers)
    made = PodClass(name, rules, addresses, own, sizes, tuple(found.segments for found in covers), options)
    edits.chains((), made.chains)
    return made


def follow(old: PodClass, rules: DirectionRules, addresses: Addresses, ground: Ground, edits: Edits) -> PodClass:
    """A class that stays, whose rules, pods or peers may be others than before."""
    made = _followed(old, rules, addresses, ground, edits)
    if made.shape != old.shape:
        edits.chains(old.chains, made.chains)
    return made


def resume(old: PodClass, rules: DirectionRules, addresses: Addresses, ground: Ground, edits: Edits) -> PodClass:
    """A class that comes back, of which only the sets are still there; the ground begins where it went."""
    made = _followed(old, rules, addresses, ground, edits)
    edits.chains((), made.chains)
    return made


def _followed(old: PodClass, rules: DirectionRules, addresses: Addresses, ground: Ground, edits: Edits) -> PodClass:
    """The class after a change; collects what happens to its sets."""
    own = old.stages if rules is old.rules else stages(rules)
    before = zip(old.stages, old.sizes, old.segments, strict=True)
    known = {stage.name: (stage.reach, sizes, segments) for stage, sizes, segments in before}
    sizes: list[Mapping[Part, int]] = []
    segments: list[Mapping[int, Segments]] = []
    for stage in own:
        was, had, ranged = known.pop(stage.name, (NOBODY, {}, NO_SEGMENTS))
        found, after = _part_edits(was, stage.reach, ranged, ground)
        sizes.append(_put(old.name, stage, had, found, edits) if found else had)
        segments.append(after)
    gone = [(stage, had) for stage, had in zip(old.stages, old.sizes, strict=True) if stage.name in known]
    edits.gone_sets += [set_of(old.name, stage, part).name for stage, had in gone for part in had]
    return PodClass(old.name, rules, addresses, own, tuple(sizes), tuple(segments), old.options)


def end(old: PodClass, edits: Edits) -> None:
    """A class that is not there any more."""
    end_sets(old, edits)
    edits.chains(old.chains, ())


def end_sets(old: PodClass, edits: Edits) -> None:
    """The sets of a class that is not there any more go."""
    for stage, sizes in zip(old.stages, old.sizes, strict=True):
        edits.gone_sets += [set_of(old.name, stage, part).name for part in sizes]


def _put(name: str, stage: Stage, sizes: Mapping[Part, int], found: PartEdits, edits: Edits) -> Mapping[Part, int]:
    """Collect what happens to the sets of a stage; gives how many elements each has then."""
    after = dict(sizes)
    for part, (gone, added) in found.items():
        before = sizes.get(part, 0)
        after[part] = before - len(gone) + len(added)
        if not before:
            edits.new_sets.append(set_of(name, stage, part, added))
        elif after[part]:
            edits.sets.append(SetChange(set_of(name, stage, part), gone, added))
        else:
            edits.gone_sets.append(set_of(name, stage, part).name)
    return {part: size for part, size in after.items() if size}


PartEdits = dict[Part, tuple[set[Element], set[Element]]]
"""The elements that go, and those that come, of each part where there are any."""


def _part_edits(
    old: Reach, new: Reach, segments: Mapping[int, Segments], ground: Ground
) -> tuple[PartEdits, Mapping[int, Segments]]:
    """What is different in the sets of a stage, and its segments after it.

    Only addresses whose ports may be others are looked at.
    """
    found: PartEdits = {}
    ranged: dict[int, dict[int, PortSet]] = {family: {} for family in FAMILIES}
    for address in ground.addresses(_touched(old, new, ground.moved)):
        was = old.ports_of(ground.held_before.get(address, ()))
        now = new.ports_of(ground.held_after.get(address, ()))
        if was != now:
            family, number = int(address.version), int(address)
            _compare(exact_elements(family, {number: was}), exact_elements(family, {number: now}), found)
            if spans(was) != spans(now):
                ranged[family][number] = spans(now)
    after = dict(segments)
    for family, changed in ranged.items():
        if _blocks(old, family) != _blocks(new, family) or len(changed) > MOST_PATCHED:
            after[family], gone, added = _segments_anew(new, segments[family], ground, family)
        elif changed:
            covered = {number: ports | new.blocks_at(family, number) for number, ports in changed.items()}
            after[family], gone, added = patched(segments[family], covered)
        else:
            continue
        _compare(segment_elements(family, gone), segment_elements(family, added), found)
    if old.everyone != new.everyone:
        _compare(open_elements(old), open_elements(new), found)
    return found, after


def _segments_anew(
    whom: Reach, old: Segments, ground: Ground, family: int
) -> tuple[Segments, set[Segment], set[Segment]]:
    pods = pod_ports(whom.pods, ground.after.at)[family] if may_span(whom.pods) else {}
    new = segments_of(family, pods, whom.blocks)
    before, after = set(old), set(new)
    return new, before - after, after - before


def _compare(old: Elements, new: Elements, found: PartEdits) -> None:
    """Add what two elements of the same places do not share."""
    for part in old.keys() | new.keys():
        before, after = old.get(part, set()), new.get(part, set())
        if before != after:
            gone, added = found.setdefault(part, (set(), set()))
            gone |= before - after
            added |= after - before


def _touched(old: Reach, new: Reach, moved: PodSet) -> PodSet:
    """The pods that have other ports than before, or perhaps another address."""
    found = NO_PODS
    for ports in old.pods.keys() | new.pods.keys():
        was, now = old.pods.get(ports, NO_PODS), new.pods.get(ports, NO_PODS)
        found |= (was ^ now) | (moved & now) if was is not now else moved & now
    return found


def _blocks(whom: Reach, family: int) -> dict[PortSet, Ranges]:
    return {ports: ranges for ports, addresses in whom.blocks.items() if (ranges := addresses.ranges(family))}
