"""What a client sent, read along the fields of its type: JSON or YAML to a clean tree, and what does not fit.

As in Go's decoder, nulls are no values and empty lists and maps are none either, an unknown field is dropped (and
reported, for `fieldValidation`), and the first value of a wrong type refuses the object. Numbers keep their JSON form;
nothing is defaulted here.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

from gatewright.kubeapi.failure import Failure, bad_request, fail
from gatewright.kubeapi.types import Type
from gatewright.objects.decode import Fault
from gatewright.objects.origin import Path, format_path
from gatewright.objects.yaml import documents

LARGEST_BODY = 3 * 1024 * 1024
"""Bytes of a request, as an API server bounds them."""
DEEPEST = 100
"""Levels of nesting that any object needs at most; deeper ones would exhaust the stack of whoever walks them."""
_INT32 = (-(2**31), 2**31 - 1)
_INT64 = (-(2**63), 2**63 - 1)
_GO_SCALARS = {
    "boolean": "bool",
    "number": "float64",
    "intOrString": "int32",
    "quantity": "resource.Quantity",
}
_QUANTITY = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?\d+)?", re.ASCII)
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", re.ASCII)


@dataclass
class Decoded:
    """A clean tree, and what a strict reader objects to: unknown and duplicate fields, in the server's words."""

    tree: dict[str, Any]
    objections: list[str] = field(default_factory=list)


def parse(body: bytes, content_type: str, kind: str) -> tuple[Any, list[str]]:
    """(tree, duplicate fields) of a JSON or YAML body. Raises Failure: 400, 413, 415."""
    if len(body) > LARGEST_BODY:
        message = f"Request entity too large: limit is {LARGEST_BODY}"
        raise fail(413, message)
    if content_type in ("application/json", ""):
        tree, duplicates = _parse_json(body, kind)
    elif content_type in ("application/yaml", "application/x-yaml", "application/apply-patch+yaml"):
        tree, duplicates = _parse_yaml(body, kind)
    else:
        accepted = "application/json, application/yaml, application/vnd.kubernetes.protobuf"
        what = f"the body of the request was in an unknown format - accepted media types include: {accepted}"
        raise fail(415, what)
    if too_deep(tree):
        raise bad_request(f"the object provided is nested deeper than {DEEPEST} levels")
    return tree, duplicates


def _parse_json(body: bytes, kind: str) -> tuple[Any, list[str]]:
    duplicates: list[str] = []

    def build(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) < len(pairs):
            names = [name for name, _ in pairs]
            duplicates.extend(f'duplicate field "{name}"' for name in made if names.count(name) > 1)
        return made

    try:
        tree = json.loads(body, object_pairs_hook=build, parse_constant=_no_constant)
        if b"\\u" in body:
            json.dumps(tree, ensure_ascii=False).encode()  # an escape can stand for half a character
        return tree, duplicates
    except (ValueError, RecursionError) as error:
        raise _unrecognized(kind, f"json parse error: {error}") from error


def _no_constant(name: str) -> Any:
    raise ValueError(f"invalid character '{name[0]}' looking for beginning of value")


def _parse_yaml(body: bytes, kind: str) -> tuple[Any, list[str]]:
    try:
        found = list(documents(body.decode(), "body"))
    except UnicodeDecodeError as error:
        raise _unrecognized(kind, f"yaml: {error.reason}") from error
    if len(found) != 1:
        raise _unrecognized(kind, "yaml: exactly one document is wanted")
    document = found[0]
    if document.problems:
        said = document.problems[0]
        if all("already set in map" in problem.what for problem in document.problems) and document.tree is not None:
            found_twice = [f"  line {one.where.rpartition(':')[2]}: {one.what}" for one in document.problems]
            return document.tree, ["yaml: unmarshal errors:\n" + "\n".join(found_twice)]
        raise _unrecognized(kind, f"yaml: {said.what}")
    return document.tree, []


def _unrecognized(kind: str, why: str) -> Failure:
    return bad_request(
        f"the object provided is unrecognized (must be of type {kind}): couldn't get version/kind; {why}"
    )


def too_deep(tree: Any) -> bool:
    """Whether a tree has more levels than any object needs. Does not recurse itself."""
    level = [tree]
    for _ in range(DEEPEST):
        level = [
            below
            for node in level
            if isinstance(node, dict | list)
            for below in (node.values() if isinstance(node, dict) else node)
            if isinstance(below, dict | list)
        ]
        if not level:
            return False
    return True


