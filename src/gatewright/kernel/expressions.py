"""The rules of classes as nftables' expressions, as the kernel has them and nft lists them.

A rule loads parts of the packet into registers, compares them or looks them up, and says what becomes of the packet.
Only what stands in the chains of a class is known here; the frame of a program is always sent as text.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from gatewright.kernel.elements import verdict
from gatewright.kernel.netlink import NESTED, attribute, text_attribute
from gatewright.kernel.table import Count, Field, InSet, Log, Rule, Side, Verb, Verdict
from gatewright.kernel.text import LOGGED_AT_ONCE, LOGGED_BYTES

_LIST_ITEM = 1
_NAME, _BODY = 1, 2
_FIRST_REGISTER, _FIRST_SMALL_REGISTER = 1, 8
"""Registers of 16 bytes have numbers of their own; those of 4 bytes are counted from the same place."""
_NETWORK, _TRANSPORT = 1, 2
_FAMILY_OF_PACKET, _PROTOCOL_OF_PACKET = 15, 16
_FAMILY = {Field.IPV4: 2, Field.IPV6: 10}
_ADDRESS = {
    (Field.IPV4, Side.SOURCE): (12, 4),
    (Field.IPV4, Side.DESTINATION): (16, 4),
    (Field.IPV6, Side.SOURCE): (8, 16),
    (Field.IPV6, Side.DESTINATION): (24, 16),
}
"""Offset and length in the network header."""
_DESTINATION_PORT = 2, 2
_COUNTER, _LIMIT = 1, 4
_KNOWN = frozenset({Field.IPV4, Field.IPV6, Field.PROTOCOL, Field.PORT})


def is_known(rule: Rule) -> bool:
    """Whether the rule can be written here."""
    match = rule.match
    if match is not None and not (isinstance(match, InSet) and _KNOWN.issuperset(match.fields)):
        return False
    return isinstance(rule.then, Log | Count) or (isinstance(rule.then, Verdict) and rule.then.verb is not Verb.RESET)


def expressions(rule: Rule) -> bytes:
    """The expressions of a rule, one after the other."""
    parts: list[bytes] = []
    if isinstance(rule.match, InSet):
        parts += _in_set(rule.match)
    match rule.then:
        case Verdict(verb, chain):
            parts.append(_expression("immediate", _number(1, 0), attribute(2 | NESTED, verdict(verb, chain))))
        case Count(counter):
            parts.append(_object(_COUNTER, counter))
        case Log(prefix, group, limit):
            parts.append(_object(_LIMIT, limit))
            size = _number(3, LOGGED_BYTES), _short(4, LOGGED_AT_ONCE)
            parts.append(_expression("log", _short(1, group), text_attribute(2, prefix), *size))
    return b"".join(parts)


def _in_set(match: InSet) -> Iterator[bytes]:
    """The key of a set is loaded field by field; an address only from packets of its family."""
    for family in (_FAMILY[field] for field in match.fields if field in _FAMILY):
        yield _expression("meta", _number(2, _FAMILY_OF_PACKET), _number(1, _FIRST_REGISTER))
        data = attribute(3 | NESTED, attribute(1, bytes([family])))
        yield _expression("cmp", _number(1, _FIRST_REGISTER), _number(2, 0), data)
    place = 0
    for field in match.fields:
        length = 16 if field is Field.IPV6 else 4
        yield _load(field, match.side, _register(place))
        place += length // 4
    yield _expression("lookup", _number(2, _FIRST_REGISTER), text_attribute(1, match.set))


def _register(place: int) -> int:
    """The register that begins after so many times four bytes."""
    return _FIRST_REGISTER + place // 4 if place % 4 == 0 else _FIRST_SMALL_REGISTER + place


def _load(field: Field, side: Side | None, register: int) -> bytes:
    if field is Field.PROTOCOL:
        return _expression("meta", _number(2, _PROTOCOL_OF_PACKET), _number(1, register))
    if field is Field.PORT:
        base, (offset, length) = _TRANSPORT, _DESTINATION_PORT
    else:
        assert side is not None
        base, (offset, length) = _NETWORK, _ADDRESS[field, side]
    return _expression("payload", _number(1, register), _number(2, base), _number(3, offset), _number(4, length))


def _object(kind: int, name: str) -> bytes:
    return _expression("objref", _number(1, kind), text_attribute(2, name))


def _expression(name: str, *parts: bytes) -> bytes:
    return attribute(_LIST_ITEM | NESTED, text_attribute(_NAME, name) + attribute(_BODY | NESTED, b"".join(parts)))


def _number(kind: int, number: int) -> bytes:
    return attribute(kind, struct.pack(">L", number))


def _short(kind: int, number: int) -> bytes:
    return attribute(kind, struct.pack(">H", number))
