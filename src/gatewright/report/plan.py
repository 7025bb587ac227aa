"""A plan: the requirements of every component as a table, the policies as YAML, the proof in a line; all as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gatewright.engine.model import Direction
from gatewright.intent.numbers import ports_text
from gatewright.intent.parties import Party
from gatewright.intent.propose import Proposal
from gatewright.intent.requirements import Requirement
from gatewright.objects.policy import IPBlock
from gatewright.report import policies, structured, tabular
from gatewright.report.check import failure_json, failure_lines

SCHEMA = "gatewright/plan/v1"
FORMATS = ("yaml", "table", "md", "json")
HEADING = ("component", "namespace", "direction", "peer", "ports", "why")
NOTHING = "nothing"


def render(proposal: Proposal, output: str, name: str) -> str:
    """The plan in any of `FORMATS`. `name` is the model's file."""
    if output == "yaml":
        return policies.to_yaml(
            proposal.policies, [f"Made by gatewright plan from {name}: change that file, not this one."]
        )
    if output == "json":
        return structured.to_json(document(proposal))
    write = tabular.to_columns if output == "table" else tabular.to_markdown
    text = write(HEADING, cells(proposal))
    return text if output == "md" else f"{text}\n{proof_text(proposal, name)}"


def cells(proposal: Proposal) -> Iterator[tuple[str, ...]]:
    """A row of `HEADING` for each requirement, and one for each direction in which a component needs nothing."""
    by_side: dict[tuple[Party, Direction], list[Requirement]] = {}
    for one in proposal.plan.requirements:
        by_side.setdefault((one.component, one.direction), []).append(one)
    for party in sorted(proposal.plan.bound.components, key=lambda one: one.name):
        for direction in Direction:
            start = (party.name, ",".join(party.namespaces), direction.value.lower())
            for one in by_side.get((party, direction), ()):
                yield (*start, peer_text(one.peer), ports_text(one.ports), "; ".join(_reasons(one)))
            if (party, direction) not in by_side:
                yield (*start, NOTHING, "", "")


def peer_text(party: Party) -> str:
    """A peer by name; addresses with what they are."""
    if party.pods is not None or party.is_anywhere:
        return party.name if party.pods is not None else f"{party.name} (anywhere)"
    return f"{party.name} ({'; '.join(map(_block_text, party.blocks))})"


def _block_text(block: IPBlock) -> str:
    return f"{block.cidr} except {', '.join(block.except_)}" if block.except_ else block.cidr


def proof_text(proposal: Proposal, name: str) -> str:
    """Whether the policies do what the model says: one line, or every difference."""
    count, flows = len(proposal.policies), sum(need.flow is not None for need in proposal.plan.bound.flows)
    made = f"{count} {'policy' if count == 1 else 'policies'}"
    if not proposal.failures:
        noun = "flow" if flows == 1 else "flows"
        return f"Proved: with {made} the {flows} {noun} of {name} pass, and nothing else.\n"
    lines = [line for failure in proposal.failures for line in failure_lines(failure)]
    return "".join(f"{line}\n" for line in [f"With {made} there are differences from {name}:", *lines])


def document(proposal: Proposal) -> dict[str, Any]:
    """A document of schema `gatewright/plan/v1`."""
    return {
        "schema": SCHEMA,
        "requirements": [_item(one) for one in proposal.plan.requirements],
        "policies": [policy.document for policy in proposal.policies],
        "proof": {"holds": not proposal.failures, "failures": [failure_json(one) for one in proposal.failures]},
    }


def _item(one: Requirement) -> dict[str, Any]:
    return {
        "component": one.component.name,
        "namespaces": list(one.component.namespaces),
        "direction": one.direction.value,
        "peer": one.peer.name,
        "ports": [str(port) for port in one.ports],
        "flows": [
            {"flow": str(need), "where": str(need.flow.entry.origin) if need.flow else "", "why": _why(need.flow)}
            for need in one.needs
        ],
    }


def _reasons(one: Requirement) -> Iterator[str]:
    for need in one.needs:
        if need.flow is None:
            yield "to find others by name"
        elif need.flow.entry.comment:
            yield _why(need.flow)


def _why(flow: Any) -> str:
    return " ".join(flow.entry.comment) if flow else ""
