"""An OpenAPI v2 document in the protobuf form of gnostic, which is the only one that kubectl takes of `/openapi/v2`.

kubectl asks for it when it meets a kind that the v3 documents do not have, a `List` above all. Written from the same
tree as the JSON. Field numbers: gnostic's openapi.v2 messages Document, Schema and what they hold. What no schema of
ours has (examples, XML, response and parameter definitions) has no number here, and is refused, not left out.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping
from typing import Any

MEDIA_TYPE = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
ACCEPTED = (MEDIA_TYPE, "application/com.github.proto-openapi.spec.v2@v1.0+protobuf")
"""What clients ask for: the older name, which is no media type (RFC 9110), is the one that kubectl sends."""
Tree = Mapping[str, Any]
Encode = Callable[[int, Any], bytes]


def document(tree: Tree) -> bytes:
    """The document's message. Raises ValueError for what has no place in it."""
    return _message(tree, _DOCUMENT)


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)


def _bytes(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _text(number: int, value: Any) -> bytes:
    return _bytes(number, str(value).encode())


def _texts(number: int, values: Any) -> bytes:
    return b"".join(_text(number, one) for one in values)


def _whole(number: int, value: Any) -> bytes:
    return _varint(number << 3) + _varint(int(value))


def _double(number: int, value: Any) -> bytes:
    return _varint(number << 3 | 1) + struct.pack("<d", value)


def _any(number: int, value: Any) -> bytes:
    """A value of any kind, as YAML, of which JSON is a part."""
    return _bytes(number, _text(2, json.dumps(value)))


def _anys(number: int, values: Any) -> bytes:
    return b"".join(_any(number, one) for one in values)


def _schema(number: int, tree: Any) -> bytes:
    return _bytes(number, _message(tree, _SCHEMA))


def _schemas(number: int, trees: Any) -> bytes:
    return b"".join(_schema(number, one) for one in trees)


def _named_schemas(number: int, trees: Any) -> bytes:
    """Schemas by name, in a message of their own."""
    pairs = (_text(1, name) + _schema(2, tree) for name, tree in trees.items())
    return _bytes(number, b"".join(_bytes(1, pair) for pair in pairs))


def _additional(number: int, tree: Any) -> bytes:
    return _bytes(number, _whole(2, tree) if isinstance(tree, bool) else _schema(1, tree))


def _items(number: int, tree: Any) -> bytes:
    return _bytes(number, _schema(1, tree))


def _type(number: int, name: Any) -> bytes:
    return _bytes(number, _text(1, name))


def _info(number: int, tree: Any) -> bytes:
    return _bytes(number, _text(1, tree["title"]) + _text(2, tree["version"]))


def _no_paths(number: int, tree: Any) -> bytes:
    if tree:
        raise ValueError("paths have no place in this form")
    return _bytes(number, b"")


_DOCUMENT: Mapping[str, tuple[int, Encode]] = {
    "swagger": (1, _text),
    "info": (2, _info),
    "paths": (8, _no_paths),
    "definitions": (9, _named_schemas),
}
_SCHEMA: Mapping[str, tuple[int, Encode]] = {
    "$ref": (1, _text),
    "format": (2, _text),
    "title": (3, _text),
    "description": (4, _text),
    "default": (5, _any),
    "maximum": (7, _double),
    "minimum": (9, _double),
    "maxLength": (11, _whole),
    "minLength": (12, _whole),
    "pattern": (13, _text),
    "maxItems": (14, _whole),
    "minItems": (15, _whole),
    "maxProperties": (17, _whole),
    "minProperties": (18, _whole),
    "required": (19, _texts),
    "enum": (20, _anys),
    "additionalProperties": (21, _additional),
    "type": (22, _type),
    "items": (23, _items),
    "allOf": (24, _schemas),
    "properties": (25, _named_schemas),
}
_EXTENSION = 31


def _message(tree: Tree, fields: Mapping[str, tuple[int, Encode]]) -> bytes:
    found = []
    for name, value in tree.items():
        if name in fields:
            number, encode = fields[name]
            found.append(encode(number, value))
        elif name.startswith("x-") and fields is _SCHEMA:
            found.append(_bytes(_EXTENSION, _text(1, name) + _any(2, value)))
        else:
            raise ValueError(f"{name} has no place in this form")
    return b"".join(found)
