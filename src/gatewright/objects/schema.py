"""Structural schemas: what an API server checks of a custom resource, in its order and words.

A small reading of OpenAPI v3 as custom resource definitions use it (apiextensions.k8s.io/v1), with rules that a
definition writes in CEL given as Python functions. As in the API server, rules are looked at only when the structure
is right.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from gatewright.objects.decode import Fault
from gatewright.objects.origin import Path, format_path


@dataclass(frozen=True, slots=True)
class Check:
    """A rule of a definition: `holds` is asked with the value of the node it is written on."""

    holds: Callable[[Any], bool]
    message: str


@dataclass(frozen=True, slots=True)
class Schema:
    """One node: object, array, string or integer, with the bounds that OpenAPI names. `values` are a map's values."""

    type: str
    properties: Mapping[str, Schema] = field(default_factory=dict)
    values: Schema | None = None
    items: Schema | None = None
    required: tuple[str, ...] = ()
    enum: tuple[str, ...] = ()
    at_least: int | None = None
    at_most: int | None = None
    pattern: str = ""
    unique: bool = False
    checks: tuple[Check, ...] = ()


_TYPES: dict[str, tuple[type, ...]] = {"object": (dict,), "array": (list,), "string": (str,), "integer": (int,)}
_UNITS = {"object": "properties", "array": "items"}


def structural_faults(schema: Schema, value: Any, path: Path) -> list[Fault]:
    """Everything the API server would say of the value; empty when it is right."""
    found = [*_unknown(schema, value, path)]
    if found:
        return found
    found = [*_structure(schema, value, path)]
    return found or [*_checked(schema, value, path)]


def _unknown(schema: Schema, value: Any, path: Path) -> Iterator[Fault]:
    """Fields that no schema names: refused as `kubectl` asks for it (fieldValidation Strict)."""
    for key, (below, one) in _children(schema, value).items():
        at = (*path, key)
        if below is None:
            yield Fault(at, f'unknown field "{format_path(at)}"')
        else:
            yield from _unknown(below, one, at)


def _children(schema: Schema, value: Any) -> dict[str | int, tuple[Schema | None, Any]]:
    if isinstance(value, dict) and schema.type == "object":
        known = schema.properties
        return {key: (known.get(key) or schema.values, one) for key, one in value.items() if one is not None}
    if isinstance(value, list) and schema.items is not None:
        return {i: (schema.items, one) for i, one in enumerate(value)}
    return {}


def _structure(schema: Schema, value: Any, path: Path) -> Iterator[Fault]:
    place = format_path(path)
    if not _has_type(value, schema.type):
        shown = json.dumps(_type_of(value))
        yield Fault(path, f"Invalid value: {shown}: {place} in body must be of type {schema.type}: {shown}")
        return
    for name in schema.required:
        if value.get(name) is None:
            yield Fault((*path, name), "Required value")
    if schema.enum and value not in schema.enum:
        listed = ", ".join(json.dumps(one) for one in schema.enum)
        yield Fault(path, f"Unsupported value: {json.dumps(value)}: supported values: {listed}")
    yield from _bounds(schema, value, path, place)
    if schema.pattern and not re.search(schema.pattern, value, re.ASCII):
        yield Fault(path, f"Invalid value: {json.dumps(value)}: {place} in body should match '{schema.pattern}'")
    if schema.unique:
        for i, item in enumerate(value):
            if item in value[:i]:
                yield Fault((*path, i), f"Duplicate value: {json.dumps(item)}")
    for key, (below, one) in _children(schema, value).items():
        if below is not None:
            yield from _structure(below, one, (*path, key))


def _bounds(schema: Schema, value: Any, path: Path, place: str) -> Iterator[Fault]:
    if schema.type == "integer":
        for bound, wrong, words in (
            (schema.at_least, schema.at_least is not None and value < schema.at_least, "greater than or equal to"),
            (schema.at_most, schema.at_most is not None and value > schema.at_most, "less than or equal to"),
        ):
            if wrong:
                yield Fault(path, f"Invalid value: {value}: {place} in body should be {words} {bound}")
        return
    size = len(value)
    if schema.at_least is not None and size < schema.at_least:
        if schema.type == "string":
            words = f"should be at least {schema.at_least} chars long"
            yield Fault(path, f"Invalid value: {json.dumps(value)}: {place} in body {words}")
        else:
            words = f"should have at least {schema.at_least} {_UNITS[schema.type]}"
            yield Fault(path, f"Invalid value: {size}: {place} in body {words}")
    if schema.at_most is not None and size > schema.at_most:
        if schema.type == "string":
            yield Fault(path, f"Too long: may not be more than {schema.at_most} bytes")
        else:
            unit = "item" if schema.at_most == 1 else "items"
            yield Fault(path, f"Too many: {size}: must have at most {schema.at_most} {unit}")


def _checked(schema: Schema, value: Any, path: Path) -> Iterator[Fault]:
    for check in schema.checks:
        if not check.holds(value):
            shown = f"{json.dumps(value)}: " if isinstance(value, str) else ""
            yield Fault(path, f"Invalid value: {shown}{check.message}")
    for key, (below, one) in _children(schema, value).items():
        if below is not None:
            yield from _checked(below, one, (*path, key))


def _has_type(value: Any, wanted: str) -> bool:
    return isinstance(value, _TYPES[wanted]) and not isinstance(value, bool)


def _type_of(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "integer" if isinstance(value, int) else "number"
    return "string" if isinstance(value, str) else "array" if isinstance(value, list) else "object"
