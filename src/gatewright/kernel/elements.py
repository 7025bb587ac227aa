"""Sets and their elements as nftables' netlink messages (linux/netfilter/nf_tables.h), to the kernel and from it.

Keys are in network byte order, each field of a concatenation padded to four bytes; a range is the keys of its two ends.
Sets of one field with ranges have another layout, and are left to text. The kernel writes what we write, but without
the flag that says which attributes hold others (`NESTED`).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from itertools import islice

from gatewright.kernel.netlink import NESTED, Request, attribute, attributes, text_attribute
from gatewright.kernel.table import Element, Field, Set, Verb, VerdictMap

SUBSYSTEM = 10 << 8
CREATE, APPEND = 0x400, 0x800
INET = struct.pack("=BBH", 1, 0, 0)
"""The head of every message about our table."""
VERDICT_CODE = {Verb.DROP: 0, Verb.ACCEPT: 1, Verb.JUMP: -3, Verb.GOTO: -4, Verb.RETURN: -5}
_NEW_SET, _DELETE_SET = SUBSYSTEM | 9, SUBSYSTEM | 11
_NEW_ELEMENTS, _DELETE_ELEMENTS = SUBSYSTEM | 12, SUBSYSTEM | 14
GET_ELEMENTS = SUBSYSTEM | 13
_SET_TABLE, _SET_NAME, _SET_FLAGS, _SET_KEY_TYPE, _SET_KEY_LENGTH, _SET_DESCRIPTION, _SET_ID = 1, 2, 3, 4, 5, 9, 10
_SET_USER_DATA = 13
_HOST_ORDER = struct.pack("=BBI", 0, 4, 1)
"""What nft keeps beside a set to know in which order the bytes of its keys are, where the order is this machine's."""
_INTERVAL, _CONCATENATED = 0x4, 0x80
_DESCRIPTION_FIELDS, _FIELD_LENGTH, _LIST_ITEM = 2, 1, 1
_LIST_TABLE, _LIST_SET, _LIST_ELEMENTS = 1, 2, 3
_KEY, _DATA, _KEY_END = 1, 2, 10
_VALUE, _VERDICT, _CODE, _CHAIN = 1, 2, 1, 2
_LENGTH_FIRST = struct.Struct("=H")
PIECE = 400
"""Elements a message: an attribute holds 64 KiB at most, and an IPv6 range takes some 100 bytes."""


def is_known(part: Set) -> bool:
    """Whether the layout of a set is known here."""
    return len(part.fields) > 1 or not part.interval


def new_set(table: str, part: Set, number: int) -> Request:
    """A set comes, without elements; `number` is another one for each set of a batch."""
    flags = _INTERVAL | (_CONCATENATED if len(part.fields) > 1 else 0) if part.interval else 0
    key_type = 0
    for field in part.fields:
        key_type = key_type << _TYPE_BITS | _TYPES[field]
    body = (
        _head(table, part.name),
        _word(_SET_FLAGS, flags),
        _word(_SET_KEY_TYPE, key_type),
        _word(_SET_KEY_LENGTH, sum(_padded(field) for field in part.fields)),
        _word(_SET_ID, number),
        _description(part.fields) if flags & _CONCATENATED else b"",
        attribute(_SET_USER_DATA, _HOST_ORDER) if part.fields == (Field.LINK,) else b"",
    )
    return Request(_NEW_SET, CREATE, b"".join(body))


def gone_set(table: str, name: str) -> Request:
    """A set goes, with its elements."""
    return Request(_DELETE_SET, 0, _head(table, name))


def set_elements(there: bool, table: str, part: Set, elements: Iterable[Element]) -> Iterator[Request]:
    """Elements of a set come, or go."""
    encode = _ranges(part.fields) if part.interval else _keys(part.fields)
    return _pieces(there, table, part.name, map(encode, elements))


def map_entries(there: bool, table: str, part: VerdictMap, entries: Iterable[tuple[int, str]]) -> Iterator[Request]:
    """Entries of a map come, or go."""
    return _pieces(there, table, part.name, map(_entries(part), entries))


def verdict(verb: Verb, chain: str, nested: int = NESTED) -> bytes:
    """What becomes of a packet, as data."""
    code = attribute(_CODE, struct.pack(">i", VERDICT_CODE[verb]))
    return attribute(_VERDICT | nested, code + text_attribute(_CHAIN, chain) if chain else code)


def of_set(table: str, name: str) -> bytes:
    """Which set or map is meant: all of a question for its elements (`GET_ELEMENTS`), the start of their change."""
    return INET + text_attribute(_LIST_TABLE, table) + text_attribute(_LIST_SET, name)


