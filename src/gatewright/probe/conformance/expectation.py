"""The plain rule in which the expected tables are written; it knows names and addresses, and nothing of policies.

    x/b,y/* -> x/a TCP/80,90-99 v4: allowed

One line speaks of the connections whose ends match one of the comma-separated patterns, on those protocols, ports and
families that it names (all where it names none). A pattern is a name with `*`, or a block in brackets, `[10.0.0.0/24]`,
that has the end's address. Of the lines that speak of a connection the last one counts; a table is whole only when some
line speaks of each of its connections.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, TypeVar

from gatewright.probe.conformance.model import Cell

Addresses = Mapping[str, Mapping[int, str]]
"""The address of everything that has a name, by family."""
ALLOWED, DENIED = "allowed", "denied"

T = TypeVar("T")
_LINE = re.compile(
    r"(?P<source>\S+) -> (?P<destination>\S+?)(?: (?P<protocol>TCP|UDP|SCTP)(?:/(?P<ports>[\d,-]+))?)?"
    r"(?: v(?P<family>[46]))?(?:: (?P<answer>allowed|denied))?"
)
_PLACEHOLDER = re.compile(r"\$\((?P<name>[a-z0-9/.-]+)(?::(?P<family>[46])(?:/(?P<length>\d+))?)?\)")


class BadExpectation(ValueError):
    """A line that cannot be read, or a connection that no line speaks of."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a table. Empty `protocol`, `ports` or `family` (0): every one."""

    source: tuple[str, ...]
    destination: tuple[str, ...]
    protocol: str
    ports: tuple[tuple[int, int], ...]
    family: int
    answer: str

    def speaks_of(self, cell: Cell, addresses: Addresses) -> bool:
        """Whether it says something of a connection."""
        return (
            self.protocol in ("", cell.protocol.value)
            and self.family in (0, cell.family)
            and (not self.ports or any(first <= cell.port <= last for first, last in self.ports))
            and any(_fits(one, cell.source, addresses, cell.family) for one in self.source)
            and any(_fits(one, cell.destination, addresses, cell.family) for one in self.destination)
        )


def parse(text: str) -> Line:
    """Read one line. Raises BadExpectation."""
    match = _LINE.fullmatch(text)
    if match is None:
        raise BadExpectation(f"not an expectation: {text!r}; write for example: x/b -> x/a TCP/80 v4: allowed")
    ports = tuple(_range(part) for part in (match["ports"] or "").split(",") if part)
    family = int(match["family"] or 0)
    sources, destinations = tuple(match["source"].split(",")), tuple(match["destination"].split(","))
    return Line(sources, destinations, match["protocol"] or "", ports, family, match["answer"] or "")


def decide(lines: Sequence[Line], cell: Cell, addresses: Addresses) -> int:
    """Which line counts for a connection. Raises BadExpectation where none speaks of it."""
    for index in reversed(range(len(lines))):
        if lines[index].speaks_of(cell, addresses):
            return index
    raise BadExpectation(f"no line says what becomes of {cell}")


def filled(value: T, addresses: Addresses) -> T:
    """The same with its placeholders filled in, in every text of a tree.

    `$(x/b:4)` is the IPv4 address of x/b, `$(x/b:4/24)` the block of that length around it; `$(node1)` without a family
    is the name of the first node. Raises BadExpectation for a name that has none.
    """
    filling: Any = value
    if isinstance(value, str):
        filling = _PLACEHOLDER.sub(lambda match: _filling(match, addresses), value)
    elif isinstance(value, dict):
        filling = {key: filled(item, addresses) for key, item in value.items()}
    elif isinstance(value, (list, tuple)):
        filling = type(value)(filled(item, addresses) for item in value)
    return filling  # type: ignore[no-any-return]


def _filling(match: re.Match[str], addresses: Addresses) -> str:
    name, family, length = match["name"], int(match["family"] or 0), match["length"]
    address = addresses.get(name, {}).get(family)
    if address is None:
        raise BadExpectation(f"{match[0]}: nothing of that name has such an address")
    if length is None:
        return address
    return str(ipaddress.ip_network(f"{address}/{length}", strict=False))


def _range(text: str) -> tuple[int, int]:
    first, _, last = text.partition("-")
    return int(first), int(last or first)


def _fits(pattern: str, name: str, addresses: Addresses, family: int) -> bool:
    if not pattern.startswith("["):
        return fnmatchcase(name, pattern)
    block = ipaddress.ip_network(pattern.strip("[]"))
    address = addresses.get(name, {}).get(family)
    return block.version == family and address is not None and ipaddress.ip_address(address) in block
