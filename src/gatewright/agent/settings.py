"""What an operator can choose about an agent, and what follows from it for the node's program."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gatewright.kernel.options import Options

SOCKET = Path("/run/gatewright/agent.sock")
"""Where `gatewright agent status` and `gatewright flows` find the agent of this node."""


@dataclass(frozen=True, slots=True)
class Settings:
    """`node`: the name of the Node object this agent stands for.

    `audit`: nothing is dropped, what would be is reported. `start_closed`: a pod of this node whose policies are not
    programmed yet reaches nobody and nobody reaches it. `keep_connections`: a change of policy lets connections live
    that it no longer allows. `log_group`: the netlink group to which the kernel logs drops, None for no deny log;
    `log_rate`: how many a second at most. `events`: tell denials as Kubernetes Events, too. `check_every`: seconds
    between looks at whether the kernel still holds the program, beside the kernel's own notifications.
    """

    node: str
    table: str = "gatewright"
    audit: bool = False
    start_closed: bool = False
    keep_connections: bool = False
    log_group: int | None = 100
    log_rate: int = 50
    spoof_guard: bool = True
    events: bool = False
    check_every: float = 300.0
    socket: Path = SOCKET
    metrics: str = ""

    @property
    def options(self) -> Options:
        """How the node's program is to be."""
        return Options(
            table=self.table,
            audit=self.audit,
            log_group=self.log_group,
            log_rate=self.log_rate,
            log_burst=2 * self.log_rate,
            counters=True,
            start_closed=self.start_closed,
            check_sources=self.spoof_guard,
        )
