"""The measured matrix: which connections to try, what the engine says of each, what packets said, where they differ.

`plan` is pure: it chooses the connections and predicts them. `measured` adds what the measuring process found. A
connection that was refused got through, so it counts as reached: policies never refuse, they drop.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from gatewright.engine.addresses import IPAddress
from gatewright.engine.compile import Compiled
from gatewright.engine.model import Direction, Endpoint, RuleOrigin
from gatewright.engine.ports import Protocol
from gatewright.engine.verdict import Outcome, Side, Verdict, verdict
from gatewright.probe import connect

OUTSIDE = "outside"
Port = tuple[Protocol, int]
_REACHED, _STOPPED = (connect.OPEN, connect.REFUSED), (connect.DROPPED, connect.REJECTED)


class Agreement(enum.StrEnum):
    """Prediction against packet."""

    SAME = "same"
    DIFFERS = "differs"
    UNKNOWN = "unknown"
    """The packets could not tell, or the prediction is that it depends."""


@dataclass(frozen=True, slots=True)
class Connection:
    """One connection to try: between whom (as people name them), to which address, and what the engine predicts.

    `port` is the one that is dialled. `policies` are those that decide, as people name them.
    """

    source: str
    destination: str
    address: str
    protocol: Protocol
    port: int
    predicted: Outcome
    policies: tuple[str, ...] = ()
    answers: bool = True


@dataclass(frozen=True, slots=True)
class Row:
    """A connection with what the packets said."""

    connection: Connection
    result: str
    seconds: float = 0.0
    detail: str = ""

    @property
    def reached(self) -> bool:
        """Whether a packet got through."""
        return self.result in _REACHED

    @property
    def agreement(self) -> Agreement:
        """Whether prediction and packet agree. A connection that could not be tried agrees with nothing."""
        if self.result == connect.ERROR:
            return Agreement.DIFFERS
        if self.result == connect.UNKNOWN or self.connection.predicted is Outcome.DEPENDS:
            return Agreement.UNKNOWN
        same = self.reached == (self.connection.predicted is Outcome.ALLOWED)
        return Agreement.SAME if same else Agreement.DIFFERS


@dataclass(frozen=True, slots=True)
class ServiceFront:
    """A Service as it is dialled: its name, an address and port, and the (pod key, target port) behind it.

    `seen_as` are the backends (pod keys) that see another source than who dialled, and which one: a node that passes
    a connection to its node port on to another node puts its own address there (externalTrafficPolicy Cluster).
    `from_outside`: it is dialled from outside the cluster, and from there alone; a Service's own address never is.
    """

    name: str
    address: IPAddress
    protocol: Protocol
    port: int
    backends: tuple[tuple[str, int], ...]
    from_outside: bool = False
    seen_as: Mapping[str, IPAddress] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Selection:
    """What to try. Sources and destinations are pod keys (and `outside`); `ports` come besides the declared ones.

    `sctp`: whether whoever measures can try SCTP.
    """

    sources: Collection[str]
    destinations: Collection[str]
    ports: tuple[Port, ...] = ()
    families: tuple[int, ...] = (4,)
    addresses: bool = True
    services: bool = True
    sctp: bool = False


@dataclass(frozen=True)
class Cluster:
    """What is probed: the compiled policies, the addresses of the outside host, the Services as they are dialled.

    `answering` are the pods whose UDP listeners are known to answer.
    """

    compiled: Compiled
    outside: tuple[IPAddress, ...] = ()
    fronts: tuple[ServiceFront, ...] = ()
    answering: frozenset[str] = frozenset()

    def party(self, name: str, family: int) -> Endpoint | IPAddress | None:
        """A pod, or the outside host's address of a family."""
        if name == OUTSIDE:
            return next((one for one in self.outside if one.version == family), None)
        return self._pods.get(name)

    @cached_property
    def _pods(self) -> dict[str, Endpoint]:
        return {endpoint.path: endpoint for endpoint in self.compiled.endpoints}


def plan(cluster: Cluster, selection: Selection) -> tuple[Connection, ...]:
    """Every connection of the selection: by source, first to pods, then to Services."""
    found: list[Connection] = []
    for source in sorted(selection.sources, key=lambda one: (one == OUTSIDE, one)):
        for family in selection.families:
            if selection.addresses:
                found += _to_pods(cluster, selection, source, family)
            if selection.services:
                found += _to_services(cluster, selection, source, family)
    return tuple(found)