def decode(tree: Any, wanted: Type, kind: str, version: str) -> Decoded:
    """The clean tree of an object of a type. Raises Failure (400) for the first value of a wrong type."""
    walker = _Walker(wanted.short)
    clean = walker.value(wanted, tree, (), "")
    if walker.faults:
        said = walker.faults[0].what
        raise bad_request(f'{kind} in version "{version}" cannot be handled as a {kind}: {said}')
    return Decoded(clean, walker.unknown)


class _Walker:
    def __init__(self, root: str) -> None:
        self.root = root
        self.faults: list[Fault] = []
        self.unknown: list[str] = []

    def value(self, wanted: Type, value: Any, path: Path, owner: str) -> Any:
        if wanted.kind == "struct":
            return self._struct(wanted, value, path, owner)
        if wanted.kind == "map":
            return self._map(wanted, value, path, owner)
        if wanted.kind == "list":
            return self._list(wanted, value, path, owner)
        if not _fits(wanted.kind, value):
            self._mismatch(value, path, owner, wanted)
        return value

    def _struct(self, wanted: Type, value: Any, path: Path, owner: str) -> Any:
        if not isinstance(value, dict):
            return self._mismatch(value, path, owner, wanted)
        clean = {}
        for key, below in value.items():
            field_ = wanted.fields.get(key)
            if field_ is None:
                self.unknown.append(f'unknown field "{format_path((*path, key))}"')
            elif below is not None:
                read = self.value(field_.type, below, (*path, key), wanted.short)
                if read or field_.kept_empty:
                    clean[key] = read
        return clean

    def _map(self, wanted: Type, value: Any, path: Path, owner: str) -> Any:
        if not isinstance(value, dict):
            return self._mismatch(value, path, owner, wanted)
        assert wanted.item
        zero = _zero(wanted.item)
        return {
            key: self.value(wanted.item, zero if below is None else below, (*path, key), owner)
            for key, below in value.items()
        }

    def _list(self, wanted: Type, value: Any, path: Path, owner: str) -> Any:
        if not isinstance(value, list):
            return self._mismatch(value, path, owner, wanted)
        assert wanted.item
        zero = _zero(wanted.item)
        return [
            self.value(wanted.item, zero if below is None else below, (*path, place), owner)
            for place, below in enumerate(value)
        ]

    def _mismatch(self, value: Any, path: Path, owner: str, wanted: Type) -> Any:
        if wanted.schema is not None:
            return value  # a custom resource: its schema is asked later, and says so in words of its own
        fields = [part for part in path if isinstance(part, str)]
        if fields[-2:-1] and fields[-2] in ("labels", "annotations", "matchLabels"):
            fields.pop()
        where = f"Go struct field {owner or self.root}.{'.'.join(fields)}" if path else "Go value"
        self.faults.append(
            Fault(path, f"json: cannot unmarshal {_json_kind(value, wanted)} into {where} of type {_go(wanted, path)}")
        )
        return None


def _fits(kind: str, value: Any) -> bool:  # noqa: PLR0911 - one line a scalar
    if kind == "raw":
        return True
    if kind == "boolean":
        return isinstance(value, bool)
    if isinstance(value, bool):
        return False
    if kind in ("int32", "int64"):
        low, high = _INT32 if kind == "int32" else _INT64
        return isinstance(value, int) and low <= value <= high
    if kind == "number":
        return isinstance(value, int | float)
    if kind == "intOrString":
        return isinstance(value, str) or (isinstance(value, int) and _INT32[0] <= value <= _INT32[1])
    if kind == "quantity":
        return isinstance(value, int | float) or (isinstance(value, str) and bool(_QUANTITY.fullmatch(value)))
    if kind in ("time", "microTime"):
        return isinstance(value, str) and bool(_TIME.fullmatch(value))
    return isinstance(value, str)


def _zero(wanted: Type) -> Any:
    """What Go makes of a null item."""
    if wanted.kind in ("struct", "map"):
        return {}
    if wanted.kind == "list":
        return []
    return {"boolean": False, "int32": 0, "int64": 0, "number": 0, "quantity": "0"}.get(wanted.kind, "")


def _go(wanted: Type, path: Path) -> str:
    if wanted.kind == "struct":
        return f"v1.{wanted.short}"
    if wanted.kind == "list" and wanted.item:
        return f"[]{_go(wanted.item, ())}"
    if wanted.kind == "map" and wanted.item:
        return f"map[string]{_go(wanted.item, ())}"
    if wanted.kind == "string" and path[-1:] == ("protocol",):
        return "v1.Protocol"
    return _GO_SCALARS.get(wanted.kind, wanted.kind)


def _json_kind(value: Any, wanted: Type) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        integral = wanted.kind in ("int32", "int64", "intOrString")
        return f"number {value}" if integral else "number"
    return "string" if isinstance(value, str) else "array" if isinstance(value, list) else "object"
