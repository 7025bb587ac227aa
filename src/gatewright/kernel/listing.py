"""What the kernel holds, as a `Program`: the inverse of the text, so that drift is a plain comparison.

Reads `nft -j list table` of one table. Whatever no program of ours contains (a rule somebody added, a changed policy of
a base chain) becomes `Foreign`: it makes the programs differ, and never an error. What counters have counted is left
out. nft writes the names of links, which are looked up in the network namespace of the calling thread; a link that has
gone in the meantime shows as a difference.
"""

from __future__ import annotations

import socket
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import msgspec

from gatewright.kernel.table import (
    AddressRequest,
    Chain,
    Count,
    Counter,
    Element,
    Field,
    Foreign,
    FromLoopback,
    InSet,
    IsTcp,
    Limit,
    ListenerDiscovery,
    Log,
    LookUp,
    Marked,
    Match,
    NeighbourDiscovery,
    OtherProtocols,
    Program,
    Rule,
    Set,
    Side,
    Then,
    ToNode,
    Tracked,
    Verb,
    Verdict,
    VerdictMap,
)
from gatewright.kernel.text import (
    ADDRESS_REQUESTS,
    LISTENER_DISCOVERY_TYPES,
    LOGGED_AT_ONCE,
    LOGGED_BYTES,
    NEIGHBOUR_DISCOVERY_TYPES,
)

Json = dict[str, Any]
"""An object of nft's JSON; read, compared, never kept."""
_BITS = {Field.IPV4: 32, Field.IPV6: 128}
_ADDRESSES = {"ip": Field.IPV4, "ip6": Field.IPV6}
_SET_KEYS = frozenset({"family", "name", "table", "type", "handle", "flags", "elem"})
_LIMIT_KEYS = frozenset({"family", "name", "table", "handle", "rate", "per", "burst"})
_PLAIN_VERBS = {verb.value: verb for verb in (Verb.ACCEPT, Verb.DROP, Verb.RETURN)}
_RESET = {"reject": {"type": "tcp reset"}}
_L4PROTO: Json = {"meta": {"key": "l4proto"}}
_PLAIN_KEYS: dict[Field, Json] = {
    Field.PROTOCOL: _L4PROTO,
    Field.PORT: {"payload": {"protocol": "th", "field": "dport"}},
    Field.LINK: {"meta": {"key": "iif"}},
}


def _equal(left: Json, right: object, op: str = "==") -> Json:
    return {"match": {"op": op, "left": left, "right": right}}


def _payload(protocol: str, field: str) -> Json:
    return {"payload": {"protocol": protocol, "field": field}}


def _icmp6(types: dict[str, int], hop_limit: int) -> list[Json]:
    kinds = _equal(_payload("icmpv6", "type"), {"set": sorted(types.values())})
    return [kinds, _equal(_payload("ip6", "hoplimit"), hop_limit)]


def _address_request(family: int) -> list[Json]:
    protocol, source, source_port, port = ADDRESS_REQUESTS[family]
    address, _, length = source.partition("/")
    return [
        _equal(_payload(protocol, "saddr"), {"prefix": {"addr": address, "len": int(length)}} if length else address),
        _equal(_payload("udp", "sport"), source_port),
        _equal(_payload("udp", "dport"), port),
    ]


_FIXED: tuple[tuple[list[Json], Match | None], ...] = (
    ([], None),
    ([_equal({"ct": {"key": "state"}}, [2, 4], "in")], Tracked()),
    (_icmp6(NEIGHBOUR_DISCOVERY_TYPES, 255), NeighbourDiscovery()),
    (_icmp6(LISTENER_DISCOVERY_TYPES, 1), ListenerDiscovery()),
    *((_address_request(family), AddressRequest(family)) for family in ADDRESS_REQUESTS),
    ([_equal(_L4PROTO, {"set": [6, 17, 132]}, "!=")], OtherProtocols()),
    ([_equal(_L4PROTO, 6)], IsTcp()),
    ([_equal(_PLAIN_KEYS[Field.LINK], "lo")], FromLoopback()),
    ([_equal({"meta": {"key": "oif"}}, "0")], ToNode()),
)
_LOG_DETAIL = {"snaplen": LOGGED_BYTES, "queue-threshold": LOGGED_AT_ONCE}
_BASE = {"type": "filter", "prio": 0, "policy": "accept"}


