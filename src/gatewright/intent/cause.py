"""Why there is a gap: an example of it, and on each side that is at fault what decided.

A blocked flow fails where a side does not surely allow it. What is allowed beyond a model fails where the model
restricts a side and policies do not.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import reduce

from gatewright.engine.addresses import AddressSet
from gatewright.engine.explain import Miss, Trace, explain
from gatewright.engine.model import Direction, Endpoint, RuleOrigin
from gatewright.engine.podset import PodSet
from gatewright.engine.ports import ALL_TRAFFIC, NO_TRAFFIC, PortSet, Protocol
from gatewright.engine.verdict import Outcome, Party, Reason, verdict
from gatewright.intent.called import endpoint_text
from gatewright.intent.compare import Gap, Kind
from gatewright.intent.proof import Proof


@dataclass(frozen=True, slots=True, eq=False)
class Fault:
    """One side that is at fault: the endpoint it is about, why it came to its answer, and by which rule.

    `who` is what the subject is called. `matched` are the fields of the rule that match, `misses` the rules that came
    short, nearest first.
    """

    direction: Direction
    subject: Party
    who: str
    reason: Reason
    rule: RuleOrigin | None
    policies: tuple[RuleOrigin, ...]
    matched: tuple[RuleOrigin, ...]
    misses: tuple[Miss, ...]

    @property
    def key(self) -> tuple[object, ...]:
        """What faults of one cause share: the rule that decides, else the policies that isolate."""
        return (self.direction, self.reason, self.rule or self.policies)

    @property
    def place(self) -> RuleOrigin | None:
        """The policy at fault, down to the field; None where no policy is.

        That is the field that decided, or of a rule that is for this peer the one that came short.
        """
        if self.rule is not None:
            return self.matched[0] if self.matched else self.rule
        if self.misses and self.misses[0].admits_peer and self.misses[0].failed:
            return self.misses[0].failed[0].at
        return self.policies[0] if self.policies else None


@dataclass(frozen=True, slots=True, eq=False)
class Cause:
    """A connection that shows a gap, and the sides at fault.

    A blocked flow needs all of them mended; what is allowed in excess ends when one of them is, best the first.
    """

    gap: Gap
    source: Party
    destination: Party
    protocol: Protocol | None
    port: int
    faults: tuple[Fault, ...]


def causes_of(proof: Proof, gap: Gap) -> Iterator[Cause]:
    """The causes of one gap: where several rules let its ports through, or deny them, each has its own."""
    left = gap.ports
    while left:
        cause = _cause(proof, replace(gap, ports=left))
        decided = left & _decided(proof, cause)
        left = left - decided if decided else NO_TRAFFIC
        yield replace(cause, gap=replace(gap, ports=decided)) if decided else cause


def _decided(proof: Proof, cause: Cause) -> PortSet:
    """The ports on which the rules at fault decide; all where no rule does."""
    found = ALL_TRAFFIC
    for fault in cause.faults if cause.gap.kind is Kind.BLOCKED else cause.faults[:1]:
        if fault.rule is not None and isinstance(fault.subject, Endpoint):
            tiers = proof.compiled.rules(fault.subject.index, fault.direction).tiers
            written = [rule.ports for tier in tiers for rule in tier.rules if rule.origin == fault.rule]
            found &= reduce(operator.or_, written, NO_TRAFFIC)
    return found


def _cause(proof: Proof, gap: Gap) -> Cause:
    source, destination = _example(proof, gap)
    protocol, port = _first_port(gap.ports)
    found = explain(proof.compiled, verdict(proof.compiled, source, destination, protocol, port, gap.family))[0]
    sides = {Direction.EGRESS: found.egress, Direction.INGRESS: found.ingress}
    guilty = _blocking(sides) if gap.kind is Kind.BLOCKED else _lax(proof, gap, source, destination, (protocol, port))
    faults = tuple(_fault(proof, sides[direction]) for direction in guilty)
    return Cause(gap, source, destination, protocol, port, faults)


def by_side(proof: Proof, gap: Gap) -> list[Gap]:
    """A gap between pods in excess of the model, by the side at fault: what must not arrive, what must not leave."""
    if gap.kind is Kind.BLOCKED or not isinstance(gap.source, PodSet) or not isinstance(gap.destination, PodSet):
        return [gap]
    model = proof.models[gap.family]
    source, destination = (model.groups[model.of[next(iter(end))]] for end in (gap.source, gap.destination))
    arrives, leaves = model.arrives(source, destination), model.leaves(source, destination)
    possible, sure = gap.ports - arrives.possible, gap.ports - arrives.ports
    inwards = possible | (sure & leaves.possible)
    return [replace(gap, ports=ports) for ports in (inwards, gap.ports - inwards) if ports]


def _fault(proof: Proof, trace: Trace) -> Fault:
    side, subject = trace.side, trace.subject
    who = f"{subject}"
    if isinstance(subject, Endpoint):
        who = endpoint_text(proof.stage, subject) if proof.stage.is_stand_in(subject) else subject.path
    return Fault(side.direction, subject, who, side.reason, side.rule, side.policies, trace.matched, trace.misses)


def _blocking(sides: dict[Direction, Trace]) -> list[Direction]:
    return [direction for direction, trace in sides.items() if trace.side.outcome is not Outcome.ALLOWED]


def _lax(
    proof: Proof, gap: Gap, source: Party, destination: Party, port: tuple[Protocol | None, int]
) -> list[Direction]:
    """The sides on which the model does not allow what policies do, the destination's first: it protects more."""
    model = proof.models[gap.family]
    if not isinstance(source, Endpoint):
        return [Direction.INGRESS]
    if not isinstance(destination, Endpoint):
        return [Direction.EGRESS]
    ends = (model.groups[model.of[source.index]], model.groups[model.of[destination.index]])
    sides = {Direction.INGRESS: model.arrives(*ends), Direction.EGRESS: model.leaves(*ends)}
    found = [direction for direction, access in sides.items() if not access.possible.contains(*port)]
    return found or [direction for direction, access in sides.items() if not access.ports.contains(*port)]


def _example(proof: Proof, gap: Gap) -> tuple[Party, Party]:
    at = proof.compiled.at
    if isinstance(gap.source, PodSet) and isinstance(gap.destination, PodSet):
        for destination in gap.destination:
            for source in gap.source:
                if source != destination or at(source).many:
                    return at(source), at(destination)
    return _one(gap.source, at, gap.family), _one(gap.destination, at, gap.family)


def _one(end: PodSet | AddressSet, at: Callable[[int], Endpoint], family: int) -> Party:
    if isinstance(end, PodSet):
        return at(next(iter(end)))
    return next(end.networks(family)).network_address


def _first_port(ports: PortSet) -> tuple[Protocol | None, int]:
    for protocol in Protocol:
        for first, _ in ports.ranges(protocol):
            return protocol, first
    return None, 0
