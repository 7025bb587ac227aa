"""An explained verdict as text and as a document: both sides, the deciding rule with file:line, or the nearest miss."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from gatewright.engine.explain import Condition, Explanation, Miss, Trace, traffic_text
from gatewright.engine.model import Endpoint, RuleOrigin
from gatewright.engine.verdict import Outcome, Party, Reason

SCHEMA = "gatewright/explanation/v1"
MOST_MISSES = 3
"""Rules that came short, shown for one side in text; JSON has all."""


def to_text(explanations: Iterable[Explanation]) -> str:
    """A block a verdict, with a blank line between."""
    return "\n".join("".join(f"{line}\n" for line in _block(one)) for one in explanations)


def document(explanations: Iterable[Explanation]) -> dict[str, Any]:
    """A document of schema `gatewright/explanation/v1`."""
    return {"schema": SCHEMA, "explanations": [_item(one) for one in explanations]}


def party_text(party: Party) -> str:
    """`ns/name[Kind]` or the address."""
    return str(party)


def _block(one: Explanation) -> Iterator[str]:
    verdict = one.verdict
    family = f" over IPv{one.family}" if len(verdict.families) > 1 and verdict.outcome is not one.outcome else ""
    place = f"{party_text(verdict.source)} => {party_text(verdict.destination)}"
    yield f"{one.outcome.upper()}{family}: {place} : {traffic_text(verdict.protocol, verdict.port)}"
    for trace in (one.egress, one.ingress):
        yield from (f"  {line}" for line in _trace_lines(trace))


def _trace_lines(trace: Trace) -> Iterator[str]:
    side = trace.side
    head = f"{side.direction} of {_short(trace.subject)}: {side.outcome}"
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
    for number, miss in enumerate(misses[:MOST_MISSES]):
        yield f"  {'nearest rule' if number == 0 else 'next'}: {miss.rule.policy} {miss.rule.field}"
        yield from (f"    {_condition(condition)}" for condition in miss.failed)
    if len(misses) > MOST_MISSES:
        yield f"  and {len(misses) - MOST_MISSES} more that match less (-o json shows all)"


def _condition(condition: Condition) -> str:
    return f"{condition.at.field}{_where(condition.at)} wants {condition.wanted}, found {condition.found}"


def _place(origin: RuleOrigin) -> str:
    return f"{origin.field}{_where(origin)}"


def _where(origin: RuleOrigin) -> str:
    return f" ({origin.where})" if origin.where else ""


def _short(party: Party) -> str:
    return party.path if isinstance(party, Endpoint) else str(party)


def _item(one: Explanation) -> dict[str, Any]:
    verdict = one.verdict
    return {
        "source": party_text(verdict.source),
        "destination": party_text(verdict.destination),
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
