"""Policies to rules: every endpoint gets the rules in force for it, in order of evaluation.

Pods that the same policies select, and on which the named ports of those policies mean the same numbers, form a class
and share one `DirectionRules` a direction. Everything asked of the engine is answered class by class. `apply` goes on
from what is compiled: policies that a change does not touch are not drafted again, and classes whose rules stay keep
theirs, the very same object. A first compilation is that, too: everything added to an empty cluster.

The agent of a node wants the rules of the node's own pods. With `subjects` only these have rules: a policy that selects
none of them asks nothing but whom it selects, of a selection that knows nobody else.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from itertools import groupby

import msgspec

from gatewright.engine.addresses import IPAddress
from gatewright.engine.asked import Asked
from gatewright.engine.drafts import DraftPolicy, Drafts, Place, draft
from gatewright.engine.layers import Layers, variant
from gatewright.engine.model import Direction, DirectionRules, Endpoint, Rule, TierRules
from gatewright.engine.partition import NOBODY, Partition, Policies
from gatewright.engine.podset import NO_PODS, PodSet
from gatewright.engine.ports import NO_TRAFFIC, PortSet
from gatewright.engine.roster import Roster, scoped
from gatewright.engine.selection import PortName, Selection
from gatewright.engine.snapshot import Changes, Policy, Snapshot, Step
from gatewright.objects.meta import Key

Meaning = tuple[PortSet, ...]
"""What port names mean on some pods, in the order of the names."""


ClassKey = tuple[int, Meaning]
"""What a class is known by from one state to the next: the cell of the partition, and what port names mean."""


Subjects = Callable[[Endpoint], bool]
"""Says of an endpoint whether its rules are wanted. It must say the same of endpoints that are equal."""


class NotASubject(LookupError):
    """Rules were asked for that nobody compiled: of an endpoint that is no subject, or of a position without one."""

    def __init__(self, position: int) -> None:
        super().__init__(f"no rules are compiled for the endpoint at position {position}: it is none of the subjects")


class Class(msgspec.Struct, frozen=True):
    """Pods that the same policies select, and on which port names have one meaning."""

    key: ClassKey
    members: PodSet
    rules: DirectionRules


class Compiled:
    """Every endpoint and the rules in force for it. A value: `apply` gives another one and leaves this as it is."""

    def __init__(self, snapshot: Snapshot, subjects: Subjects | None = None) -> None:
        """What `compile_snapshot` makes."""
        self.snapshot = snapshot
        self._is_subject = subjects
        self._asked = Asked(Selection(snapshot))
        self._subjects = Asked(Selection(snapshot, subjects)) if subjects else None
        self._drafts: Layers[Key, Drafts] = Layers({})
        self._rules = {direction: _Rules(direction) for direction in Direction}
        policies: list[Policy] = [*snapshot.policies, *snapshot.cluster_policies]
        came = [one.index for one in snapshot.roster if subjects is None or subjects(one)]
        self._redraft({policy.key: policy for policy in policies}, PodSet.of(came))

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """Every endpoint, in order of namespace, name and kind."""
        return self.snapshot.roster.in_order

    def at(self, position: int) -> Endpoint:
        """The endpoint at a position of a `PodSet`: `at(one.index)` is `one`."""
        return self.snapshot.roster.at(position)

    def rules(self, index: int, direction: Direction) -> DirectionRules:
        """The rules of one endpoint in one direction; pods of one class share one instance.

        Raises NotASubject for an endpoint whose rules were not asked for.
        """
        return self._rules[direction].of(index).rules

    def class_of(self, index: int, direction: Direction) -> Class:
        """The class of one endpoint in one direction. Raises what `rules` does."""
        return self._rules[direction].of(index)

    def classes(self, direction: Direction) -> Mapping[ClassKey, Class]:
        """Every class of subjects in one direction; host-network endpoints are among the unrestricted."""
        return self._rules[direction].classes

    def of_cells(self, direction: Direction, cells: Iterable[int]) -> Iterator[Class]:
        """The classes whose keys begin with one of these cells."""
        for cell in cells:
            yield from self._rules[direction].of_cell(cell)

    @property
    def selection(self) -> Selection:
        """What selectors mean on the snapshot, with the answers that its policies asked for."""
        return self._asked.selection

    @property
    def hosts(self) -> PodSet:
        """The host-network endpoints."""
        return self._asked.selection.hosts

    @cached_property
    def by_address(self) -> dict[IPAddress, Endpoint]:
        """The pod that has an address; host-network pods share their node's and are left out."""
        return {
            address: endpoint
            for endpoint in reversed(self.endpoints)
            if not endpoint.host_network
            for address in endpoint.addresses
        }

    def is_subject(self, position: int) -> bool:
        """Whether somebody is at a position whose rules are compiled."""
        return self._rules[Direction.INGRESS].partition.cell_of(position) != NOBODY

    @property
    def holders(self) -> Mapping[IPAddress, tuple[int, ...]]:
        """The positions of those who have an address: several on the host network, or for a moment."""
        return self.snapshot.roster.holders

    @property
    def positions(self) -> Roster:
        """Who stands where, without the rules."""
        return self.snapshot.roster

    def apply(self, changes: Changes) -> Update:
        """The rules after a change of objects, worked out from these."""
        step = self.snapshot.step(changes)
        following = variant(self)
        vars(following).pop("by_address", None)
        following.snapshot = step.snapshot
        following._asked, asking = self._asked.step(step)
        moves = step.moves
        if self._subjects and self._is_subject:
            moves = scoped(step.moves, self._is_subject)
            following._subjects, selecting = self._subjects.step(replace(step, moves=moves))
            asking |= selecting
        following._rules = dict(self._rules)
        stale: dict[Key, Policy | None] = {}
        for key in asking:
            policy = step.snapshot.objects.get(key)
            stale[key] = policy if isinstance(policy, Policy) else None
        came = PodSet.of([move.position for move in moves if move.before is None])
        left = PodSet.of([move.position for move in moves if move.after is None])
        other_ports = PodSet.of(
            [one.position for one in moves if one.before and one.after and not _same_names(one.before, one.after)]
        )
        touched = following._redraft(stale | dict(step.policies), came, left, other_ports)
        return Update(self, following, step, touched)

    def _redraft(
        self,
        policies: Mapping[Key, Policy | None],
        came: PodSet,
        left: PodSet = NO_PODS,
        other_ports: PodSet = NO_PODS,
    ) -> dict[Direction, set[ClassKey]]:
        """Draft these policies (None: gone), and let the rules follow. Gives the classes that are touched."""
        subjects = self._subjects.selection if self._subjects else None
        before = {key: found for key in policies if (found := self._drafts.get(key)) is not None}
        after = {
            key: draft(self._asked.selection, policy, subjects)
            for key, policy in policies.items()
            if policy is not None
        }
        if before or after:
            self._drafts = self._drafts.put({**dict.fromkeys(before), **after})
            self._listen(before, after)
        touched: dict[Direction, set[ClassKey]] = {direction: set() for direction in Direction}
        for direction in Direction:
            old = {one.place: one for drafts in before.values() if (one := drafts.of(direction))}
            new = {one.place: one for drafts in after.values() if (one := drafts.of(direction))}
            if old != new or came or left or other_ports:
                rules = self._rules[direction] = self._rules[direction].copy()
                rules.partition.add(came, self.snapshot.roster.capacity)
                touched[direction] = rules.follow(old, new, self._asked.selection, left, other_ports)
        return touched

    def _listen(self, before: Mapping[Key, Drafts], after: Mapping[Key, Drafts]) -> None:
        """Keep who asks what. Called once for every value, before anybody else knows it."""
        sides = before, after
        self._asked = self._asked.hearing(*({key: one.questions for key, one in side.items()} for side in sides))
        if self._subjects:
            subjects = ({key: one.subjects for key, one in side.items()} for side in sides)
            self._subjects = self._subjects.hearing(*subjects)


