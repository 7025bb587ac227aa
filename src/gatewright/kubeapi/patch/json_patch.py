"""JSON patch (RFC 6902): operations on places that are named by JSON pointers (RFC 6901)."""

from __future__ import annotations

import copy
import json
from typing import Any

MOST_OPERATIONS = 10_000
"""Operations of one patch, as an API server bounds them."""


MOST_COPIED = 3 * 1024 * 1024
"""Bytes of JSON that the copies of one patch may make together: each can double what is there."""


class PatchError(ValueError):
    """A patch that does not fit the object; the text says where."""


def apply_json_patch(tree: Any, operations: Any) -> Any:
    """The patched tree; the given one stays as it is. Raises PatchError."""
    if not isinstance(operations, list):
        raise PatchError("a JSON patch is a list of operations")
    if len(operations) > MOST_OPERATIONS:
        raise PatchError(f"more than {MOST_OPERATIONS} operations")
    try:
        return _apply_all(copy.deepcopy(tree), operations)
    except RecursionError as error:
        raise PatchError("what it makes is nested too deeply") from error


def _apply_all(tree: Any, operations: list[Any]) -> Any:
    copied = 0
    for operation in operations:
        if isinstance(operation, dict) and operation.get("op") == "copy":
            copied += len(json.dumps(_find(tree, _pointer(operation.get("from")))))
            if copied > MOST_COPIED:
                raise PatchError(f"its copies make more than {MOST_COPIED} bytes")
        tree = _apply(tree, operation)
    return tree


def _apply(tree: Any, operation: Any) -> Any:
    if not isinstance(operation, dict):
        raise PatchError("an operation is an object")
    name, path = operation.get("op"), _pointer(operation.get("path"))
    if name in ("add", "replace", "test") and "value" not in operation:
        raise PatchError(f"{name} needs a value")
    value = operation.get("value")
    if name == "add":
        return _add(tree, path, copy.deepcopy(value))
    if name == "remove":
        return _remove(tree, path)[0]
    if name == "replace":
        return _add(_remove(tree, path)[0], path, copy.deepcopy(value)) if path else copy.deepcopy(value)
    if name == "test":
        if not _same(_find(tree, path), value):
            raise PatchError(f"testing value {operation['path']} failed")
        return tree
    if name in ("move", "copy"):
        origin = _pointer(operation.get("from"))
        if name == "move" and path[: len(origin)] == origin and path != origin:
            raise PatchError("a value cannot move into itself")
        moved = copy.deepcopy(_find(tree, origin))
        rest = _remove(tree, origin)[0] if name == "move" else tree
        return _add(rest, path, moved)
    raise PatchError(f"unexpected kind of operation: {name}")


def _pointer(text: Any) -> list[str]:
    if not isinstance(text, str) or (text and not text.startswith("/")):
        raise PatchError(f"not a JSON pointer: {text}")
    return [part.replace("~1", "/").replace("~0", "~") for part in text.split("/")[1:]]


def _index(part: str, most: int) -> int:
    if not part.isdigit() or not part.isascii() or (len(part) > 1 and part[0] == "0") or len(part) > 9:
        raise PatchError(f"not a place in a list: {part}")
    if int(part) > most:
        raise PatchError(f"the list has no place {part}")
    return int(part)


def _find(tree: Any, path: list[str]) -> Any:
    for part in path:
        if isinstance(tree, dict):
            if part not in tree:
                raise PatchError(f"there is no {part}")
            tree = tree[part]
        elif isinstance(tree, list):
            tree = tree[_index(part, len(tree) - 1)]
        else:
            raise PatchError(f"there is nothing below a value: {part}")
    return tree


def _add(tree: Any, path: list[str], value: Any) -> Any:
    if not path:
        return value
    holder = _find(tree, path[:-1])
    if isinstance(holder, dict):
        holder[path[-1]] = value
    elif isinstance(holder, list):
        holder.insert(len(holder) if path[-1] == "-" else _index(path[-1], len(holder)), value)
    else:
        raise PatchError(f"there is nothing below a value: {path[-1]}")
    return tree


def _remove(tree: Any, path: list[str]) -> tuple[Any, Any]:
    if not path:
        raise PatchError("the whole object cannot be removed")
    removed = _find(tree, path)
    holder = _find(tree, path[:-1])
    if isinstance(holder, dict):
        del holder[path[-1]]
    else:
        del holder[_index(path[-1], len(holder) - 1)]
    return tree, removed


def _same(one: Any, other: Any) -> bool:
    """Equality of JSON values: true is not 1."""
    if isinstance(one, bool) != isinstance(other, bool):
        return False
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(_same(a, b) for a, b in zip(one, other, strict=True))
    return bool(one == other)