def pieces(answer: bytes) -> Iterator[bytes]:
    """The elements in one part of the answer, as the kernel writes them."""
    data = attributes(answer[len(INET) :]).get(_LIST_ELEMENTS, b"")
    offset = 0
    while offset < len(data):
        (length,) = _LENGTH_FIRST.unpack_from(data, offset)
        yield data[offset : offset + length]
        offset += max(length, 4) + 3 & ~3


def dumped(part: Set | VerdictMap) -> set[bytes]:
    """The elements of a set that is known here, or the entries of a map, as the kernel writes them."""
    if isinstance(part, VerdictMap):
        return set(map(_entries(part, 0), part.elements))
    return set(map((_ranges if part.interval else _keys)(part.fields, 0), part.elements))


def _pieces(there: bool, table: str, name: str, elements: Iterator[bytes]) -> Iterator[Request]:
    head = of_set(table, name)
    kind, flags = (_NEW_ELEMENTS, CREATE) if there else (_DELETE_ELEMENTS, 0)
    while piece := b"".join(islice(elements, PIECE)):
        yield Request(kind, flags, head + attribute(_LIST_ELEMENTS | NESTED, piece))


@cache
def _keys(fields: tuple[Field, ...], nested: int = NESTED) -> Callable[[Element], bytes]:
    value = _writer(fields)
    before = _before(_element(_key(_KEY, bytes(sum(map(_padded, fields))), nested), nested), fields)
    return lambda element: before + value(element)


@cache
def _ranges(fields: tuple[Field, ...], nested: int = NESTED) -> Callable[[Element], bytes]:
    value = _writer(fields)

    def encode(element: Element) -> bytes:
        first, last = value(element[::2]), value(element[1::2])
        return _element(_key(_KEY, first, nested) + _key(_KEY_END, last, nested), nested)

    return encode


def _entries(part: VerdictMap, nested: int = NESTED) -> Callable[[tuple[int, str]], bytes]:
    value = _writer((part.field,))

    def encode(entry: tuple[int, str]) -> bytes:
        address, chain = entry
        data = attribute(_DATA | nested, verdict(part.verb, chain, nested))
        return _element(_key(_KEY, value((address,)), nested) + data, nested)

    return encode


def _element(body: bytes, nested: int) -> bytes:
    return attribute(_LIST_ITEM | nested, body)


def _key(kind: int, value: bytes, nested: int) -> bytes:
    return attribute(kind | nested, attribute(_VALUE, value))


def _before(whole: bytes, fields: Sequence[Field]) -> bytes:
    """What stands before the value of every key of these fields: its length is always the same."""
    return whole[: len(whole) - sum(map(_padded, fields))]


@cache
def _writer(fields: tuple[Field, ...]) -> Callable[[Element], bytes]:
    """How a key of these fields is written."""
    layout = struct.Struct(">" + "".join(_LAYOUT[field] for field in fields))
    if _BYTES.keys().isdisjoint(fields):
        return lambda numbers: layout.pack(*numbers)
    ways = [_BYTES.get(field) for field in fields]
    return lambda numbers: layout.pack(*[way(one) if way else one for way, one in zip(ways, numbers, strict=True)])


def _head(table: str, name: str) -> bytes:
    return INET + text_attribute(_SET_TABLE, table) + text_attribute(_SET_NAME, name)


def _word(kind: int, number: int) -> bytes:
    return attribute(kind, struct.pack(">L", number))


def _description(fields: Sequence[Field]) -> bytes:
    """The length of each field, which the kernel wants to know where they are ranges."""
    lengths = [attribute(_LIST_ITEM | NESTED, _word(_FIELD_LENGTH, _LENGTH[field])) for field in fields]
    return attribute(_SET_DESCRIPTION | NESTED, attribute(_DESCRIPTION_FIELDS | NESTED, b"".join(lengths)))


def _padded(field: Field) -> int:
    return _LENGTH[field] + 3 & ~3


_TYPES = {Field.IPV4: 7, Field.IPV6: 8, Field.PROTOCOL: 12, Field.PORT: 13, Field.LINK: 20}
"""By which numbers nft knows the types when it lists a set; of a concatenation, six bits each."""
_TYPE_BITS = 6
_LENGTH = {Field.IPV4: 4, Field.IPV6: 16, Field.PROTOCOL: 1, Field.PORT: 2, Field.LINK: 4}
_LAYOUT = {Field.IPV4: "L", Field.IPV6: "16s", Field.PROTOCOL: "B3x", Field.PORT: "H2x", Field.LINK: "4s"}
_BYTES: dict[Field, Callable[[int], bytes]] = {
    Field.IPV6: lambda number: number.to_bytes(16, "big"),
    Field.LINK: struct.Struct("=L").pack,
}
"""Fields that no number of a network layout holds; the index of a link is in the order of this machine."""