class Update(msgspec.Struct, frozen=True):
    """What follows from a change: the rules before and now, what in the snapshot led to them, the classes it touches.

    `touched` are, by direction, those that are new, gone, have other rules or other members.
    """

    before: Compiled
    compiled: Compiled
    step: Step
    touched: dict[Direction, set[ClassKey]]


def compile_snapshot(snapshot: Snapshot, subjects: Subjects | None = None) -> Compiled:
    """The rules that the snapshot's policies put on its endpoints; on the `subjects` only, where they are given."""
    return Compiled(snapshot, subjects)


def _same_names(one: Endpoint, other: Endpoint) -> bool:
    return one.named_ports == other.named_ports


class _Rules:
    """The rules of one direction: which policies select whom, and what they say to them, class by class."""

    def __init__(self, direction: Direction) -> None:
        self.direction = direction
        self.partition = Partition()
        self.classes: dict[ClassKey, Class] = {}
        self._drafts: dict[Place, DraftPolicy] = {}
        self._cells: dict[int, tuple[Policies, tuple[Class, ...]]] = {}

    def copy(self) -> _Rules:
        """Rules of their own."""
        other = _Rules(self.direction)
        other.partition = self.partition.copy()
        other.classes, other._drafts, other._cells = dict(self.classes), dict(self._drafts), dict(self._cells)
        return other

    def of(self, position: int) -> Class:
        """The class of a position."""
        cell = self.partition.cell_of(position)
        if cell == NOBODY:
            raise NotASubject(position)
        classes = self._cells[cell][1]
        if len(classes) == 1:
            return classes[0]
        return next(one for one in classes if position in one.members)

    def of_cell(self, cell: int) -> tuple[Class, ...]:
        """The classes of one cell; none where it has no members."""
        found = self._cells.get(cell)
        return found[1] if found else ()

    def follow(
        self,
        old: Mapping[Place, DraftPolicy],
        new: Mapping[Place, DraftPolicy],
        selection: Selection,
        left: PodSet,
        other_ports: PodSet,
    ) -> set[ClassKey]:
        """Policies say something new; positions were left, and some endpoints have other named ports than before.

        Gives the classes that are new, gone, have other rules or other members.
        """
        gained: dict[PodSet, list[Place]] = defaultdict(list)
        lost: dict[PodSet, list[Place]] = defaultdict(list)
        rewritten: set[Place] = set()
        for place in old.keys() | new.keys():
            before, after = old.get(place), new.get(place)
            was, now = before.subject if before else NO_PODS, after.subject if after else NO_PODS
            gained[now - was if was else now].append(place)
            if was:
                lost[was - now].append(place)
            if before and after and before.words != after.words:
                rewritten.add(place)
            if after:
                self._drafts[place] = after
            else:
                del self._drafts[place]
        for region, places in gained.items():
            self.partition.shift(region, added=tuple(sorted(places)))
        for region, places in lost.items():
            self.partition.shift(region, removed=tuple(places))
        self.partition.remove(left)
        touched = self.partition.touched
        for place in rewritten:
            near = self.partition.near(new[place].subject)
            touched |= {cell for cell in near if place in self.partition.policies(cell)}
        touched |= {self.partition.cell_of(position) for position in other_ports}
        self.partition.touched = set()
        return self._renew(touched, rewritten, selection)

    def _renew(self, touched: Iterable[int], rewritten: set[Place], selection: Selection) -> set[ClassKey]:
        """Make the classes of these cells again. Rules stay the same object where nothing in them is rewritten."""
        found: set[ClassKey] = set()
        known: dict[Policies, tuple[Class, ...]] = {}
        for cell in touched:
            if cell in self._cells:
                policies, classes = self._cells.pop(cell)
                known[policies] = classes
                for one in classes:
                    del self.classes[one.key]
                    found.add(one.key)
        for cell in touched:
            if members := self.partition.members(cell):
                policies = self.partition.policies(cell)
                old = known.get(policies, ()) if rewritten.isdisjoint(policies) else ()
                kept = {one.key[1]: one.rules for one in old}
                classes = tuple(self._classes(cell, members, kept, selection))
                self._cells[cell] = (policies, classes)
                for one in classes:
                    self.classes[one.key] = one
                    found.add(one.key)
        return found

    def _classes(
        self, cell: int, members: PodSet, kept: Mapping[Meaning, DirectionRules], selection: Selection
    ) -> Iterator[Class]:
        """The members of a cell by what the port names in its rules mean on them."""
        chosen = [self._drafts[place] for place in self.partition.policies(cell)]
        names = sorted({name for one in chosen for draft in one.drafts for name in draft.names})
        parts: list[tuple[Meaning, PodSet]] = [((), members)]
        for name in names:
            parts = [each for part in parts for each in _told_apart(*part, selection.carriers(name))]
        for meaning, pods in parts:
            rules = kept.get(meaning)
            if rules is None:
                rules = DirectionRules(self.direction, _tiers(chosen, dict(zip(names, meaning, strict=True))))
            yield Class((cell, meaning), pods, rules)


