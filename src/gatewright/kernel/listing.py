"""What the kernel holds, as a `Program`: the inverse of the text, so that drift is a plain comparison.

Reads `nft -j list table` of one table. Whatever no program of ours contains (a rule somebody added, a changed policy of
a base chain) becomes `Foreign`: it makes the programs differ, and never an error.
"""

from __future__ import annotations

import socket
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import msgspec

from gatewright.kernel.table import (
    Chain,
    Element,
    Field,
    Foreign,
    InSet,
    IsTcp,
    LookUp,
    Marked,
    Match,
    NeighbourDiscovery,
    OtherProtocols,
    Program,
    Rule,
    Set,
    Side,
    Tracked,
    Verb,
    Verdict,
    VerdictMap,
)
from gatewright.kernel.text import NEIGHBOUR_DISCOVERY_TYPES

Json = dict[str, Any]
"""An object of nft's JSON; read, compared, never kept."""
_BITS = {Field.IPV4: 32, Field.IPV6: 128}
_ADDRESSES = {"ip": Field.IPV4, "ip6": Field.IPV6}
_SET_KEYS = frozenset({"family", "name", "table", "type", "handle", "flags", "elem"})
_PLAIN_VERBS = {verb.value: verb for verb in (Verb.ACCEPT, Verb.DROP, Verb.RETURN)}
_RESET = {"reject": {"type": "tcp reset"}}
_L4PROTO: Json = {"meta": {"key": "l4proto"}}
_PLAIN_KEYS: dict[Field, Json] = {
    Field.PROTOCOL: _L4PROTO,
    Field.PORT: {"payload": {"protocol": "th", "field": "dport"}},
}
_ND_TYPE = {"payload": {"protocol": "icmpv6", "field": "type"}}
_ND_HOP_LIMIT = {"payload": {"protocol": "ip6", "field": "hoplimit"}}
_FIXED: tuple[tuple[list[Json], Match | None], ...] = (
    ([], None),
    ([{"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": [2, 4]}}], Tracked()),
    (
        [
            {"match": {"op": "==", "left": _ND_TYPE, "right": {"set": sorted(NEIGHBOUR_DISCOVERY_TYPES.values())}}},
            {"match": {"op": "==", "left": _ND_HOP_LIMIT, "right": 255}},
        ],
        NeighbourDiscovery(),
    ),
    ([{"match": {"op": "!=", "left": _L4PROTO, "right": {"set": [6, 17, 132]}}}], OtherProtocols()),
    ([{"match": {"op": "==", "left": _L4PROTO, "right": 6}}], IsTcp()),
)
_BASE = {"type": "filter", "prio": 0, "policy": "accept"}


class _NotOurs(ValueError):
    """Something no program contains."""


def parse(table: str, objects: Iterable[Json]) -> Program:
    """The program that a listing of its table shows."""
    sets: list[Set] = []
    maps: list[VerdictMap] = []
    bodies: list[Json] = []
    rules: defaultdict[str, list[Rule]] = defaultdict(list)
    strangers: list[str] = []
    keys: dict[str, tuple[Field, ...]] = {}
    for item in objects:
        for kind, body in item.items():
            try:
                if kind == "set":
                    sets.append(_set(body))
                    keys[sets[-1].name] = sets[-1].fields
                elif kind == "map":
                    maps.append(_map(body))
                elif kind == "chain":
                    bodies.append(body)
                elif kind == "rule":
                    rules[body["chain"]].append(_rule(body["expr"], keys))
                elif kind not in {"metainfo", "table"}:
                    raise _NotOurs(kind)
            except (_NotOurs, KeyError, TypeError, ValueError, AttributeError):
                strangers.append(_words({kind: body}))
    chains = [_chain(body, rules[body["name"]]) for body in bodies]
    chains += [Chain("", (Rule(None, Foreign(words)),)) for words in strangers]
    return Program.of(table, sets, maps, chains)


