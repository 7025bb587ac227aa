"""What a case of the suite is: operations on a cluster's objects, and after each step the whole truth expected."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gatewright.engine.ports import Protocol

Tree = dict[str, Any]
Port = tuple[Protocol, int]

OUTSIDE = "outside"
"""The host outside the cluster."""
NAMESPACES = ("x", "y", "z")
PODS = ("a", "b", "c")
PORTS = (80, 81)
BASE = tuple(f"{namespace}/{pod}" for namespace in NAMESPACES for pod in PODS)
"""The nine pods of the model."""

KEEP_CONNECTIONS, START_CLOSED = "keep-connections", "start-closed"
AGENTS = ("", KEEP_CONNECTIONS, START_CLOSED)
"""How the agents of a cluster can be set, as far as it makes a difference to a case; empty: as they are by default."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One call of the API. `body` is a whole object (create, update) or a merge patch (label, status).

    `namespace` is empty for what is cluster-wide.
    """

    verb: str
    kind: str
    namespace: str
    name: str
    body: Tree | None = None

    def __str__(self) -> str:
        return f"{self.verb} {self.kind} {'/'.join(filter(None, (self.namespace, self.name)))}"


@dataclass(frozen=True, slots=True)
class Step:
    """Operations, and what holds afterwards. Texts may have placeholders, as `expectation.filled` reads them.

    `expected` are lines of the whole table. `at_once`: it holds without any wait. `kill_agents`: every agent is killed
    first. `hold`: connections (lines without an answer) that are opened once the table holds and kept; `held`: lines
    that say which of them still carry data. `ready`: pods that stay ready for a while. `phases`: how pods end.
    """

    operations: tuple[Operation, ...] = ()
    expected: tuple[str, ...] = ()
    at_once: bool = False
    kill_agents: bool = False
    hold: tuple[str, ...] = ()
    held: tuple[str, ...] = ()
    ready: tuple[str, ...] = ()
    phases: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Case:
    """One case. `ports` are asked of every pair of `sources` and `destinations`; a name no pod has is left out.

    `hairpin`: pods are also asked for through their own Service. `nodes`: how many the cluster must have. `agents`: how
    its agents must be set. `program` names what runs in place of steps.
    """

    number: int
    name: str
    ports: tuple[Port, ...]
    steps: tuple[Step, ...]
    sources: tuple[str, ...] = BASE
    destinations: tuple[str, ...] = BASE
    hairpin: bool = False
    nodes: int = 1
    agents: str = ""
    program: str = ""

    @property
    def title(self) -> str:
        """`014 ports, namespace y on 81 only`: sorts as the numbers do."""
        return f"{self.number:03} {self.name}"


@dataclass(frozen=True, slots=True, order=True)
class Cell:
    """One question of a table: may `source` open a connection to this port of `destination`, in this family?"""

    source: str
    destination: str
    protocol: Protocol
    port: int
    family: int

    def __str__(self) -> str:
        return f"{self.source} -> {self.destination} {self.protocol}/{self.port} v{self.family}"