def _told_apart(meaning: Meaning, pods: PodSet, carriers: Mapping[PortSet, PodSet]) -> Iterator[tuple[Meaning, PodSet]]:
    """Pods by what one more port name means on them."""
    for ports, carrying in carriers.items():
        if inside := pods & carrying:
            yield (*meaning, ports), inside
            pods -= inside
    if pods:
        yield (*meaning, NO_TRAFFIC), pods


def _tiers(policies: Iterable[DraftPolicy], meaning: Mapping[PortName, PortSet]) -> tuple[TierRules, ...]:
    """The rules of a class, tier by tier."""
    tiers = []
    for tier, group in groupby(policies, key=lambda one: one.tier):
        chosen = list(group)
        rules = [rule for one in chosen for rule in _rules(one, meaning)]
        tiers.append(TierRules(tier, tuple(rules), tuple([one.origin for one in chosen])))
    return tuple(tiers)


def _rules(policy: DraftPolicy, meaning: Mapping[PortName, PortSet]) -> Iterable[Rule]:
    """The rules of a policy where its port names mean this: on the way in, the selected pod's own ports count."""
    if policy.rules is not None:
        return policy.rules
    rules = []
    for one in policy.drafts:
        ports = one.ports
        for name in one.names:
            ports |= meaning[name]
        if ports:
            rules.append(Rule(one.peers, ports, one.action, one.origin))
    return rules
