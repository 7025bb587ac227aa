"""Sets of fields in the form of `managedFields` (meta/v1 FieldsV1), and what server-side apply does with them.

A set is a tree of path elements: `f:NAME` is a field, `k:{...}` a list item by its keys, `v:VALUE` an item of a set,
and `.` says that the node itself belongs to the set. A leaf, which is an empty tree, belongs to it. The rules are those
of structured-merge-diff: maps and structs merge by field, lists with keys by item, sets by value; whatever is atomic
has one owner.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from gatewright.kubeapi.types import Field, Type

Fields = dict[str, Any]
"""A set of fields. Empty at the top: no field at all."""

_SELF = "."


def children(wanted: Type | None, value: Any) -> Iterator[tuple[str, Type | None, Any, bool]]:
    """(path element, type, value, present) of the parts that can have owners of their own; none of what is atomic.

    `present` says that the part is there before anybody sets it: an encoder writes it even where it is empty.
    """
    if wanted is None or wanted.atomic:
        return
    if isinstance(value, dict) and wanted.kind in ("struct", "map"):
        for key, below in value.items():
            field = wanted.fields.get(key) if wanted.kind == "struct" else Field(wanted.item) if wanted.item else None
            yield f"f:{key}", field.type if field else None, below, bool(field and field.present)
    elif isinstance(value, list) and wanted.kind == "list":
        for below in value:
            element = element_of(wanted, below)
            if element is not None:
                yield element, wanted.item, below, False


def element_of(wanted: Type, item: Any) -> str | None:
    """The path element of a list's item; None where its keys are missing."""
    if wanted.unique:
        return "v:" + json.dumps(item, separators=(",", ":"))
    if not wanted.keys or not isinstance(item, dict):
        return None
    keys = {key: item[key] for key in sorted(wanted.keys) if key in item}
    if "protocol" in wanted.keys and "protocol" not in keys:
        keys = {key: item.get(key, "TCP") for key in sorted(wanted.keys) if key in item or key == "protocol"}
    return "k:" + json.dumps(keys, separators=(",", ":"), ensure_ascii=False) if keys else None


def owned(wanted: Type | None, value: Any) -> Fields:
    """The set of everything that a configuration names: its leaves, and its list items themselves."""
    found: Fields = {}
    for element, below_type, below, _ in children(wanted, value):
        inner = owned(below_type, below)
        if inner and element[:2] == "k:":
            inner = {_SELF: {}, **inner}
        found[element] = inner
    return found


def changed(wanted: Type | None, old: Any, new: Any, *, fresh: bool = False) -> Fields:
    """The set of what is new or different. `fresh`: all of it is, also what an encoder writes though it is empty."""
    found: Fields = {}
    before = {element: (value, there) for element, _, value, there in children(wanted, old)}
    for element, below_type, below, present in children(wanted, new):
        if element in before:
            if before[element][0] == below:
                continue
            inner = changed(below_type, before[element][0], below)
            if inner or not _divisible(below_type, before[element][0], below):
                found[element] = inner
        else:
            there = present and not fresh
            inner = changed(below_type, None, below, fresh=not there)
            if inner and not there:
                inner = {_SELF: {}, **inner}
            if inner or not there or below not in ({}, []):
                found[element] = inner
    return found


def removed(wanted: Type | None, old: Any, new: Any) -> Fields:
    """The set of what is gone, with everything below it."""
    return changed(wanted, new, old) if old is not None and new is None else _removed(wanted, old, new)


def _removed(wanted: Type | None, old: Any, new: Any) -> Fields:
    found: Fields = {}
    after = {element: value for element, _, value, _ in children(wanted, new)}
    for element, below_type, below, _ in children(wanted, old):
        if element not in after:
            inner = owned(below_type, below)
            found[element] = {_SELF: {}, **inner} if inner else {}
        elif after[element] != below and (inner := _removed(below_type, below, after[element])):
            found[element] = inner
    return found


def _divisible(wanted: Type | None, old: Any, new: Any) -> bool:
    """Whether a difference is one of the parts, and not of the whole."""
    return any(True for _ in children(wanted, old)) or any(True for _ in children(wanted, new))


def _self(node: Fields) -> bool:
    return not node or _SELF in node


