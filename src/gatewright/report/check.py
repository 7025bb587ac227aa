"""A check: every failure with the policy and line at fault and the change that mends it, as text, JSON and findings."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

from gatewright.engine.model import RuleOrigin
from gatewright.engine.verdict import Reason
from gatewright.findings.model import Finding, Place, Related, Severity
from gatewright.findings.rule import Description
from gatewright.intent.cause import Fault
from gatewright.intent.check import Checked, Failure
from gatewright.intent.compare import Kind
from gatewright.intent.edits import Edit
from gatewright.report import findings as findings_report
from gatewright.report import structured
from gatewright.report.policies import snippet

SCHEMA = "gatewright/check/v1"
FORMATS = findings_report.FORMATS
MOST_LINES = 4
"""Connections shown of one failure in text; JSON has all."""
NO_MEND = "no single change surely mends this alone; `gatewright plan` writes policies that do"

IDS = {Kind.BLOCKED: "GT001", Kind.FORBIDDEN: "GT002", Kind.BEYOND: "GT003"}
DESCRIPTIONS = (
    Description(
        "GT001",
        "flow-blocked",
        Severity.ERROR,
        "A flow of the traffic model is blocked",
        "The model says that the application needs this connection, and policies do not surely allow it.",
        "make the change that the finding names, or take the flow out of the model",
    ),
    Description(
        "GT002",
        "never-allowed",
        Severity.ERROR,
        "What the traffic model forbids is allowed",
        "The model says under `never` that this connection must stay impossible, and policies allow it.",
        "make the change that the finding names",
    ),
    Description(
        "GT003",
        "beyond-model",
        Severity.ERROR,
        "Policies allow what no flow of the traffic model covers",
        "With --exact the model is the whole of what may pass.",
        "make the change that the finding names, or write the flow into the model",
    ),
)


def render(checked: Checked, output: str, name: str) -> str:
    """The check in any of `FORMATS`. `name` is the model's file."""
    if output == "table":
        return to_text(checked, name)
    if output in ("json", "yaml"):
        made = document(checked)
        return structured.to_json(made) if output == "json" else structured.to_yaml(made)
    found = [finding(one, name) for one in checked.failures]
    return findings_report.render(found, output, (), DESCRIPTIONS, "gatewright check")


def to_text(checked: Checked, name: str) -> str:
    """A block a failure, and what it comes to in one line."""
    told: set[str] = set()
    blocks = ["".join(f"{line}\n" for line in failure_lines(failure, told)) for failure in checked.failures]
    return "\n".join([*blocks, f"{summary(checked, name)}\n"])


def summary(checked: Checked, name: str) -> str:
    """What the check came to, in one line."""
    flows = sum(need.flow is not None for need in checked.bound.flows)
    if not checked.failures:
        never = f", {len(checked.bound.never)} kept from happening" if checked.bound.never else ""
        beyond = ", nothing beyond the model" if checked.exact else ""
        return f"{name} holds: {flows} flow{'' if flows == 1 else 's'} allowed{never}{beyond}."
    counts = Counter(failure.kind for failure in checked.failures)
    words = {Kind.BLOCKED: "blocked", Kind.FORBIDDEN: "allowed that must never be", Kind.BEYOND: "beyond the model"}
    return f"{name} does not hold: " + ", ".join(f"{counts[kind]} {words[kind]}" for kind in Kind if counts[kind]) + "."


def failure_lines(failure: Failure, told: set[str] | None = None) -> Iterator[str]:
    """A failure as text: what, between whom, whose fault, what to do. A change that was `told` is named alone."""
    yield f"{_where(failure)}{_head(failure)}"
    for line in failure.lines[:MOST_LINES]:
        family = f" (IPv{line.family} only)" if line.family else ""
        yield f"  {line.source} => {line.destination} : {line.ports}{family}"
    if len(failure.lines) > MOST_LINES:
        yield f"  and {len(failure.lines) - MOST_LINES} more (-o json shows all)"
    for fault in failure.example.faults:
        yield from (f"  {line}" for line in _fault_lines(fault))
    if failure.mend is None:
        return
    for edit in failure.mend.edits:
        mend = f"  mend: {edit.what}{_place(edit.at)}"
        lines = [mend, *(f"    {one}" for one in (snippet(edit.lines) if edit.lines else ()))]
        whole = "\n".join(lines)
        yield from [f"{mend}, as above"] if told is not None and whole in told else lines
        if told is not None:
            told.add(whole)


