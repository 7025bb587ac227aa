"""An explained verdict as text and as a document: both sides, the deciding rule with file:line, or the nearest miss."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from gatewright.engine.alike import Block, Ends
from gatewright.engine.explain import Condition, Explanation, Miss, Trace, traffic_text
from gatewright.engine.model import Endpoint, RuleOrigin
from gatewright.engine.verdict import Outcome, Party, Reason

SCHEMA = "gatewright/explanation/v1"
MOST_RULES = 3
"""Rules that came short, shown for one side in text; JSON has all."""
MOST_PEERS = 4
"""Peers of such a rule that are shown."""
MOST_NAMED = 3
"""Pods named of those of an owner that are told apart, in text; JSON has all."""


Told = tuple[Block, tuple[Explanation, ...]]
"""Connections with one answer, and its explanation family by family."""


def to_text(told: Iterable[Told]) -> str:
    """A block an explanation, with a blank line between."""
    return "\n".join("".join(f"{line}\n" for line in _lines(block, one)) for block, found in told for one in found)


def document(told: Iterable[Told]) -> dict[str, Any]:
    """A document of schema `gatewright/explanation/v1`."""
    return {"schema": SCHEMA, "explanations": [_item(block, one) for block, found in told for one in found]}


def ends_text(ends: Ends) -> str:
    """`ns/name[Kind]` of a pod, or of an owner and how many of its pods; or an address."""
    if ends.asked == 1:
        return str(ends)
    if len(ends.members) == ends.asked:
        return f"{ends} ({ends.asked} pods)"
    named = [_short(one).rpartition("/")[2] for one in ends.members[:MOST_NAMED]]
    more = ", ..." if len(ends.members) > MOST_NAMED else ""
    return f"{ends} ({len(ends.members)} of {ends.asked} pods: {', '.join(named)}{more})"


def _lines(block: Block, one: Explanation) -> Iterator[str]:
    verdict = one.verdict
    family = f" over IPv{one.family}" if len(verdict.families) > 1 and verdict.outcome is not one.outcome else ""
    place = f"{ends_text(block.sources)} => {ends_text(block.destinations)}"
    if block.same_node is not None:
        place += " on the same node" if block.same_node else " on different nodes"
    yield f"{one.outcome.upper()}{family}: {place} : {traffic_text(verdict.protocol, verdict.port)}"
    for trace, ends in ((one.egress, block.sources), (one.ingress, block.destinations)):
        yield from (f"  {line}" for line in _trace_lines(trace, ends))


def _trace_lines(trace: Trace, ends: Ends) -> Iterator[str]:
    side = trace.side
    subject = _short(trace.subject) if len(ends.members) == 1 else str(ends).partition("[")[0]
    head = f"{side.direction} of {subject}: {side.outcome}"
    if side.reason is Reason.RULE and side.rule:
        verb = "by" if side.outcome is Outcome.ALLOWED else "by a rule of"
        yield f"{head} {verb} {side.rule.policy}"
        yield from (f"  {_place(origin)}" for origin in trace.matched)
    elif side.reason is Reason.ISOLATED:
        yield f"{head}, isolated, and no rule matches"
        for policy in side.policies:
            rules = "" if any(miss.rule.policy == policy.policy for miss in trace.misses) else ", which allows nothing"
            yield f"  {policy.policy}{_where(policy)}{rules}"
        yield from _misses(trace.misses)
    elif side.reason is Reason.ADDRESS_UNKNOWN and side.rule:
        yield f"{head} on an address that is not known yet (--pod-cidr narrows it)"
        yield f"  {side.rule.policy}"
        yield from (f"  {_place(origin)}" for origin in trace.matched)
    else:
        yield f"{head}, {side.reason}"


def _misses(misses: tuple[Miss, ...]) -> Iterator[str]:
    """The rules that came short, each once, with all the peers that it would have let in."""
    rules: dict[RuleOrigin, list[Miss]] = {}
    for miss in misses:
        rules.setdefault(miss.rule, []).append(miss)
    for number, (rule, ways) in enumerate(list(rules.items())[:MOST_RULES]):
        yield f"  {'nearest rule' if number == 0 else 'next'}: {rule.policy} {rule.field}"
        yield from (f"    {line}" for line in _ways(ways))
    if len(rules) > MOST_RULES:
        yield f"  and {len(rules) - MOST_RULES} more that match less (-o json shows all)"


def _ways(ways: Sequence[Miss]) -> Iterator[str]:
    """What fails of one rule: a peer's conditions, `or` those of another, `and` what fails with every peer."""
    first, *others = ways
    always = [one for one in first.failed if others and all(one in other.failed for other in others)]
    for number, way in enumerate(ways[:MOST_PEERS]):
        lines = [_condition(one) for one in way.failed if one not in always]
        yield from ([f"or {lines[0]}", *lines[1:]] if number else lines)
    if len(ways) > MOST_PEERS:
        yield f"or {len(ways) - MOST_PEERS} more peers that match less (-o json shows all)"
    yield from (f"and {_condition(one)}" for one in always)


def _condition(condition: Condition) -> str:
    return f"{condition.at.field}{_where(condition.at)} wants {condition.wanted}, found {condition.found}"


def _place(origin: RuleOrigin) -> str:
    return f"{origin.field}{_where(origin)}"


def _where(origin: RuleOrigin) -> str:
    return f" ({origin.where})" if origin.where else ""


def _short(party: Party) -> str:
    return party.path if isinstance(party, Endpoint) else str(party)


def _item(block: Block, one: Explanation) -> dict[str, Any]:
    verdict = one.verdict
    found: dict[str, Any] = {}
    for side, ends in (("source", block.sources), ("destination", block.destinations)):
        found[side] = str(ends)
        if ends.asked > 1:
            found[f"{side}Pods"] = [_short(member) for member in ends.members]
    if block.same_node is not None:
        found["sameNode"] = block.same_node
    return {
        **found,
        "protocol": verdict.protocol and verdict.protocol.value,
        "port": verdict.port,
        "family": one.family,
        "outcome": one.outcome.value,
        "egress": _trace_json(one.egress),
        "ingress": _trace_json(one.ingress),
    }


def _trace_json(trace: Trace) -> dict[str, Any]:
    side = trace.side
    found: dict[str, Any] = {"outcome": side.outcome.value, "reason": side.reason.value}
    if side.policies:
        found["policies"] = [_origin_json(policy) for policy in side.policies]
    if side.rule:
        found["rule"] = _origin_json(side.rule)
        found["matched"] = [_origin_json(origin) for origin in trace.matched]
    if trace.misses:
        found["misses"] = [
            {
                "rule": _origin_json(miss.rule),
                "failed": [
                    {**_origin_json(condition.at), "wanted": condition.wanted, "found": condition.found}
                    for condition in miss.failed
                ],
            }
            for miss in trace.misses
        ]
    return found


def _origin_json(origin: RuleOrigin) -> dict[str, Any]:
    found = {"policy": origin.policy}
    if origin.field:
        found["field"] = origin.field
    if origin.where:
        found["where"] = origin.where
    return found
