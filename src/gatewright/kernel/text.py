"""A program as nftables text: what a person reads in a golden file is what the kernel is given.

`whole` replaces the table in one transaction: whatever stood there is gone and the new program is in force from one
packet to the next. nft 1.0.6 has no `destroy`; adding the table first makes the deletion always possible.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator

from gatewright.kernel.table import (
    AddressRequest,
    Chain,
    Count,
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
    Verdict,
    VerdictMap,
)

NEIGHBOUR_DISCOVERY_TYPES = {
    "nd-router-solicit": 133,
    "nd-router-advert": 134,
    "nd-neighbor-solicit": 135,
    "nd-neighbor-advert": 136,
    "nd-redirect": 137,
}
LISTENER_DISCOVERY_TYPES = {
    "mld-listener-query": 130,
    "mld-listener-report": 131,
    "mld-listener-done": 132,
    "mld2-listener-report": 143,
}
ADDRESS_REQUESTS = {4: ("ip", "0.0.0.0", 68, 67), 6: ("ip6", "fe80::/10", 546, 547)}
"""Protocol, source address, source port and destination port of a DHCP request (RFC 2131, RFC 8415)."""
LOGGED_BYTES = 128
"""Of a packet: all headers that a deny log reads, with options and extension headers, and little of the content."""
LOGGED_AT_ONCE = 16
"""Packets that wait in the kernel for each other, at most for the time the listener says."""
_ND, _MLD = ", ".join(NEIGHBOUR_DISCOVERY_TYPES), ", ".join(LISTENER_DISCOVERY_TYPES)


def whole(program: Program) -> str:
    """One transaction that leaves exactly this program, whatever stood there before."""
    return f"{removal(program.table)}{listing(program)}"


def removal(table: str) -> str:
    """One transaction after which the table is not there, whether it was or not."""
    return f"add table inet {table}\ndelete table inet {table}\n"


def listing(program: Program) -> str:
    """The program in the form of `nft list table`."""
    lines = [f"table inet {program.table} {{"]
    lines += [f"  counter {counter.name} {{ }}" for counter in program.counters]
    lines += [f"  limit {limit.name} {{ {limit_body(limit)} }}" for limit in program.limits]
    for part in program.sets:
        lines += [f"  set {part.name} {{", *_set_body(part), "  }"]
    for verdicts in program.maps:
        lines += [f"  map {verdicts.name} {{", *_map_body(verdicts), "  }"]
    for chain in program.chains:
        lines += [f"  chain {chain.name} {{", *_chain_body(chain), "  }"]
    lines.append("}")
    return "\n".join(lines) + "\n"


def _set_body(part: Set) -> Iterator[str]:
    yield f"    {set_type(part)}"
    yield from _elements(set_elements(part, part.elements))


def _map_body(part: VerdictMap) -> Iterator[str]:
    yield f"    type {part.field} : verdict;"
    yield from _elements(map_elements(part, part.elements))


def _elements(words: list[str]) -> Iterator[str]:
    if words:
        yield "    elements = {"
        yield ",\n".join(f"      {word}" for word in words)
        yield "    }"


def _chain_body(chain: Chain) -> Iterator[str]:
    if chain.hook:
        yield f"    {hook_spec(chain)}"
    for rule in chain.rules:
        yield f"    {rule_text(rule)}"


def hook_spec(chain: Chain) -> str:
    """How a base chain declares itself."""
    return f"type filter hook {chain.hook} priority filter; policy accept;"


def limit_body(limit: Limit) -> str:
    """What a named limit lets pass."""
    return f"rate {limit.rate}/second burst {limit.burst} packets"


def set_type(part: Set) -> str:
    """The type and flags of a set."""
    return f"type {' . '.join(part.fields)};{' flags interval;' if part.interval else ''}"


def set_elements(part: Set, elements: Iterable[Element]) -> list[str]:
    """Elements of the set as nft writes them, sorted by number."""
    if part.interval:
        return [" . ".join(_spans(part.fields, element)) for element in sorted(elements)]
    return [" . ".join(map(_value, part.fields, element)) for element in sorted(elements)]


def map_elements(part: VerdictMap, elements: Iterable[tuple[int, str]]) -> list[str]:
    """Elements of the map, with their verdicts, sorted by address."""
    return [f"{_value(part.field, address)} : {part.verb} {chain}" for address, chain in sorted(elements)]


def _value(field: Field, number: int) -> str:
    if field is Field.IPV4:
        return socket.inet_ntoa(number.to_bytes(4, "big"))
    if field is Field.IPV6:
        return socket.inet_ntop(socket.AF_INET6, number.to_bytes(16, "big"))
    return str(number)


def _spans(fields: tuple[Field, ...], element: Element) -> Iterator[str]:
    for place, field in enumerate(fields):
        first, last = element[2 * place], element[2 * place + 1]
        yield _value(field, first) if first == last else f"{_value(field, first)}-{_value(field, last)}"


def rule_text(rule: Rule) -> str:
    """One rule."""
    then = _then_text(rule.then)
    return then if rule.match is None else f"{_match_text(rule.match)} {then}"


def _then_text(then: Then) -> str:
    match then:
        case Verdict(verb, chain):
            return f"{verb} {chain}" if chain else str(verb)
        case LookUp(name, field, side):
            return f"{_key_text((field,), side)} vmap @{name}"
        case Log(prefix, group, limit):
            size = f"snaplen {LOGGED_BYTES} queue-threshold {LOGGED_AT_ONCE}"
            return f'limit name "{limit}" log prefix "{prefix}" group {group} {size}'
        case Count(counter):
            return f'counter name "{counter}"'
        case Foreign(text):
            raise ValueError(f"a rule that was read back and not understood cannot be written: {text}")


_FIXED_MATCHES: dict[type[Match], str] = {
    Tracked: "ct state established,related",
    NeighbourDiscovery: f"icmpv6 type {{ {_ND} }} ip6 hoplimit 255",
    ListenerDiscovery: f"icmpv6 type {{ {_MLD} }} ip6 hoplimit 1",
    OtherProtocols: "meta l4proto != { 6, 17, 132 }",
    IsTcp: "meta l4proto 6",
    FromLoopback: 'iif "lo"',
    ToNode: "oif 0",
}


def _match_text(match: Match) -> str:
    match match:
        case InSet(name, fields, side):
            return f"{_key_text(fields, side)} @{name}"
        case Marked(mask):
            return f"ct mark & {mask:#x} == {mask:#x}"
        case AddressRequest(family):
            protocol, source, source_port, port = ADDRESS_REQUESTS[family]
            return f"{protocol} saddr {source} udp sport {source_port} udp dport {port}"
        case fixed:
            return _FIXED_MATCHES[type(fixed)]


def _key_text(fields: tuple[Field, ...], side: Side | None) -> str:
    words = {
        Field.IPV4: f"ip {side}",
        Field.IPV6: f"ip6 {side}",
        Field.PROTOCOL: "meta l4proto",
        Field.PORT: "th dport",
        Field.LINK: "iif",
    }
    return " . ".join(words[field] for field in fields)
