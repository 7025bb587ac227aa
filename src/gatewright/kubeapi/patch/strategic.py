"""Strategic merge patch: a merge patch that knows which lists merge by a key of their items.

The directives are those of apimachinery (util/strategicpatch): `$patch: replace|delete|merge`, `$retainKeys`,
`$deleteFromPrimitiveList/FIELD` and `$setElementOrder/FIELD`. Which lists merge, and by which
key, is in the type table.
"""

from __future__ import annotations

from typing import Any

from gatewright.kubeapi.patch.json_patch import PatchError
from gatewright.kubeapi.types import Field, Type

_PATCH = "$patch"
_RETAIN = "$retainKeys"
_DELETE = "$deleteFromPrimitiveList/"
_ORDER = "$setElementOrder/"


def apply_strategic_patch(tree: Any, patch: Any, wanted: Type) -> Any:
    """The patched tree of a type; the given one stays as it is. Raises PatchError."""
    if not isinstance(patch, dict):
        raise PatchError("a patch is an object")
    return _mapping(tree if isinstance(tree, dict) else {}, patch, wanted)


def _mapping(tree: dict[str, Any], patch: dict[str, Any], wanted: Type | None) -> dict[str, Any]:
    directive = patch.get(_PATCH)
    if directive == "replace":
        return {key: value for key, value in patch.items() if key != _PATCH}
    if directive == "delete":
        return {}
    if directive not in (None, "merge"):
        raise PatchError(f"unknown directive {_PATCH}: {directive}")
    result = dict(tree)
    if _RETAIN in patch:
        keys = _strings(patch[_RETAIN], _RETAIN)
        result = {key: value for key, value in result.items() if key in keys}
    for key, value in patch.items():
        if key.startswith(_DELETE):
            gone = value if isinstance(value, list) else []
            name = key.removeprefix(_DELETE)
            if isinstance(result.get(name), list):
                result[name] = [one for one in result[name] if one not in gone]
        elif not key.startswith("$"):
            _member(result, key, value, _field(wanted, key))
    for key, value in patch.items():
        if key.startswith(_ORDER) and isinstance(value, list):
            name = key.removeprefix(_ORDER)
            field = _field(wanted, name)
            if isinstance(result.get(name), list) and field:
                before = tree.get(name)
                result[name] = _ordered(
                    result[name], value, before if isinstance(before, list) else [], field.patch_key
                )
    return result


def _member(result: dict[str, Any], key: str, value: Any, field: Field | None) -> None:
    present = result.get(key)
    if value is None:
        result.pop(key, None)
    elif isinstance(value, dict):
        below = present if isinstance(present, dict) else {}
        replaced = value.get(_PATCH) == "delete"
        merged = _mapping(below, value, field.type if field else None)
        if replaced:
            result.pop(key, None)
        else:
            result[key] = merged
    elif isinstance(value, list) and field and field.merges and isinstance(present, list):
        result[key] = _list(present, value, field)
    elif isinstance(value, list):
        result[key] = [one for one in value if not (isinstance(one, dict) and _PATCH in one)]
    else:
        result[key] = value


def _field(wanted: Type | None, key: str) -> Field | None:
    if wanted is None:
        return None
    if wanted.kind == "map" and wanted.item:
        return Field(wanted.item)
    return wanted.fields.get(key)


def _list(present: list[Any], patch: list[Any], field: Field) -> list[Any]:
    if not field.patch_key:
        merged = present + [one for one in patch if one not in present]
        return _ordered(merged, patch, present, "")
    key, item = field.patch_key, field.type.item
    if any(isinstance(one, dict) and one.get(_PATCH) == "replace" for one in patch):
        return [one for one in patch if not (isinstance(one, dict) and _PATCH in one)]
    merged = list(present)
    for one in patch:
        if not isinstance(one, dict) or key not in one:
            raise PatchError(f"map: {one} does not contain declared merge key: {key}")
        places = [place for place, old in enumerate(merged) if isinstance(old, dict) and old.get(key) == one[key]]
        if one.get(_PATCH) == "delete":
            merged = [old for place, old in enumerate(merged) if place not in places]
        elif places:
            merged[places[0]] = _mapping(merged[places[0]], one, item)
        else:
            merged.append(_mapping({}, one, item))
    return _ordered(merged, patch, present, key)


def _ordered(items: list[Any], order: list[Any], before: list[Any], key: str) -> list[Any]:
    """What `order` names in its order, among the others in theirs.

    An item of the order comes first unless it stood behind the other item in the list as it was.
    """

    def identity(one: Any) -> Any:
        return one.get(key) if key and isinstance(one, dict) else one

    wanted, stood = [identity(one) for one in order], [identity(one) for one in before]
    named = sorted((one for one in items if identity(one) in wanted), key=lambda one: wanted.index(identity(one)))
    others = [one for one in items if identity(one) not in wanted]
    result: list[Any] = []
    while named and others:
        mine, other = identity(named[0]), identity(others[0])
        behind = mine in stood and other in stood and stood.index(other) < stood.index(mine)
        result.append((others if behind else named).pop(0))
    return result + named + others


def _strings(value: Any, name: str) -> frozenset[str]:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise PatchError(f"{name} is a list of names")
    return frozenset(value)
