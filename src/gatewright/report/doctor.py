"""How the doctor's answer reads on a terminal: the answer first, then what it rests on. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gatewright.report.lab import table

Json = Mapping[str, Any]

FORMATS = ("text", "json", "yaml")
SENTENCES = {
    "yes": "enforces network policies",
    "no": "does NOT enforce network policies",
    "partly": "enforces network policies only in part",
    "unknown": "may not enforce network policies: it cannot be told",
}
MOST = 20
"""Nodes, and pieces of evidence, that the text shows; JSON and YAML hold all."""


def headline(answer: Json) -> str:
    """The answer in one line: `cluster kind enforces network policies: yes: kindnetd ...`."""
    return f"{answer['cluster']} {SENTENCES[answer['enforced']]}: {answer['why']}"


def render(answer: Json, output: str) -> str:
    """The answer in one of FORMATS."""
    from gatewright.report.structured import to_json, to_yaml

    if output == "text":
        return to_text(answer)
    return to_json(dict(answer)) if output == "json" else to_yaml(dict(answer))


def to_text(answer: Json) -> str:
    """All of it, for people."""
    measured = answer.get("measured")
    opening = _measured(answer, measured) if measured else [f"enforced: {answer['enforced']}\n{headline(answer)}"]
    return "\n\n".join([*opening, *_blocks(answer)]) + "\n"


def _measured(answer: Json, measured: Json) -> Iterator[str]:
    """What packets said comes first; evidence that says something else is told in so many words."""
    head = f"{answer['cluster']} {SENTENCES[measured['enforced']]}: {measured['why']}"
    yield f"enforced: {measured['enforced']} (by packets, in {measured['seconds']} s)\n{head}"
    rows = [(one["node"], one["enforced"], one["why"]) for one in _worst_first(measured["nodes"])[:MOST]]
    yield table([("NODE", "BY PACKETS", "WHY"), *rows])
    ways = [
        (one["direction"].lower(), one["source"], one["target"], one["address"], one["result"], *_times(one))
        for one in sorted(measured["tried"], key=lambda one: one["result"] == "yes")[:MOST]
    ]
    yield table([("DIRECTION", "FROM", "TO", "ADDRESS", "HELD", "CLOSED AFTER", "OPEN AFTER"), *ways])
    contrast = "" if answer["enforced"] == measured["enforced"] else ", which packets do not bear out"
    yield f"By evidence: {answer['enforced']}{contrast}: {answer['why']}"


def _times(one: Json) -> tuple[str, str]:
    times = (one.get("closedAfter"), one.get("openedAfter"))
    return ("-" if times[0] is None else f"{times[0]:.2f} s", "-" if times[1] is None else f"{times[1]:.2f} s")


def _worst_first(nodes: Sequence[Json]) -> list[Json]:
    return sorted(nodes, key=lambda one: (one["enforced"] == "yes", one["node"]))


def _blocks(answer: Json) -> Iterator[str]:
    if answer["found"]:
        rows = [
            (", ".join(one["variants"]) or one["id"], one["where"], ", ".join(one["versions"]) or "-")
            for one in answer["found"]
        ]
        yield table([("SOLUTION", "WHERE", "VERSION"), *rows])
    if answer["nodes"]:
        yield _nodes(answer["nodes"])
    parts = [(name, part["state"], _note(part)) for name, part in answer["parts"].items()]
    yield table([("PART OF THE POLICIES", "ENFORCED", "NOTE"), *parts])
    if answer["deviations"]:
        yield _listed("Known deviations:", [_deviation(one) for one in answer["deviations"]])
    if answer["missing"]:
        yield _listed("Not seen:", answer["missing"])
    if answer["evidence"]:
        yield _listed("Evidence:", [f"{one['object']}: {one['field']}: {one['value']}" for one in answer["evidence"]])
    yield _listed("What would change the answer:", answer["changes"])


def _nodes(nodes: Sequence[Json]) -> str:
    """Nodes that do not enforce first."""
    rows = [(one["node"], one["enforced"], one["why"]) for one in _worst_first(nodes)[:MOST]]
    more = f"\n... and {len(nodes) - MOST} more nodes, see -o json" if len(nodes) > MOST else ""
    return table([("NODE", "ENFORCED", "WHY"), *rows]) + more


def _note(part: Json) -> str:
    return "; ".join(one for one in (part.get("note", ""), part.get("issue", "")) if one) or "-"


def _deviation(one: Json) -> str:
    issue = f" ({one['issue']})" if one.get("issue") else ""
    return f"{one['solution']}: {one['what']}{issue}"


def _listed(title: str, lines: Sequence[str]) -> str:
    shown = [f"  {_bounded(line)}" for line in lines[:MOST]]
    more = [f"  ... and {len(lines) - MOST} more, see -o json"] if len(lines) > MOST else []
    return "\n".join([title, *shown, *more])


def _bounded(line: str) -> str:
    flat = " ".join(line.split())
    return flat if len(flat) <= 300 else f"{flat[:300]}..."
