"""Objects in Kubernetes' protobuf form, read into the tree that their JSON would give.

Clients of built-in types send it (`kubectl create namespace`, `kubectl auth can-i`); answers stay JSON, which the same
clients accept. A body is the four bytes `k8s\\0` and a runtime.Unknown message that names kind and apiVersion and holds
the object. Field numbers are in the type table. Zero values are left out, as Go's JSON encoder does with `omitempty`.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from gatewright.kubeapi.decoding import DEEPEST, LARGEST_BODY
from gatewright.kubeapi.failure import bad_request, fail
from gatewright.kubeapi.types import Field, Type, TypeTable

MEDIA_TYPE = "application/vnd.kubernetes.protobuf"
_MAGIC = b"k8s\0"
_PACKAGES = {
    "": "core", "apps": "apps", "batch": "batch", "networking.k8s.io": "networking", "discovery.k8s.io": "discovery",
    "coordination.k8s.io": "coordination", "autoscaling": "autoscaling", "authorization.k8s.io": "authorization",
    "authentication.k8s.io": "authentication", "policy": "policy", "events.k8s.io": "events",
}  # fmt: skip

Value = int | bytes
Wire = tuple[int, Value]


class _Broken(ValueError):
    """Bytes that are no message."""


def from_protobuf(body: bytes, types: TypeTable) -> dict[str, Any]:
    """The tree of an object, with its kind and apiVersion. Raises Failure (400, 413)."""
    if len(body) > LARGEST_BODY:
        raise fail(413, f"Request entity too large: limit is {LARGEST_BODY}")
    if not body.startswith(_MAGIC):
        raise bad_request("the body is not in the protobuf form of Kubernetes: it does not begin with its four bytes")
    try:
        return _object(body[len(_MAGIC) :], types)
    except (_Broken, UnicodeDecodeError) as error:
        raise bad_request(f"the protobuf body cannot be read: {error}") from error


def _object(data: bytes, types: TypeTable) -> dict[str, Any]:
    envelope = dict(_messages(data))
    about = {number: _text(value) for number, value in _messages(_bytes(envelope.get(1, b"")))}
    api_version, kind = about.get(1, ""), about.get(2, "")
    group, _, version = api_version.rpartition("/")
    names = [f"{_PACKAGES.get(group, '?')}.{version}.{kind}", f"meta.v1.{kind}"]
    for name in names:
        if types.has(name):
            tree = _struct(types[name], _bytes(envelope.get(2, b"")), 0)
            return {"kind": kind, "apiVersion": api_version, **tree}
    raise bad_request(f'no kind "{kind}" is registered for version "{api_version}"')


def _messages(data: bytes) -> Iterator[Wire]:
    """(field number, value): numbers of varints and fixed fields, bytes of the others."""
    position = 0
    while position < len(data):
        tag, position = _varint(data, position)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, position = _varint(data, position)
            yield number, value
        elif wire == 2:
            size, position = _varint(data, position)
            if position + size > len(data):
                raise _Broken("it ends inside a field")
            yield number, data[position : position + size]
            position += size
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
            if position + size > len(data):
                raise _Broken("it ends inside a field")
            yield number, int.from_bytes(data[position : position + size], "little")
            position += size
        else:
            raise _Broken(f"wire type {wire} is not in use")


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if position >= len(data) or shift > 63:
            raise _Broken("a number does not end")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, position


def _struct(wanted: Type, data: bytes, depth: int) -> dict[str, Any]:
    if depth > DEEPEST:
        raise _Broken(f"it is nested deeper than {DEEPEST} levels")
    by_number = wanted.numbers()
    tree: dict[str, Any] = {}
    for number, value in _messages(data):
        if number in wanted.inlined:
            tree.update(_struct(wanted.inlined[number], _bytes(value), depth + 1))
            continue
        if number not in by_number:
            continue
        name, field = by_number[number]
        _set(tree, name, field, value, depth)
    return tree


def _set(tree: dict[str, Any], name: str, field: Field, value: Value, depth: int) -> None:
    wanted = field.type
    if wanted.kind == "list" and wanted.item:
        tree.setdefault(name, []).append(_value(wanted.item, value, depth))
    elif wanted.kind == "map" and wanted.item:
        pair = dict(_messages(_bytes(value)))
        tree.setdefault(name, {})[_text(pair.get(1, b""))] = _value(wanted.item, pair.get(2, b""), depth)
    else:
        read = _value(wanted, value, depth)
        empty = read in ("", 0, {}) and (field.present or not field.kept_empty) and not field.pointer
        if read is not None and (not empty or (read is False and field.present)):
            tree[name] = read


def _value(wanted: Type, value: Value, depth: int) -> Any:
    kind = wanted.kind
    if kind == "struct":
        return _struct(wanted, _bytes(value), depth + 1)
    if kind in ("string", "bytes"):
        data = _bytes(value)
        return data.decode() if kind == "string" else base64.b64encode(data).decode()
    if kind in ("int32", "int64"):
        return _signed(_number(value))
    if kind == "boolean":
        return bool(_number(value))
    if kind in ("time", "microTime"):
        return _time(_bytes(value), micro=kind == "microTime")
    if kind == "quantity":
        return _text(dict(_messages(_bytes(value))).get(1, b""))
    if kind == "intOrString":
        parts = dict(_messages(_bytes(value)))
        return _text(parts.get(3, b"")) if _number(parts.get(1, 0)) else _signed(_number(parts.get(2, 0)))
    if kind == "raw":
        return _raw(dict(_messages(_bytes(value))).get(1, b""))
    raise _Broken(f"a field of kind {kind} is not in use")


def _raw(value: Value) -> Any:
    try:
        return json.loads(_bytes(value) or b"null")
    except (ValueError, RecursionError) as error:
        raise _Broken("a raw value is not JSON") from error


def _time(data: bytes, *, micro: bool) -> str | None:
    parts = {number: _signed(_number(value)) for number, value in _messages(data)}
    if not parts:
        return None
    try:
        moment = datetime.fromtimestamp(parts.get(1, 0), UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise _Broken("a time is out of range") from error
    text = moment.strftime("%Y-%m-%dT%H:%M:%S")
    return text + (f".{parts.get(2, 0) // 1000 % 1_000_000:06d}Z" if micro else "Z")


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


def _number(value: Value) -> int:
    if not isinstance(value, int):
        raise _Broken("bytes stand where a number should")
    return value


def _bytes(value: Value) -> bytes:
    if not isinstance(value, bytes):
        raise _Broken("a number stands where bytes should")
    return value


def _text(value: Value) -> str:
    return _bytes(value).decode()
