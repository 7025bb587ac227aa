"""Where the agent stands: in step with the cluster or behind, by how much, since when, and what is wrong.

Four states, the worst that holds:

- `starting`: not everything has been listed yet, so nothing is programmed (what an earlier agent left stays in force)
- `failing`:  the kernel does not hold what it should, and the last attempt to change that went wrong; or packets
  between pods of the node bypass the packet filter
- `stale`:    the kernel holds what was last known, but the API server cannot be heard; policy stays as last known
- `in step`:  the kernel holds what the cluster says
"""

from __future__ import annotations

import enum

import msgspec


class State(enum.StrEnum):
    """How the node's kernel stands to the cluster's policies."""

    STARTING = "starting"
    FAILING = "failing"
    STALE = "stale"
    IN_STEP = "in step"


class Watched(msgspec.Struct, frozen=True, rename="camel"):
    """One kind that is watched. Times are RFC 3339; `since` is of `connected`.

    `resource_version` is the newest of which the watch has told.
    """

    kind: str
    complete: bool
    connected: bool
    since: str
    objects: int
    relists: int
    reconnects: int
    last_error: str = ""
    resource_version: str = ""


class Programmed(msgspec.Struct, frozen=True, rename="camel"):
    """What the kernel holds of us. `pods` are those of this node that policies restrict."""

    pods: int = 0
    classes: int = 0
    elements: int = 0
    policies: int = 0
    transactions: int = 0
    repairs: int = 0
    failures: int = 0
    last_change: str = ""
    last_seconds: float = 0.0
    connections_ended: int = 0


class Conntrack(msgspec.Struct, frozen=True, rename="camel"):
    """Connection tracking: entries, how many there can be, and packets dropped because none was left."""

    count: int
    limit: int
    dropped: int


class AgentStatus(msgspec.Struct, frozen=True, rename="camel"):
    """Everything `gatewright agent status` shows. `behind` is seconds; `problems` are one line each."""

    node: str
    version: str
    mode: str
    state: State
    since: str
    behind: float
    started: str
    programmed: Programmed
    watched: tuple[Watched, ...]
    problems: tuple[str, ...] = ()
    conntrack: Conntrack | None = None
    flows_lost: int = 0

    @property
    def ready(self) -> bool:
        """Whether the node is policed: once true it stays so while the API server is away."""
        return self.state in (State.IN_STEP, State.STALE)
