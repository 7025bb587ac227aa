"""Changes of elements as netlink messages, in one atomic batch: what text needs milliseconds for takes microseconds.

libnftables reads back the tables, sets and often all elements of the node before it sends the smallest change; a change
that only adds and deletes elements needs none of that. The layout is that of linux/netfilter/nf_tables.h: keys in
network byte order, each field of a concatenation padded to four bytes, a range as the keys of its two ends. Sets of one
field with ranges have another layout, and are left to text.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TypeVar

from gatewright.kernel.change import Change, MapChange, SetChange
from gatewright.kernel.netlink import NESTED, Request, attribute
from gatewright.kernel.table import Element, Field, Verb

_SUBSYSTEM = 10 << 8
_NEW_ELEMENTS, _DELETE_ELEMENTS = _SUBSYSTEM | 12, _SUBSYSTEM | 14
_CREATE = 0x400
_INET = struct.pack("=BBH", 1, 0, 0)
_TABLE, _SET, _ELEMENTS = 1, 2, 3
_LIST_ELEMENT = 1
_KEY, _DATA, _KEY_END = 1, 2, 10
_VALUE, _VERDICT = 1, 2
_CODE, _CHAIN = 1, 2
_VERDICT_CODE = {Verb.JUMP: -3, Verb.GOTO: -4}
PIECE = 400
"""Elements a message: an attribute holds 64 KiB at most, and an IPv6 range takes some 100 bytes."""
T = TypeVar("T")


def can_send(change: Change) -> bool:
    """Whether a change is of elements only, in sets whose layout is known here."""
    return change.only_elements and all(len(one.part.fields) > 1 or not one.part.interval for one in change.sets)


def requests(change: Change, table: str) -> Iterator[Request]:
    """The messages that make a change of elements, deletions first: nothing that is added may overlap what was."""
    for there in (False, True):
        for edit in change.sets:
            encode = _ranges(edit) if edit.part.interval else _keys(edit)
            yield from _messages(there, table, edit.part.name, map(encode, edit.added if there else edit.gone))
        for entry in change.maps:
            entries = map(_entries(entry), entry.added if there else entry.gone)
            yield from _messages(there, table, entry.part.name, entries)


def _messages(there: bool, table: str, name: str, elements: Iterator[bytes]) -> Iterator[Request]:
    """Some elements of one set come or go."""
    head = _INET + _text(_TABLE, table) + _text(_SET, name)
    kind, flags = (_NEW_ELEMENTS, _CREATE) if there else (_DELETE_ELEMENTS, 0)
    while piece := b"".join(islice(elements, PIECE)):
        yield Request(kind, flags, head + attribute(_ELEMENTS | NESTED, piece))


def _keys(edit: SetChange) -> Callable[[Element], bytes]:
    fields = edit.part.fields
    return lambda element: _element(_key(_KEY, fields, element))


def _ranges(edit: SetChange) -> Callable[[Element], bytes]:
    fields = edit.part.fields
    return lambda element: _element(_key(_KEY, fields, element[::2]) + _key(_KEY_END, fields, element[1::2]))


def _entries(entry: MapChange) -> Callable[[tuple[int, str]], bytes]:
    fields, code = (entry.part.field,), attribute(_CODE, struct.pack(">i", _VERDICT_CODE[entry.part.verb]))

    def encode(item: tuple[int, str]) -> bytes:
        number, chain = item
        verdict = attribute(_VERDICT | NESTED, code + _text(_CHAIN, chain))
        return _element(_key(_KEY, fields, (number,)) + attribute(_DATA | NESTED, verdict))

    return encode


def _element(body: bytes) -> bytes:
    return attribute(_LIST_ELEMENT | NESTED, body)


def _key(kind: int, fields: tuple[Field, ...], numbers: Iterable[int]) -> bytes:
    value = b"".join([_WRITTEN[field](number) for field, number in zip(fields, numbers, strict=True)])
    return attribute(kind | NESTED, attribute(_VALUE, value))


def _text(kind: int, text: str) -> bytes:
    return attribute(kind, text.encode() + b"\0")


_WRITTEN: dict[Field, Callable[[int], bytes]] = {
    Field.IPV4: struct.Struct(">L").pack,
    Field.IPV6: lambda number: number.to_bytes(16, "big"),
    Field.PROTOCOL: struct.Struct("B3x").pack,
    Field.PORT: struct.Struct(">H2x").pack,
    Field.LINK: struct.Struct("=L").pack,
}
"""How a field stands in a key."""