def _words(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _chain(body: Json, rules: list[Rule]) -> Chain:
    hook = body.get("hook", "")
    if hook and any(body.get(key) != value for key, value in _BASE.items()):
        rules = [*rules, Rule(None, Foreign(_words({key: body.get(key) for key in _BASE})))]
    return Chain(body["name"], tuple(rules), hook)


def _set(body: Json) -> Set:
    fields = _fields(body["type"])
    flags = body.get("flags", [])
    if flags not in ([], ["interval"]) or not _SET_KEYS.issuperset(body):
        raise _NotOurs(body["name"])
    read = _interval if flags else _exact
    return Set(body["name"], fields, bool(flags), frozenset(read(fields, item) for item in body.get("elem", [])))


def _map(body: Json) -> VerdictMap:
    (field,) = _fields(body["type"])
    if body["map"] != "verdict" or not _SET_KEYS.issuperset(body.keys() - {"map"}):
        raise _NotOurs(body["name"])
    elements = set()
    for address, verdict in body.get("elem", []):
        then = _verdict(verdict)
        if then.verb is not Verb.GOTO:
            raise _NotOurs(body["name"])
        elements.add((_number(field, address), then.chain))
    return VerdictMap(body["name"], field, Verb.GOTO, frozenset(elements))


def _fields(names: str | list[str]) -> tuple[Field, ...]:
    return tuple(Field(name) for name in ([names] if isinstance(names, str) else names))


def _exact(fields: tuple[Field, ...], item: Any) -> Element:
    parts = item["concat"] if len(fields) > 1 else [item]
    return tuple(_number(field, part) for field, part in zip(fields, parts, strict=True))


def _interval(fields: tuple[Field, ...], item: Any) -> Element:
    numbers: list[int] = []
    for field, part in zip(fields, item["concat"], strict=True):
        numbers += _span(field, part)
    return tuple(numbers)


def _span(field: Field, part: Any) -> tuple[int, int]:
    if not isinstance(part, dict):
        number = _number(field, part)
        return number, number
    if "range" in part:
        first, last = part["range"]
        return _number(field, first), _number(field, last)
    prefix = part["prefix"]
    first = _number(field, prefix["addr"])
    return first, first + (1 << (_BITS[field] - prefix["len"])) - 1


def _number(field: Field, value: str | int) -> int:
    if isinstance(value, int):
        return value
    family = {Field.IPV4: socket.AF_INET, Field.IPV6: socket.AF_INET6}.get(field)
    return int.from_bytes(socket.inet_pton(family, value), "big") if family else int(value)


def _rule(expressions: list[Json], keys: dict[str, tuple[Field, ...]]) -> Rule:
    """One rule; what is not ours in it becomes Foreign."""
    try:
        return Rule(_match(expressions[:-1], keys), _then(expressions[-1]))
    except (_NotOurs, KeyError, TypeError, ValueError):
        return Rule(None, Foreign(_words(expressions)))


def _then(expression: Json) -> Verdict | LookUp:
    if "vmap" not in expression:
        return _verdict(expression)
    field, side = _address(expression["vmap"]["key"])
    return LookUp(_reference(expression["vmap"]["data"]), field, side)


def _verdict(expression: Json) -> Verdict:
    ((verb, detail),) = expression.items()
    if verb in _PLAIN_VERBS:
        return Verdict(_PLAIN_VERBS[verb])
    if verb in {Verb.GOTO, Verb.JUMP}:
        return Verdict(Verb(verb), detail["target"])
    if expression == _RESET:
        return Verdict(Verb.RESET)
    raise _NotOurs(verb)


def _match(expressions: list[Json], keys: dict[str, tuple[Field, ...]]) -> Match | None:
    for known, match in _FIXED:
        if expressions == known:
            return match
    (expression,) = expressions
    body = expression["match"]
    left, right = body["left"], body["right"]
    if body["op"] != "==":
        raise _NotOurs(_words(expression))
    if left == {"&": [{"ct": {"key": "mark"}}, right]}:
        return Marked(right)
    return _in_set(left, _reference(right), keys)


def _in_set(left: Json, name: str, keys: dict[str, tuple[Field, ...]]) -> InSet:
    fields = keys[name]
    side: Side | None = None
    parts = left.get("concat", [left])
    if len(parts) != len(fields):
        raise _NotOurs(name)
    for field, part in zip(fields, parts, strict=True):
        if field in _PLAIN_KEYS:
            if part != _PLAIN_KEYS[field]:
                raise _NotOurs(name)
            continue
        address_field, side = _address(part)
        if address_field is not field:
            raise _NotOurs(name)
    return InSet(name, fields, side)


def _address(part: Json) -> tuple[Field, Side]:
    payload = part["payload"]
    return _ADDRESSES[payload["protocol"]], Side(payload["field"])


def _reference(text: str) -> str:
    if not text.startswith("@"):
        raise _NotOurs(text)
    return text[1:]