def _head(failure: Failure) -> str:
    unsure = "" if failure.sure else ", depending on addresses that are not known yet (--pod-cidr narrows it)"
    if failure.kind is Kind.BLOCKED:
        return f"flow {failure.need} is blocked{unsure}"
    when = " once there are such pods" if failure.awaited else ""
    if failure.kind is Kind.FORBIDDEN:
        return f"never {failure.need}, but it is allowed{when}{unsure}"
    return f"allowed beyond the model{when}{unsure}"


def _where(failure: Failure) -> str:
    flow = failure.need.flow if failure.need else None
    if flow is not None:
        return f"{flow.entry.origin}: "
    culprit = _culprit(failure)
    return f"{culprit.where}: " if culprit and culprit.where else ""


def _culprit(failure: Failure) -> RuleOrigin | None:
    return next((fault.place for fault in failure.example.faults if fault.place), None)


def _fault_lines(fault: Fault) -> Iterator[str]:
    subject = f"{fault.direction} of {fault.who}"
    if fault.reason is Reason.ISOLATED:
        for policy in fault.policies:
            yield f"{subject}: isolated by {policy.policy}{_place(policy)}, and no rule matches"
        for condition in fault.misses[0].failed if fault.misses else ():
            wants = f"wants {condition.wanted}, found {condition.found}"
            yield f"  nearest: {condition.at.field}{_place(condition.at)} {wants}"
    elif fault.rule is not None:
        place = fault.place or fault.rule
        yield f"{subject}: decided by {fault.rule.policy}, {place.field}{_place(place)}"
    else:
        yield f"{subject}: {fault.reason}"


def _place(origin: RuleOrigin | None) -> str:
    return f" ({origin.where})" if origin is not None and origin.where else ""


def document(checked: Checked) -> dict[str, Any]:
    """A document of schema `gatewright/check/v1`."""
    found = [failure_json(one) for one in checked.failures]
    return {"schema": SCHEMA, "exact": checked.exact, "holds": not found, "failures": found}


def failure_json(failure: Failure) -> dict[str, Any]:
    """A failure for programs."""
    flow = failure.need.flow if failure.need else None
    lines = [
        {
            "source": one.source,
            "destination": one.destination,
            "ports": one.ports,
            **({"family": one.family} if one.family else {}),
        }
        for one in failure.lines
    ]
    return {
        "kind": failure.kind.value,
        "flow": str(failure.need) if failure.need else None,
        "where": str(flow.entry.origin) if flow else None,
        "sure": failure.sure,
        "awaited": failure.awaited,
        "connections": lines,
        "faults": [_fault_json(one) for one in failure.example.faults],
        "mend": [_edit_json(edit) for edit in failure.mend.edits] if failure.mend else None,
    }


def _fault_json(fault: Fault) -> dict[str, Any]:
    place = fault.place
    return {
        "direction": fault.direction.value,
        "of": fault.who,
        "reason": fault.reason.value,
        "policy": place.policy if place else None,
        "field": place.field if place else None,
        "where": place.where if place else None,
    }


def _edit_json(edit: Edit) -> dict[str, Any]:
    found: dict[str, Any] = {"what": edit.what, "policy": str(edit.result), "where": edit.at.where if edit.at else ""}
    return {**found, "patch": list(edit.patch)} if edit.patch else {**found, "create": edit.lines}


def finding(failure: Failure, name: str) -> Finding:
    """A failure as a finding: at the policy at fault, else at the model's line."""
    flow = failure.need.flow if failure.need else None
    model = Place(origin=flow.entry.origin) if flow else Place()
    culprit = _culprit(failure)
    place = Place.of_rule(culprit) if culprit else model
    first = failure.lines[0]
    more = f" and {len(failure.lines) - 1} more" if len(failure.lines) > 1 else ""
    message = f"{_head(failure)}: {first.source} => {first.destination} : {first.ports}{more}"
    remedy = " and ".join(map(_in_one_line, failure.mend.edits)) if failure.mend else NO_MEND
    related = (Related(model, f"the line of {name}"),) if flow and culprit else ()
    return Finding(IDS[failure.kind], Severity.ERROR, message, place, remedy, None, related)


def _in_one_line(edit: Edit) -> str:
    """A change with what comes in, as YAML in one line."""
    return f"{edit.what}: {json.dumps(edit.lines)}" if edit.lines else edit.what
