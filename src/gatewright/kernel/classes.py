"""One class of a node's pods: what it needs of sets and chains, and what of them is different after a change.

A class is kept as its rules and as how many elements each of its sets has; the elements themselves are worked out when
somebody needs them. After a change only those addresses are looked at whose pods came into the rules, left them or
moved. A set with ranges is worked out anew where a block or a range at one of these addresses is different: there one
address may cut or join its neighbours' ranges.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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
    elements,
    exact_elements,
    interval_elements,
    may_span,
    open_elements,
    pod_ports,
    spans,
)
from gatewright.kernel.options import Options
from gatewright.kernel.program import Stage, class_chains, set_of, stages
from gatewright.kernel.table import Chain, Element, Set

Holders = Mapping[IPAddress, tuple[int, ...]]
"""The positions of the endpoints that have an address."""


class CompiledRules(Protocol):
    """What a program needs of `engine.compile.Compiled`."""

    def at(self, position: int) -> Endpoint:
        """The endpoint at a position. Raises KeyError where nobody is."""

    def classes(self, direction: Direction) -> Mapping[ClassKey, Class]:
        """The classes of the pods that the program is about."""

    @property
    def holders(self) -> Holders:
        """The positions of the endpoints that have an address."""


Addresses = frozenset[tuple[int, int]]
"""(family, number)."""


@dataclass(frozen=True, slots=True)
class PodClass:
    """Pods whose packets of one direction meet the same rules, in a set for each part of each stage.

    `addresses` are those of its pods. `sizes` are the numbers of elements, stage by stage; parts without any are left
    out.
    """

    name: str
    rules: DirectionRules
    addresses: Addresses
    stages: tuple[Stage, ...]
    sizes: tuple[Mapping[Part, int], ...]
    options: Options

    @property
    def chains(self) -> tuple[Chain, ...]:
        """Its chains."""
        return class_chains(self.name, self.rules.direction, self._staged, self.options)

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
            for part, items in elements(stage.reach, at).items():
                yield set_of(self.name, stage, part, items)

    def names_any(self, pods: PodSet) -> bool:
        """Whether its rules name one of these pods."""
        return any(pods & stage.reach.members for stage in self.stages)


@dataclass(frozen=True, slots=True)
class Ground:
    """What a change leads between, and the positions of those who have other addresses than before."""

    before: CompiledRules
    after: CompiledRules
    moved: PodSet
    held_before: Holders
    held_after: Holders

    @classmethod
    def between(cls, before: CompiledRules, after: CompiledRules, moved: PodSet = NO_PODS) -> Ground:
        """The ground of a change. The first one makes the index of addresses, which then goes on with the rules."""
        return cls(before, after, moved, before.holders, after.holders)

    def addresses(self, positions: PodSet) -> set[IPAddress]:
        """The addresses that these positions had or have."""
        found: set[IPAddress] = set()
        for position in positions:
            for rules in (self.before, self.after):
                with suppress(KeyError):  # not there yet, or not there any more
                    found.update(rules.at(position).addresses)
        return found


def begin(name: str, rules: DirectionRules, addresses: Addresses, at: At, edits: Edits, options: Options) -> PodClass:
    """A class that was not there before."""
    own = stages(rules)
    sizes: list[Mapping[Part, int]] = []
    for stage in own:
        found = elements(stage.reach, at)
        edits.new_sets += [set_of(name, stage, part, items) for part, items in found.items()]
        sizes.append({part: len(items) for part, items in found.items()})
    made = PodClass(name, rules, addresses, own, tuple(sizes), options)
    edits.chains((), made.chains)
    return made


def follow(old: PodClass, rules: DirectionRules, addresses: Addresses, ground: Ground, edits: Edits) -> PodClass:
    """A class that stays, whose rules, pods or peers may be others than before."""
    own = old.stages if rules is old.rules else stages(rules)
    known = {stage.name: (stage, sizes) for stage, sizes in zip(old.stages, old.sizes, strict=True)}
    sizes: list[Mapping[Part, int]] = []
    for stage in own:
        was, had = known.pop(stage.name, (None, {}))
        found = _part_edits(was.reach if was else NOBODY, stage.reach, ground)
        sizes.append(_put(old.name, stage, had, found, edits) if found else had)
    for stage, had in known.values():
        edits.gone_sets += [set_of(old.name, stage, part).name for part in had]
    made = PodClass(old.name, rules, addresses, own, tuple(sizes), old.options)
    if made.shape != old.shape:
        edits.chains(old.chains, made.chains)
    return made


def end(old: PodClass, edits: Edits) -> None:
    """A class that is not there any more."""
    for stage, sizes in zip(old.stages, old.sizes, strict=True):
        edits.gone_sets += [set_of(old.name, stage, part).name for part in sizes]
    edits.chains(old.chains, ())


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


def _part_edits(old: Reach, new: Reach, ground: Ground) -> PartEdits:
    """What is different in the sets of a stage. Only addresses whose ports may be others are looked at."""
    found: PartEdits = {}
    ranged: set[int] = {family for family in FAMILIES if _blocks(old, family) != _blocks(new, family)}
    for address in ground.addresses(_touched(old, new, ground.moved)):
        was = old.ports_of(ground.held_before.get(address, ()))
        now = new.ports_of(ground.held_after.get(address, ()))
        if was != now:
            family, number = int(address.version), int(address)
            _compare(exact_elements(family, {number: was}), exact_elements(family, {number: now}), found)
            if spans(was) != spans(now):
                ranged.add(family)
    for family in ranged:
        _compare(_intervals(old, ground.before.at, family), _intervals(new, ground.after.at, family), found)
    if old.everyone != new.everyone:
        _compare(open_elements(old), open_elements(new), found)
    return found


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


def _intervals(whom: Reach, at: At, family: int) -> Elements:
    pods = pod_ports(whom.pods, at)[family] if may_span(whom.pods) else {}
    return interval_elements(family, pods, whom.blocks)
