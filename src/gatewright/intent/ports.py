"""Ports as people write them: `80`, `8000-8010`, `UDP/53`, `http`, `any`, `{name: http, port: 80, protocol: TCP}`."""

from __future__ import annotations

import re
from typing import Any

from gatewright.engine.ports import LAST_PORT, Protocol
from gatewright.intent.model import ANY, Port
from gatewright.objects.names import port_name_faults

_NUMBERS = re.compile(r"([0-9]{1,6})(?:-([0-9]{1,6}))?")
HOW = "write a number, FIRST-LAST, PROTOCOL/NUMBER (UDP/53), the name of a port, or any"


class NotAPort(ValueError):
    """A value that names no port. The text says why, and how ports are written."""


def parse_port(value: Any) -> Port:
    """The port that a number or text means. Raises NotAPort."""
    if isinstance(value, dict):
        return _mapping(value)
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise NotAPort(f"{value!r} is not a port: {HOW}")
    text = str(value).strip()
    if text.lower() == "any":
        return ANY
    protocol_text, slash, rest = text.rpartition("/")
    return _port(_protocol(protocol_text, text) if slash else Protocol.TCP, rest, text)


def parse_ports(value: Any) -> list[Port]:
    """The ports of a list, or of a text with commas between. Raises NotAPort at the first that is none."""
    return [parse_port(one) for one in split_ports(value)]


def split_ports(value: Any) -> list[Any]:
    """The entries of a list of ports, or of a text with commas between."""
    if isinstance(value, list):
        return [one for entry in value for one in (split_ports(entry) if isinstance(entry, str) else [entry])]
    return [one.strip() for one in value.split(",")] if isinstance(value, str) else [value]


def _mapping(value: dict[str, Any]) -> Port:
    if unknown := sorted(set(value) - {"name", "port", "protocol"}):
        raise NotAPort(f'unknown field "{unknown[0]}" of a port: it has name, port and protocol')
    protocol = _protocol(str(value.get("protocol", "TCP")), str(value.get("protocol")))
    name, number = value.get("name", ""), value.get("port", "")
    if not name and number == "":
        raise NotAPort("a port needs a name or a port")
    named = _named(protocol, name) if name != "" else None
    if number == "":
        return named or _named(protocol, name)
    found = _port(protocol, str(number), str(number))
    if found.is_named:
        raise NotAPort(f"{number!r} is not a number: a port's name stands under name")
    return Port(protocol, found.first, found.last, named.name if named else "")


def _protocol(text: str, whole: str) -> Protocol:
    if text.upper() not in Protocol.__members__:
        raise NotAPort(f"{whole!r} is not a port: the protocol is TCP, UDP or SCTP")
    return Protocol(text.upper())


def _port(protocol: Protocol, text: str, whole: str) -> Port:
    numbers = _NUMBERS.fullmatch(text)
    if numbers is None:
        return _named(protocol, text, whole)
    first = int(numbers[1])
    last = int(numbers[2] or first)
    if not 1 <= first <= last <= LAST_PORT:
        raise NotAPort(f"{whole!r} is not a port: ports are 1 to {LAST_PORT}, the first of a range not the larger")
    return Port(protocol, first, last)


def _named(protocol: Protocol, name: Any, whole: str = "") -> Port:
    if not isinstance(name, str) or port_name_faults(name):
        raise NotAPort(f"{whole or name!r} is not a port: {HOW}")
    return Port(protocol, name=name)
