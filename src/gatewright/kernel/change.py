"""From one program to the next, as data: what comes, what goes, what of a set or map is different.

A change is as large as what it changes, however large the program is. `after` puts it on a program; its text, and the
netlink messages that mean the same, stand elsewhere.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import TypeVar

from gatewright.kernel.boxes import within
from gatewright.kernel.denial import counters
from gatewright.kernel.table import Chain, Counter, Element, Program, Set, VerdictMap

_GUARD = "guard"
"""What stands before the names of sets that guards have."""
LINKS, SOURCES = f"{_GUARD}/links", f"{_GUARD}/sources"
"""The sets of the links that are checked, and of what may come by them (followed by the family)."""
NO_ELEMENTS: frozenset[Element] = frozenset()


@dataclass(frozen=True, slots=True)
class SetChange:
    """Elements that a set loses and gains. `part` says which set; its own elements mean nothing here."""

    part: Set
    gone: Collection[Element]
    added: Collection[Element]

    @property
    def only_grows(self) -> bool:
        """Whether all that was in the set still is: ranges that go are parts of those that come."""
        return not self.gone or (self.part.interval and within(self.gone, self.added))

    @property
    def only_shrinks(self) -> bool:
        """Whether nothing is in the set that was not: ranges that come are parts of those that go."""
        return not self.added or (self.part.interval and within(self.added, self.gone))


@dataclass(frozen=True, slots=True)
class MapChange:
    """Entries that a map loses and gains. `part` says which map; its own entries mean nothing here."""

    part: VerdictMap
    gone: Collection[tuple[int, str]]
    added: Collection[tuple[int, str]]


@dataclass(frozen=True, slots=True)
class Change:
    """What leads from one program to the next. New sets come with their elements, written chains with all their rules.

    `new_chains` are the names of those among `written` that were not there.
    """

    new_sets: tuple[Set, ...] = ()
    gone_sets: tuple[str, ...] = ()
    sets: tuple[SetChange, ...] = ()
    maps: tuple[MapChange, ...] = ()
    written: tuple[Chain, ...] = ()
    new_chains: frozenset[str] = frozenset()
    gone_chains: tuple[str, ...] = ()
    new_counters: tuple[Counter, ...] = ()
    gone_counters: tuple[Counter, ...] = ()

    def __bool__(self) -> bool:
        return self != NO_CHANGE

    @property
    def only_elements(self) -> bool:
        """Whether no set, chain or counter comes, goes or is written anew."""
        names = self.gone_sets or self.gone_chains or self.gone_counters
        return not (self.new_sets or self.written or self.new_counters or names)

    def in_steps(self) -> Iterator[Change]:
        """The change in the transactions that it takes; what holds between two of them lies between before and after.

        The elements of a set with intervals are seen a moment after the rules of the same transaction (the kernel
        publishes them at its end). So a new one is filled while no rule names it; where a pod goes, its peers allow it
        no more before it stops being policed; where one comes, the sets of its class are as they will be before that.

        A packet sees the rules as they were when it came into a chain of a hook, and the entries of a map as they are
        when it asks. One that came before the commit and asks after it would be led to a chain that for it has no rules
        yet, and pass. So new chains come, with their sets, in a transaction before that in which a map leads to them.

        Nor may a packet that found its link without an address see a moment later that the link is checked: addresses
        of links that are new come before the links.
        """
        first = tuple(edit for edit in self.sets if edit.part.name.startswith(SOURCES) and edit.added)
        if first and any(edit.part.name == LINKS and edit.added for edit in self.sets):
            yield Change(sets=tuple(SetChange(edit.part, (), edit.added) for edit in first))
            others = (SetChange(edit.part, edit.gone, ()) if edit in first else edit for edit in self.sets)
            yield from replace(self, sets=tuple(edit for edit in others if edit.gone or edit.added))._in_steps()
        else:
            yield from self._in_steps()

    def _in_steps(self) -> Iterator[Change]:
        """The same for a change by which no link is checked for the first time."""
        early = tuple(part for part in self.new_sets if part.interval)
        late = any(edit.part.interval for edit in self.sets)
        own_late = self._own_late if late else ()
        if own_late and any(entry.added for entry in self.maps):
            yield Change(sets=own_late)
            yield from replace(self, sets=tuple(edit for edit in self.sets if edit not in own_late))._in_steps()
        elif late and any(entry.gone for entry in self.maps) and self._lets_go:
            own = self._moving_classes
            others = Change(sets=tuple(edit for edit in self.sets if _class_of(edit) not in own))
            last = replace(self, sets=tuple(edit for edit in self.sets if _class_of(edit) in own))
            yield from filter(None, (others, last))
        elif self.new_chains and any(entry.added for entry in self.maps):
            new = tuple(chain for chain in self.written if chain.name in self.new_chains)
            yield Change(
                new_sets=self.new_sets, written=new, new_chains=self.new_chains, new_counters=self.new_counters
            )
            old = tuple(chain for chain in self.written if chain.name not in self.new_chains)
            yield replace(self, new_sets=(), written=old, new_chains=frozenset(), new_counters=())
        elif early:
            yield Change(new_sets=early)
            yield replace(self, new_sets=tuple(part for part in self.new_sets if not part.interval))
        elif self:
            yield self

    @property
    def is_torn(self) -> bool:
        """Whether a packet could meet a state that is neither the one before nor the one after.

        Rules and the elements of hash sets change at one moment, those of a set with intervals a little later, each
        set for itself. That tells nobody anything where the change is of one set, or goes one way.
        """
        edits = [edit for edit in self.sets if edit.gone or edit.added]
        if not any(edit.part.interval for edit in edits):
            return False
        elements = self.only_elements and not any(entry.gone or entry.added for entry in self.maps)
        return not ((elements and len(edits) == 1) or self._lets_in or self._lets_go or self._frees)

    @property
    def _lets_in(self) -> bool:
        """Whether pods only come, and others only allow more, or only less.

        More: what is seen late is what is not allowed before, either. Less: nothing that is met allows more than before
        or less than after. A pod that comes has to find the sets of its class as they will be: where these have ranges
        they come first, which only tells where no side of the pod that is still open leads to what they allow.
        """
        written = {chain.name for chain in self.written}
        gone = self.gone_sets or self.gone_chains or any(entry.gone for entry in self.maps)
        only_comes = written == self.new_chains and not gone
        if not (only_comes and self._allows):
            return False
        return (self._grows and self._own_in_time) or (self._shrinks and not self._own_late)

    @property
    def _lets_go(self) -> bool:
        """Whether pods only go, and others only allow less: then what others allow is changed first, and by itself."""
        return self._only_leaves and self._allows and self._shrinks and self._own_in_time

    @property
    def _frees(self) -> bool:
        """Whether pods only go, and others only allow more: nothing that is met allows less than before."""
        return self._only_leaves and self._allows and self._grows and not self._own_late

    @property
    def _only_leaves(self) -> bool:
        return not (any(entry.added for entry in self.maps) or self.new_sets or self.written)

    @property
    def _grows(self) -> bool:
        return all(edit.only_grows for edit in self.sets)

    @property
    def _shrinks(self) -> bool:
        return all(edit.only_shrinks for edit in self.sets)

    @property
    def _allows(self) -> bool:
        """Whether edits are of sets that let packets pass: those of stages of the cluster tiers may deny.

        So do those of guards, of which only the ones with ranges are seen late.
        """
        return all(
            "." not in edit.part.name.rpartition("/")[2] and not (edit.part.interval and _class_of(edit) == _GUARD)
            for edit in self.sets
        )

    @property
    def _own_late(self) -> tuple[SetChange, ...]:
        """The edits that are seen late in the classes that pods enter or leave."""
        own = self._moving_classes
        return tuple(edit for edit in self.sets if edit.part.interval and _class_of(edit) in own)

    @property
    def _own_in_time(self) -> bool:
        """Whether those edits, if there are any, may be seen before pods enter, or after they leave.

        They may where pods do so in one direction only. Else a pod whose egress is still open could reach for a moment
        what it could not reach before, and cannot after; the same holds for who reaches one whose ingress is open.
        """
        return not self._own_late or len({entry.part.name[:-1] for entry in self.maps}) == 1

    @property
    def _moving_classes(self) -> frozenset[str]:
        """The classes that pods enter or leave."""
        return frozenset(name for entry in self.maps for _, name in (*entry.gone, *entry.added))

    @property
    def element_count(self) -> int:
        """How many elements and entries come and go."""
        sets = sum(len(one.gone) + len(one.added) for one in self.sets)
        entries = sum(len(one.gone) + len(one.added) for one in self.maps)
        return sum(len(one.elements) for one in self.new_sets) + sets + entries

    def after(self, old: Program) -> Program:
        """The program that the change makes of another one."""
        changed = {one.part.name: one for one in self.sets}
        moved = {one.part.name: one for one in self.maps}
        sets = [
            replace(one, elements=one.elements.difference(edit.gone).union(edit.added))
            if (edit := changed.get(one.name))
            else one
            for one in without(old.sets, self.gone_sets)
        ]
        maps = [
            replace(one, elements=one.elements.difference(entry.gone).union(entry.added))
            if (entry := moved.get(one.name))
            else one
            for one in old.maps
        ]
        kept = without(old.chains, {*self.gone_chains, *(one.name for one in self.written)})
        counted = {*old.counters, *self.new_counters}.difference(self.gone_counters)
        return Program.of(old.table, (*sets, *self.new_sets), maps, (*kept, *self.written), counted, old.limits)


NO_CHANGE = Change()


def _class_of(edit: SetChange) -> str:
    """The class that a set without a stage belongs to."""
    return edit.part.name.rpartition("/")[0]


@dataclass(slots=True)
class Edits:
    """A change while it is put together."""

    new_sets: list[Set] = field(default_factory=list)
    gone_sets: list[str] = field(default_factory=list)
    sets: list[SetChange] = field(default_factory=list)
    maps: list[MapChange] = field(default_factory=list)
    written: list[Chain] = field(default_factory=list)
    new_chains: set[str] = field(default_factory=set)
    gone_chains: list[str] = field(default_factory=list)
    new_counters: set[Counter] = field(default_factory=set)
    gone_counters: set[Counter] = field(default_factory=set)

    def chains(self, old: Iterable[Chain], new: Iterable[Chain]) -> None:
        """The chains of a class as they were and as they are; its counters are those that they use."""
        before, after = {one.name: one for one in old}, {one.name: one for one in new}
        self.written += [one for name, one in after.items() if before.get(name) != one]
        self.new_chains |= after.keys() - before.keys()
        self.gone_chains += before.keys() - after.keys()
        counted_before, counted_after = counters(before.values()), counters(after.values())
        self.new_counters |= counted_after - counted_before
        self.gone_counters |= counted_before - counted_after

    def change(self) -> Change:
        """All of it."""
        return Change(
            tuple(self.new_sets),
            tuple(self.gone_sets),
            tuple(self.sets),
            tuple(self.maps),
            tuple(self.written),
            frozenset(self.new_chains),
            tuple(self.gone_chains),
            tuple(self.new_counters),
            tuple(self.gone_counters),
        )


_Part = TypeVar("_Part", Set, Chain)


def without(parts: Iterable[_Part], names: Collection[str]) -> list[_Part]:
    """The parts that have none of these names."""
    return [one for one in parts if one.name not in names]