def union(one: Fields, other: Fields) -> Fields:
    """What is in either."""
    result = dict(one)
    for element, node in other.items():
        if element not in result:
            result[element] = node
        elif element != _SELF:
            mine = result[element]
            merged = union(mine, node)
            if merged and (_self(mine) or _self(node)):
                merged = {_SELF: {}, **merged}
            result[element] = merged
    return result


def difference(one: Fields, other: Fields) -> Fields:
    """What is in the first alone."""
    result: Fields = {}
    for element, node in one.items():
        if element == _SELF:
            if _SELF not in other:
                result[element] = node
            continue
        if element not in other:
            result[element] = node
            continue
        there = other[element]
        inner = difference(
            {k: v for k, v in node.items() if k != _SELF}, {k: v for k, v in there.items() if k != _SELF}
        )
        if _self(node) and not _self(there):
            inner = {_SELF: {}, **inner} if inner else {}
            result[element] = inner
        elif inner:
            result[element] = inner
    return result


def intersection(one: Fields, other: Fields) -> Fields:
    """What is in both."""
    result: Fields = {}
    for element, node in one.items():
        if element == _SELF or element not in other:
            continue
        there = other[element]
        inner = intersection(node, there)
        if _self(node) and _self(there):
            result[element] = {_SELF: {}, **inner} if inner else {}
        elif inner:
            result[element] = inner
    return result


def paths(fields: Fields, prefix: str = "") -> Iterator[str]:
    """The fields of a set as conflicts name them: `.spec.ports[containerPort=80,protocol="TCP"].name`."""
    for element, node in fields.items():
        if element == _SELF:
            continue
        place = prefix + _shown(element)
        if _self(node):
            yield place
        yield from paths(node, place)


def _shown(element: str) -> str:
    what, rest = element[:2], element[2:]
    if what == "f:":
        return f".{rest}"
    if what == "v:":
        return f"[={rest}]"
    keys = json.loads(rest)
    return "[" + ",".join(f"{key}={json.dumps(value)}" for key, value in keys.items()) + "]"


def merged(wanted: Type | None, live: Any, applied: Any) -> Any:
    """The live value with a configuration laid over it."""
    if wanted is None or wanted.atomic or live is None:
        return applied
    if wanted.kind in ("struct", "map") and isinstance(live, dict) and isinstance(applied, dict):
        result = dict(live)
        for key, value in applied.items():
            field = wanted.fields.get(key)
            below = (field.type if field else None) if wanted.kind == "struct" else wanted.item
            result[key] = merged(below, live.get(key), value)
        return result
    if wanted.kind == "list" and isinstance(live, list) and isinstance(applied, list):
        return _merged_list(wanted, live, applied)
    return applied


def _merged_list(wanted: Type, live: list[Any], applied: list[Any]) -> list[Any]:
    """Items of the configuration in its order, each after what stood before it in the live list."""
    mine = {element_of(wanted, item): item for item in applied}
    result = [
        merged(wanted.item, item, mine[element]) if (element := element_of(wanted, item)) in mine else item
        for item in live
    ]
    have = {element_of(wanted, item) for item in live}
    return result + [item for item in applied if element_of(wanted, item) not in have]


def without(wanted: Type | None, value: Any, gone: Fields) -> Any:
    """The value without the fields of a set; a container that becomes empty with them goes too."""
    if wanted is None or wanted.atomic or not gone:
        return value
    if isinstance(value, dict):
        result: dict[str, Any] = {}
        for key, below in value.items():
            node = gone.get(f"f:{key}")
            field = wanted.fields.get(key)
            below_type = (field.type if field else None) if wanted.kind == "struct" else wanted.item
            _keep(result.__setitem__, key, below_type, below, node)
        return result
    if isinstance(value, list):
        kept: list[Any] = []
        for item in value:
            element = element_of(wanted, item)
            node = gone.get(element) if element else None
            _keep(lambda _, one: kept.append(one), "", wanted.item, item, node)
        return kept
    return value


def _keep(put: Any, key: str, wanted: Type | None, value: Any, node: Fields | None) -> None:
    if node is None:
        put(key, value)
        return
    if not node:
        return
    rest = without(wanted, value, {element: below for element, below in node.items() if element != _SELF})
    if _SELF in node and rest in ({}, []):
        return
    if _SELF not in node or rest not in ({}, []):
        put(key, rest)