def _to_pods(cluster: Cluster, selection: Selection, source: str, family: int) -> Iterator[Connection]:
    party = cluster.party(source, family)
    for destination in sorted(selection.destinations):
        endpoint = cluster.party(destination, family)
        address = endpoint.address(family) if isinstance(endpoint, Endpoint) else None
        if party is None or not isinstance(endpoint, Endpoint) or address is None or destination == source:
            continue
        ports = dict.fromkeys((*endpoint.ports, *selection.ports))
        for protocol, port in sorted(one for one in ports if one[0] is not Protocol.SCTP or selection.sctp):
            answer = verdict(cluster.compiled, party, endpoint, protocol, port, family)
            yield Connection(
                source=source,
                destination=destination,
                address=str(address),
                protocol=protocol,
                port=port,
                predicted=answer.outcome,
                policies=deciders(answer),
                answers=destination in cluster.answering,
            )


def _to_services(cluster: Cluster, selection: Selection, source: str, family: int) -> Iterator[Connection]:
    party = cluster.party(source, family)
    for front in cluster.fronts:
        keys = {key for key, _ in front.backends}
        wanted = keys and keys <= set(selection.destinations) and source not in keys
        fits = front.address.version == family and (front.protocol is not Protocol.SCTP or selection.sctp)
        if party is None or not wanted or not fits or front.from_outside != (source == OUTSIDE):
            continue
        answers = [
            verdict(cluster.compiled, front.seen_as.get(key, party), backend, front.protocol, port, family)
            for key, port in front.backends
            if (backend := cluster.party(key, family)) is not None
        ]
        outcomes = {answer.outcome for answer in answers}
        yield Connection(
            source=source,
            destination=front.name,
            address=str(front.address),
            protocol=front.protocol,
            port=front.port,
            predicted=outcomes.pop() if len(outcomes) == 1 else Outcome.DEPENDS,
            policies=tuple(dict.fromkeys(name for answer in answers for name in deciders(answer))),
            answers=keys <= cluster.answering,
        )


def deciders(answer: Verdict) -> tuple[str, ...]:
    """The policies that decide: the rules that allow, or those that isolate a side that denies."""
    sides: tuple[Side, ...] = (answer.egress, answer.ingress)
    if answer.outcome is Outcome.DENIED:
        sides = tuple(side for side in sides if side.outcome is Outcome.DENIED)
    return tuple(dict.fromkeys(name for side in sides for name in _named(side)))


def _named(side: Side) -> Iterator[str]:
    origins: tuple[RuleOrigin, ...] = (side.rule,) if side.rule else side.policies
    word = "egress" if side.direction is Direction.EGRESS else "ingress"
    for origin in origins:
        yield f"{origin.policy.removeprefix('NetworkPolicy ')} ({word})"


def requests(connections: Iterable[Connection], sources: Mapping[str, int]) -> list[dict[str, Any]]:
    """The connections as the measuring process takes them."""
    return [
        {
            "source": sources[one.source],
            "address": one.address,
            "protocol": one.protocol.value,
            "port": one.port,
            "answers": one.answers,
        }
        for one in connections
    ]


def measured(connections: Iterable[Connection], results: Iterable[Mapping[str, Any]]) -> tuple[Row, ...]:
    """The rows, those that differ first."""
    rows = [
        Row(connection, str(result["result"]), float(result["seconds"]), str(result["detail"]))
        for connection, result in zip(connections, results, strict=True)
    ]
    return tuple(sorted(rows, key=lambda row: row.agreement is not Agreement.DIFFERS))


def parse_port(text: str, *, sctp: bool = False) -> Port:
    """`80`, `TCP/80`, `udp/53`. Raises ValueError that says what is expected."""
    protocol, _, number = text.rpartition("/")
    try:
        kind = Protocol((protocol or "TCP").upper())
        port = int(number)
    except ValueError:
        raise ValueError(f'"{text}" is no port; write a number, or PROTOCOL/NUMBER as in UDP/53') from None
    if not 1 <= port <= 65535:
        raise ValueError(f'"{text}": a port is a number from 1 to 65535')
    if kind is Protocol.SCTP and not sctp:
        raise ValueError(f'"{text}": SCTP cannot be measured; TCP and UDP can')
    return kind, port
