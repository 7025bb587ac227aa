"""What changed between two answers, as text lines, as a document and as cells of a table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gatewright.engine.difference import Change, Difference, Kind
from gatewright.engine.view import Answer, End, Group
from gatewright.report.connections import policy_cells
from gatewright.report.words import access_json, access_text, end_json, end_names, family_note

SCHEMA = "gatewright/difference/v1"
HEADING = ("change", "source", "destination", "before", "after", "family", "note")
POLICY_HEADING = ("egress policies", "ingress policies")
SIGNS = {Kind.ADDED: "+", Kind.REMOVED: "-", Kind.CHANGED: "~"}
COLOURS = {"+": "32", "-": "31", "~": "33"}


def to_text(found: Difference, *, colour: bool = False) -> str:
    """A line a new or gone workload, then a line a changed connection; nothing where nothing changed."""
    return "".join(f"{_coloured(line) if colour else line}\n" for line in _lines(found))


def document(found: Difference) -> dict[str, Any]:
    """A document of schema `gatewright/difference/v1`."""
    return {
        "schema": SCHEMA,
        "new": [end_json(group) for group in found.new],
        "gone": [end_json(group) for group in found.gone],
        "changes": [_item(found, change) for change in found.changes],
    }


def cells(found: Difference) -> Iterator[tuple[str, ...]]:
    """What stands under `HEADING`. New and gone workloads come first, in rows of their own."""
    for word, groups in (("new", found.new), ("gone", found.gone)):
        yield from ((f"{word} workload", str(group), "", "", "", "", "") for group in groups)
    for change in found.changes:
        for source, destination in _pairs(change):
            before, after = (access_text(one) if one else "" for one in (change.before, change.after))
            family = f"IPv{change.family}" if change.family else ""
            note = ", ".join(_standing_notes(found, change))
            yield (change.kind.value, source, destination, before, after, family, note)


def wide_cells(found: Difference, old: Answer, new: Answer) -> Iterator[tuple[str, ...]]:
    """The cells, with the policies that select each side: now, or where a connection was removed, also before."""
    plain = cells(found)
    for _ in (*found.new, *found.gone):
        yield (*next(plain), "", "")
    for change in found.changes:
        selecting = policy_cells(new if change.after else old, change.source, change.destination)
        if change.kind is Kind.REMOVED:
            now = policy_cells(new, change.source, change.destination)
            selecting = (_then(selecting[0], now[0]), _then(selecting[1], now[1]))
        for _ in _pairs(change):
            yield (*next(plain), *selecting)


def standing(found: Difference, end: End) -> str:
    """`new` or `gone` for a workload of one state only, else nothing."""
    if isinstance(end, Group):
        return "new" if end in found.new else "gone" if end in found.gone else ""
    return ""


def _then(before: str, now: str) -> str:
    return before if before == now else f"{before or 'none'} -> {now or 'none'}"


def _lines(found: Difference) -> Iterator[str]:
    yield from (f"+ {group} is new" for group in found.new)
    yield from (f"- {group} is gone" for group in found.gone)
    for change in found.changes:
        access = access_text(change.before if change.kind is Kind.REMOVED else change.after)
        if change.kind is Kind.CHANGED:
            access = f"{access_text(change.before)} -> {access}"
        notes = [*family_note(change.family), *_standing_notes(found, change)]
        note = f" ({', '.join(notes)})" if notes else ""
        for source, destination in _pairs(change):
            yield f"{SIGNS[change.kind]} {source} => {destination} : {access}{note}"


def _pairs(change: Change) -> list[tuple[str, str]]:
    return [(left, right) for left in end_names(change.source) for right in end_names(change.destination)]


def _standing_notes(found: Difference, change: Change) -> list[str]:
    ends = dict.fromkeys((change.source, change.destination))
    return [f"{end} is {word}" for end in ends if (word := standing(found, end))]


def _coloured(line: str) -> str:
    return f"\x1b[{COLOURS[line[0]]}m{line}\x1b[0m"


def _item(found: Difference, change: Change) -> dict[str, Any]:
    item: dict[str, Any] = {"change": change.kind.value}
    for side, end in (("source", change.source), ("destination", change.destination)):
        item[side] = end_json(end)
        if word := standing(found, end):
            item[side]["standing"] = word
    for time, access in (("before", change.before), ("after", change.after)):
        if access:
            item[time] = access_json(access)
    return {**item, "family": change.family} if change.family else item
