"""How a node's program is to be: what the operator chose, the same for all pods of the node."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Options:
    """The choices that shape a program; another choice is another program, put in force as a whole.

    - `table`: the name of our table.
    - `revoked_mask`: the bit of the connection mark that ends a connection.
    - `audit`: what would be dropped is logged and counted as ever, and let through; no connection is ended.
    - `log_group`: the NFLOG group that denied packets are shown to, None for none; `log_rate` a second on average, of
      the whole node, and `log_burst` at once.
    - `counters`: each class of pods counts the packets it denies.
    - `start_closed`: an address of the node's pod ranges that is no known pod's is cut off (`Guards.ranges`, `known`).
    - `check_sources`: a pod's link brings only packets with that pod's addresses (`Guards.links`).
    """

    table: str = "gatewright"
    revoked_mask: int = 0x1000
    audit: bool = False
    log_group: int | None = None
    log_rate: int = 100
    log_burst: int = 200
    counters: bool = False
    start_closed: bool = False
    check_sources: bool = False

    @property
    def plain_drop(self) -> bool:
        """Whether a denied packet is dropped, and nothing else."""
        return not self.audit and not self.counters and self.log_group is None