class _NotOurs(ValueError):
    """Something no program contains."""


_STRANGE = (KeyError, TypeError, ValueError, AttributeError, OSError)
"""What reading something that no program contains ends in; OSError: a link that is gone."""


def parse(table: str, objects: Iterable[Json]) -> Program:
    """The program that a listing of its table shows."""
    found = _Found()
    for item in objects:
        for kind, body in item.items():
            try:
                found.take(kind, body)
            except _STRANGE:
                found.strangers.append(_words({kind: body}))
    chains = [_chain(body, found.rules[body["name"]]) for body in found.bodies]
    chains += [Chain("", (Rule(None, Foreign(words)),)) for words in found.strangers]
    return Program.of(table, found.sets, found.maps, chains, found.counters, found.limits)


class _Found:
    """What a listing has shown so far; sets stand in it before the rules that use them."""

    def __init__(self) -> None:
        self.sets: list[Set] = []
        self.maps: list[VerdictMap] = []
        self.counters: list[Counter] = []
        self.limits: list[Limit] = []
        self.bodies: list[Json] = []
        self.rules: defaultdict[str, list[Rule]] = defaultdict(list)
        self.strangers: list[str] = []
        self._keys: dict[str, tuple[Field, ...]] = {}

    def take(self, kind: str, body: Json) -> None:
        """One object of the listing. Raises what reading something strange raises."""
        match kind:
            case "set":
                self.sets.append(_set(body))
                self._keys[self.sets[-1].name] = self.sets[-1].fields
            case "map":
                self.maps.append(_map(body))
            case "chain":
                self.bodies.append(body)
            case "rule":
                self.rules[body["chain"]].append(_rule(body["expr"], self._keys))
            case "counter":
                self.counters.append(Counter(body["name"]))
            case "limit":
                self.limits.append(_limit(body))
            case "metainfo" | "table":
                pass
            case _:
                raise _NotOurs(kind)


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


def _limit(body: Json) -> Limit:
    if body["per"] != "second" or not _LIMIT_KEYS.issuperset(body):
        raise _NotOurs(body["name"])
    return Limit(body["name"], body["rate"], body["burst"])


def _fields(names: str | list[str]) -> tuple[Field, ...]:
    return tuple(Field(name) for name in ([names] if isinstance(names, str) else names))


def _exact(fields: tuple[Field, ...], item: Any) -> Element:
    parts = item["concat"] if len(fields) > 1 else [item]
    return tuple(_number(field, part) for field, part in zip(fields, parts, strict=True))


def _interval(fields: tuple[Field, ...], item: Any) -> Element:
    numbers: list[int] = []
    parts = item["concat"] if len(fields) > 1 else [item]
    for field, part in zip(fields, parts, strict=True):
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
    if field is Field.LINK and not value.isdecimal():
        return socket.if_nametoindex(value)
    family = {Field.IPV4: socket.AF_INET, Field.IPV6: socket.AF_INET6}.get(field)
    return int.from_bytes(socket.inet_pton(family, value), "big") if family else int(value)


def _rule(expressions: list[Json], keys: dict[str, tuple[Field, ...]]) -> Rule:
    """One rule; what is not ours in it becomes Foreign."""
    try:
        if "log" in expressions[-1]:
            return Rule(None, _log(*expressions))
        return Rule(_match(expressions[:-1], keys), _then(expressions[-1]))
    except _STRANGE:
        return Rule(None, Foreign(_words(expressions)))


def _log(limit: Json, log: Json) -> Log:
    detail = log["log"]
    made = Log(detail["prefix"], detail["group"], limit["limit"])
    if detail != {"prefix": made.prefix, "group": made.group, **_LOG_DETAIL} or not isinstance(made.limit, str):
        raise _NotOurs(made.prefix)
    return made


def _then(expression: Json) -> Then:
    if isinstance(counter := expression.get("counter"), str):
        return Count(counter)
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
