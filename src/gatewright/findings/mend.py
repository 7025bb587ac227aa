"""Mending text: the change of a fix, made in the lines that somebody wrote, so that comments and layout stay.

Positions come from reading the text again. Every change is checked: the text after it must read as the text before it
with exactly that change, in every document. Where it does not (an anchor, an item that shares its line with others),
the text is left as it is, and the finding stands.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from gatewright.findings.model import Append, Change, Finding, Insert, Place, Remove, Replace
from gatewright.objects.origin import Mapping, Path, line_of
from gatewright.objects.origin import Sequence as Listing
from gatewright.objects.yaml import Document, documents

_FLOW = re.compile(r"(?P<open>\[\s*)(?P<items>[^\[\]]*?)(?P<close>\s*\])")


@dataclass(frozen=True, slots=True)
class Mended:
    """A text after mending, the findings that were mended, and those that could not be."""

    text: str
    done: tuple[Finding, ...]
    left: tuple[Finding, ...]


def mend(text: str, file: str, findings: Sequence[Finding]) -> Mended:
    """Make the changes of all findings in one text, the last lines first, so that the others stay where they are."""
    done: list[Finding] = []
    left: list[Finding] = []
    for finding in sorted(findings, key=lambda one: (one.place.line, one.place.field), reverse=True):
        changed = _changed(text, file, finding.place, finding.fix.change) if finding.fix else None
        if changed is None:
            left.append(finding)
        else:
            text = changed
            done.append(finding)
    return Mended(text, tuple(reversed(done)), tuple(reversed(left)))


def _changed(text: str, file: str, place: Place, change: Change) -> str | None:
    """The text with one change; None where it cannot be made in lines, or would change anything else."""
    before = list(documents(text, file))
    number, tree = next(_objects(before, place), (0, None))
    if tree is None:
        return None
    lines = text.split("\n")
    edited = _edited(lines, tree, change)
    if edited is None:
        return None
    after = list(documents("\n".join(edited), file))
    wanted = [document.tree for document in before]
    wanted[number] = _with(wanted[number], tree, change)
    if [document.tree for document in after] != wanted or any(document.problems for document in after):
        return None
    return "\n".join(edited)


def _objects(found: Sequence[Document], place: Place) -> Iterator[tuple[int, Any]]:
    """(document, tree) of the objects that a place may mean: of its kind and name, the one on its lines first."""
    candidates = []
    for number, document in enumerate(found):
        for tree in _items(document.tree):
            metadata = tree.get("metadata")
            named = isinstance(metadata, dict) and metadata.get("name") == place.name
            if named and tree.get("kind") == place.kind and metadata.get("namespace", "default") == place.namespace:
                candidates.append((line_of(tree, place.path) != place.line, number, tree))
    for _, number, tree in sorted(candidates, key=lambda one: one[:2]):
        yield number, tree


def _items(tree: Any) -> Iterator[Any]:
    if isinstance(tree, dict):
        items = tree.get("items")
        if isinstance(tree.get("kind"), str) and tree["kind"].endswith("List") and isinstance(items, list):
            for item in items:
                yield from _items(item)
        else:
            yield tree


def _edited(lines: list[str], tree: Any, change: Change) -> list[str] | None:
    """The lines with the change, made where the layout allows it."""
    match change:
        case Replace(path, old, new):
            return _replaced(lines, line_of(tree, path) - 1, old, new)
        case Remove(path):
            return _removed(lines, line_of(tree, path) - 1)
        case Append(path, item):
            return _appended(lines, tree, path, item)
        case Insert():
            return _inserted(lines, tree, change)


def _replaced(lines: list[str], at: int, old: str, new: str) -> list[str]:
    return [*lines[:at], lines[at].replace(old, new, 1), *lines[at + 1 :]]


def _removed(lines: list[str], at: int) -> list[str] | None:
    """Without the item that begins on a line of its own, to the end of its block."""
    column = _indent(lines[at])
    if not lines[at][column:].startswith(("- ", "-\r")) and lines[at][column:] != "-":
        return None
    return [*lines[:at], *lines[_end(lines, at, column) :]]


def _end(lines: list[str], at: int, column: int) -> int:
    """The line after a block that begins at a column: comments and empty lines behind it are not its own."""
    end = at + 1
    last = end
    while end < len(lines):
        if _is_blank(lines[end]) and _indent(lines[end]) <= column:
            end += 1
            continue
        if not _is_blank(lines[end]) and _indent(lines[end]) <= column:
            break
        end += 1
        last = end
    return last


def _appended(lines: list[str], tree: Any, path: Path, item: str) -> list[str] | None:
    """With one more scalar in a sequence, on its line or on one of its own."""
    listing = _at(tree, path)
    if not isinstance(listing, Listing) or not listing.lines:
        return None
    at = line_of(tree, path) - 1
    last = listing.lines[-1] - 1
    if _FLOW.search(lines[at]) and last == at:
        return [*lines[:at], _FLOW.sub(rf"\g<open>\g<items>, {item}\g<close>", lines[at], count=1), *lines[at + 1 :]]
    return [*lines[: last + 1], " " * _indent(lines[last]) + f"- {item}" + _ending(lines[last]), *lines[last + 1 :]]


def _inserted(lines: list[str], tree: Any, change: Insert) -> list[str] | None:
    """With one more key and its sequence, below another key or before the first."""
    mapping = _at(tree, change.path)
    if not isinstance(mapping, Mapping) or not mapping.lines:
        return None
    first = min(mapping.lines) - 1
    column = _indent(lines[first])
    after = change.after in mapping
    at = _end_of_key(lines, mapping.line_of(change.after) - 1, column) if after else first
    ending = _ending(lines[first])
    new = [f"{' ' * column}{change.key}:{ending}", *(f"{' ' * column}- {item}{ending}" for item in change.items)]
    if at == len(lines) and not ending.endswith("\r"):
        return [*lines, *new]
    return [*lines[:at], *new, *lines[at:]]


def _end_of_key(lines: list[str], at: int, column: int) -> int:
    """The line after a key's value; a sequence may stand in the key's own column."""
    end = _end(lines, at, column)
    while end < len(lines) and _indent(lines[end]) == column and lines[end][column:].startswith("- "):
        end = _end(lines, end, column)
    return end


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def _is_blank(line: str) -> bool:
    """Whether a line is empty or a comment."""
    return line.strip() == "" or line.lstrip().startswith("#")


def _ending(line: str) -> str:
    return "\r" if line.endswith("\r") else ""


def _at(tree: Any, path: Path) -> Any:
    for step in path:
        inside = isinstance(tree, dict) and step in tree
        inside = inside or (isinstance(tree, list) and isinstance(step, int) and step < len(tree))
        if not inside:
            return None
        tree = tree[step]
    return tree


def _with(document: Any, target: Any, change: Change) -> Any:
    """The document as plain data, with the change made in one object of it."""
    if document is target:
        return _altered(document, change.path, change)
    if isinstance(document, dict):
        return {key: _with(value, target, change) for key, value in document.items()}
    return [_with(value, target, change) for value in document] if isinstance(document, list) else document


def _altered(tree: Any, path: Path, change: Change) -> Any:
    """A copy of the tree with the change at a path below it."""
    if path and not (len(path) == 1 and isinstance(change, Remove | Replace)):
        return _put(tree, path[0], _altered(tree[path[0]], path[1:], change))
    match change:
        case Replace(_, _, new):
            return _put(tree, path[0], new)
        case Remove():
            return [item for number, item in enumerate(tree) if number != path[0]]
        case Append(_, item):
            return [*tree, item]
        case Insert(_, key, items):
            return {**tree, key: list(items)}


def _put(tree: Any, step: str | int, value: Any) -> Any:
    if isinstance(tree, dict):
        return {key: value if key == step else old for key, old in tree.items()}
    return [value if number == step else old for number, old in enumerate(tree)]
