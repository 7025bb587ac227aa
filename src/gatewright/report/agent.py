"""How an agent's status and its flows read on a terminal. Pure: takes the JSON the agent answers, returns text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gatewright.report.lab import table

Json = Mapping[str, Any]

_NOUNS = {
    "pods": ("pod", "pods"),
    "policies": ("policy", "policies"),
    "classes": ("class", "classes"),
    "elements": ("element", "elements"),
}
_DONE = {
    "transactions": ("transaction", "transactions"),
    "repairs": ("repair", "repairs"),
    "failures": ("failure", "failures"),
    "connectionsEnded": ("connection", "connections"),
}
_VERB = {"dropped": "DROPPED", "would be dropped": "AUDIT"}


def status_text(status: Json) -> str:
    """The whole of `agent status`."""
    programmed = status["programmed"]
    behind = f", {status['behind']:.1f} s behind" if status["behind"] >= 0.05 else ""
    lines = [
        f"Node {status['node']}: {status['state']}{behind}, since {status['since']}; {status['mode']}",
        _held(programmed),
        _changes(programmed),
        *_conntrack(status.get("conntrack")),
        "",
        table([_HEADING, *(_row(one) for one in status["watched"])]),
    ]
    lines += ["", *(f"Problem: {one}" for one in status["problems"])] if status["problems"] else []
    return "\n".join(lines)


_HEADING = ("KIND", "OBJECTS", "LISTED", "WATCHED", "SINCE", "RELISTS", "RECONNECTS", "LAST ERROR")


def _row(one: Json) -> tuple[str, ...]:
    return (
        one["kind"],
        str(one["objects"]),
        "yes" if one["complete"] else "no",
        "yes" if one["connected"] else "no",
        one["since"],
        str(one["relists"]),
        str(one["reconnects"]),
        one["lastError"] or "-",
    )


def _held(programmed: Json) -> str:
    parts = {key: _counted(programmed[key], *words) for key, words in _NOUNS.items()}
    return f"In the kernel: {parts['pods']} restricted by {parts['policies']}, {parts['classes']}, {parts['elements']}"


def _changes(programmed: Json) -> str:
    counted = ", ".join(_counted(programmed[key], *words) for key, words in _DONE.items())
    text = f"Changes: {counted} ended"
    if programmed["lastChange"]:
        text += f"; the last at {programmed['lastChange']} took {programmed['lastSeconds'] * 1000:.1f} ms"
    return text


def _counted(number: int, singular: str, plural: str) -> str:
    return f"{number} {singular if number == 1 else plural}"


def _conntrack(conntrack: Json | None) -> Iterator[str]:
    if conntrack:
        yield f"Connections tracked: {conntrack['count']} of {conntrack['limit']}"


def flow_line(flow: Json) -> str:
    """One flow in one line, as `gatewright flows` prints it."""
    where = f"{_end(flow['source'])} -> {_end(flow['destination'])}"
    because = flow["reason"]
    if flow.get("rule"):
        because += f": {flow['rule']}"
    elif policies := flow.get("policies"):
        because += f": {', '.join(policies)}"
    verb = _VERB.get(flow["action"], flow["action"].upper())
    return f"{flow['time']} {verb} {flow['direction'].lower()} {flow['protocol']} {where} ({because})"


def _end(end: Json) -> str:
    address = f"[{end['address']}]" if ":" in end["address"] and end.get("port") else end["address"]
    place = f"{address}:{end['port']}" if end.get("port") else address
    return f"{end['pod']} ({place})" if end.get("pod") else place
