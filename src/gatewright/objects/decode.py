"""Trees to structs, with every fault in the words of the API server.

The fast path is msgspec's own conversion. Only when that refuses an object is it walked by hand: nulls are dropped as
Go drops them, unknown fields and wrong types are collected with their paths, all of them and not the first alone, and
phrased as the API server phrases them (`json: cannot unmarshal string into Go struct field ...`).
"""

from __future__ import annotations

import types
import typing
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import msgspec

from gatewright.objects.meta import Object
from gatewright.objects.origin import Path, format_path

T = typing.TypeVar("T", bound=Object)


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of an object: the field's path, and what the API server says of it."""

    path: Path
    what: str


def convert(tree: Any, struct: type[T]) -> tuple[T | None, list[Fault]]:
    """The object, or None and every fault that makes it unreadable."""
    try:
        return msgspec.convert(tree, struct), []
    except (msgspec.ValidationError, RecursionError):
        walker = _Walker(struct.__name__)
        clean = walker.struct(struct, tree, (), "")
        if walker.faults:
            return None, walker.faults
        return msgspec.convert(clean, struct), []


_GO_NAMES = {"IPBlock": "v1.IPBlock", "ObjectMeta": "v1.ObjectMeta"}
_INT_BOUNDS = (-(2**31), 2**31 - 1)


class _Walker:
    """Walks a tree along a struct's fields; returns it without nulls, and remembers what does not fit."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.faults: list[Fault] = []

    def struct(self, struct: type[msgspec.Struct], tree: Any, path: Path, owner: str) -> Any:
        if not isinstance(tree, dict):
            return self._mismatch(tree, path, owner, f"v1.{struct.__name__}")
        fields = _fields(struct)
        result: dict[str, Any] = {}
        for key, value in tree.items():
            if key not in fields:
                if struct.__struct_config__.forbid_unknown_fields:
                    self.faults.append(Fault((*path, key), f'unknown field "{format_path((*path, key))}"'))
            elif value is not None:
                result[key] = self.value(fields[key], value, (*path, key), struct.__name__)
        return result

    def value(self, wanted: Any, value: Any, path: Path, owner: str) -> Any:
        """The value cleaned for the wanted type; faults are noted under the struct `owner`."""
        options = _options(wanted)
        kind = typing.get_origin(options[0]) or options[0]
        if kind is tuple:
            return self._sequence(typing.get_args(options[0])[0], value, path, owner)
        if kind is dict:
            return self._mapping(options[0], value, path, owner)
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            return self.struct(kind, value, path, owner)
        return self._scalar(options, value, path, owner)

    def _sequence(self, item: Any, value: Any, path: Path, owner: str) -> Any:
        if not isinstance(value, list):
            return self._mismatch(value, path, owner, f"[]{_go_name(item)}")
        return [self.value(item, _zero(item) if one is None else one, (*path, i), owner) for i, one in enumerate(value)]

    def _mapping(self, wanted: Any, value: Any, path: Path, owner: str) -> Any:
        to = typing.get_args(wanted)[1]
        if not isinstance(value, dict):
            return self._mismatch(value, path, owner, f"map[string]{_go_name(to)}")
        if to is not str:
            return value
        return {key: self.value(str, "" if one is None else one, (*path, key), owner) for key, one in value.items()}

    def _scalar(self, options: tuple[Any, ...], value: Any, path: Path, owner: str) -> Any:
        if object in options or Any in options:
            return value
        if isinstance(value, bool):
            fits = bool in options
        elif isinstance(value, int):
            fits = int in options and _INT_BOUNDS[0] <= value <= _INT_BOUNDS[1]
        else:
            fits = isinstance(value, str) and str in options
        if fits:
            return value
        return self._mismatch(value, path, owner, _go_name(int if int in options else options[0], path))

    def _mismatch(self, value: Any, path: Path, owner: str, wanted: str) -> None:
        fields = ".".join(part for part in path if isinstance(part, str))
        if owner in ("LabelSelector", "ObjectMeta") and path[-2:-1] in (("matchLabels",), ("labels",)):
            fields = fields.rpartition(".")[0]
        field = f"Go struct field {owner or self.root}.{fields}" if path else "Go value"
        self.faults.append(Fault(path, f"json: cannot unmarshal {_json_kind(value)} into {field} of type {wanted}"))


@lru_cache(maxsize=256)
def _fields(struct: type[msgspec.Struct]) -> dict[str, Any]:
    return {field.encode_name: field.type for field in msgspec.structs.fields(struct)}


def _options(wanted: Any) -> tuple[Any, ...]:
    """The alternatives of a type, None left out."""
    if isinstance(wanted, types.UnionType) or typing.get_origin(wanted) is typing.Union:
        return tuple(option for option in typing.get_args(wanted) if option is not type(None))
    return (wanted,)


def _zero(item: Any) -> Any:
    """What Go makes of a null list item: the type's zero value."""
    kind = _options(item)[0]
    return "" if kind is str else 0 if kind is int else {}


def _go_name(wanted: Any, path: Path = ()) -> str:
    if wanted is str:
        return "v1.Protocol" if path[-1:] == ("protocol",) else "string"
    if wanted is int:
        return "int32"
    if wanted is bool:
        return "bool"
    return f"v1.{getattr(wanted, '__name__', wanted)}"


def _json_kind(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, float):
        return f"number {value}"
    if isinstance(value, int):
        return "number" if _INT_BOUNDS[0] <= value <= _INT_BOUNDS[1] else f"number {value}"
    return "string" if isinstance(value, str) else "array" if isinstance(value, list) else "object"
