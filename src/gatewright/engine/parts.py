"""What the rules of one class say to everybody: the other side partitioned by what it may do.

The other side is any set of places: endpoints (`PodSet`), addresses (`AddressSet`). What hangs on addresses that are
not known yet is kept apart: `Access.ports` are surely allowed, `Access.possible` are those that some addresses would
allow. Parts that may do nothing are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol, Self, TypeVar

import msgspec

from gatewright.engine.model import Action, DirectionRules, Rule, Tier, join_rules
from gatewright.engine.ports import ALL_TRAFFIC, NO_TRAFFIC, PortSet, subtract


class Access(msgspec.Struct, frozen=True, cache_hash=True, gc=False):
    """What may pass: `ports` surely, `possible` (never less) if unknown addresses turn out so."""

    ports: PortSet
    possible: PortSet

    def __and__(self, that: Access) -> Access:
        return Access(self.ports & that.ports, self.possible & that.possible)

    def __bool__(self) -> bool:
        return bool(self.possible)


NOTHING = Access(NO_TRAFFIC, NO_TRAFFIC)
EVERYTHING = Access(ALL_TRAFFIC, ALL_TRAFFIC)


class Places(Protocol):
    """A set of places on the other side."""

    def __and__(self, that: Self, /) -> Self: ...
    def __or__(self, that: Self, /) -> Self: ...
    def __sub__(self, that: Self, /) -> Self: ...
    def __bool__(self) -> bool: ...


S = TypeVar("S", bound=Places)
T = TypeVar("T")
Matching = Callable[[Rule], tuple[S, S]]
"""The places that the peers of a rule match: (surely, perhaps), without common members."""


def parts(rules: DirectionRules, everywhere: S, matching: Matching[S], family: int) -> dict[Access, S]:
    """`everywhere`, partitioned by what the rules let it do in a family; what may do nothing is left out."""
    if not rules:
        return {EVERYTHING: everywhere}
    if len(rules.tiers) == 1 and rules.tiers[0].tier is Tier.NETWORK_POLICY:
        return _accepted(rules.tiers[0].rules, matching)
    states: dict[_State, S] = {_START: everywhere}
    for tier in rules.tiers:
        if tier.tier is Tier.NETWORK_POLICY:
            states = _merged(_isolated(states, _accepted(tier.rules, matching)))
        else:
            for rule, ports in in_line(tier.rules, family):
                states = _merged(_met(states, rule, ports, *matching(rule)))
            states = _merged((state.passed_on(), where) for state, where in states.items())
    return _merged((state.end(), where) for state, where in states.items() if state.end())


def in_line(rules: Sequence[Rule], family: int) -> Iterator[tuple[Rule, PortSet]]:
    """The rules of a cluster tier, each with the ports on which it can be the first for an address that is not known.

    Wherever that address lies: where rules before it leave none of its own addresses to a rule, it never decides.
    """
    before: list[Rule] = []
    for rule in rules:
        if not rule.peers.addresses.ranges(family):
            yield rule, rule.ports
            continue
        yield rule, rule.ports if rule.peers.names else _left(rule, before, family)
        before.append(rule)


def _left(rule: Rule, before: Iterable[Rule], family: int) -> PortSet:
    """The ports on which rules before this one leave some of its addresses."""
    pieces = [(rule.peers.addresses.ranges(family), rule.ports)]
    for other in before:
        taken = other.peers.addresses.ranges(family)
        cut = [(subtract(ranges, taken), ports & other.ports) for ranges, ports in pieces]
        cut += [(ranges, ports - other.ports) for ranges, ports in pieces]
        pieces = [(ranges, ports) for ranges, ports in cut if ranges and ports]
    found = NO_TRAFFIC
    for _, ports in pieces:
        found |= ports
    return found


def _accepted(rules: Sequence[Rule], matching: Matching[S]) -> dict[Access, S]:
    """What the rules of NetworkPolicies accept: they add up, in any order."""
    found: dict[Access, S] = {}
    covered: S | None = None
    for rule in join_rules(rules):
        sure, unsure = matching(rule)
        for hit, access in ((sure, Access(rule.ports, rule.ports)), (unsure, Access(NO_TRAFFIC, rule.ports))):
            if not hit:
                continue
            if covered is None:
                found, covered = {access: hit}, hit
                continue
            pieces: list[tuple[Access, S]] = [(access, hit - covered)]
            for before, where in found.items():
                pieces.append((_more(before, access), where & hit))
                pieces.append((before, where - hit))
            found, covered = _merged(pieces), covered | hit
    return found


def _more(one: Access, other: Access) -> Access:
    return Access(one.ports | other.ports, one.possible | other.possible)


class _State(msgspec.Struct, frozen=True, cache_hash=True, gc=False):
    """Traffic on its way through the tiers, port by port.

    `open` is what no rule of this tier has surely decided, `passed` what may go on to the next tier. A port that only
    unsure rules match stays open, so that it can end in more than one way: `accepted` and `denied` may overlap.
    """

    accepted: PortSet = NO_TRAFFIC
    denied: PortSet = NO_TRAFFIC
    open: PortSet = ALL_TRAFFIC
    passed: PortSet = NO_TRAFFIC

    def meet(self, rule: Rule, ports: PortSet, sure: bool) -> _State:
        """A rule matches, or may match, the peer on these ports."""
        taken = self.open & ports
        return _State(
            self.accepted | taken if rule.action is Action.ACCEPT else self.accepted,
            self.denied | taken if rule.action is Action.DENY else self.denied,
            self.open - taken if sure else self.open,
            self.passed | taken if rule.action is Action.PASS else self.passed,
        )

    def passed_on(self) -> _State:
        """The end of a cluster tier: what it did not decide goes on."""
        return _State(self.accepted, self.denied, self.open | self.passed)

    def isolated(self, accepted: Access) -> _State:
        """The tier of NetworkPolicies: what they do not accept is denied."""
        possible, sure = self.open & accepted.possible, self.open & accepted.ports
        return _State(self.accepted | possible, self.denied | (self.open - sure), NO_TRAFFIC)

    def end(self) -> Access:
        """What is left undecided is allowed."""
        possible = self.accepted | self.open
        return Access(possible - self.denied, possible)


_START = _State()


def _met(states: dict[_State, S], rule: Rule, unsure_on: PortSet, sure: S, unsure: S) -> Iterator[tuple[_State, S]]:
    for state, where in states.items():
        yield state.meet(rule, rule.ports, True), where & sure
        yield state.meet(rule, unsure_on, False), where & unsure
        yield state, where - sure - unsure


def _isolated(states: dict[_State, S], accepted: dict[Access, S]) -> Iterator[tuple[_State, S]]:
    for state, where in states.items():
        for access, peers in accepted.items():
            yield state.isolated(access), where & peers
            where = where - peers
        yield state.isolated(NOTHING), where


def _merged(pieces: Iterable[tuple[T, S]]) -> dict[T, S]:
    """The pieces, those of one kind together; empty ones are left out."""
    found: dict[T, S] = {}
    for kind, where in pieces:
        if where:
            found[kind] = found[kind] | where if kind in found else where
    return found
