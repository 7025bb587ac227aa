"""A node's pod addresses: who has which, handed out in a ring. Pure.

An address once given stays with its owner until that owner is gone, and a new pod does not get the address of one that
has just gone: what the kernel still remembers of an old pod's connections must never apply to a new pod.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gatewright.engine.addresses import IPAddress, IPNetwork
from gatewright.lab.errors import LabError

_LARGEST_RING = 65536


@dataclass(frozen=True, slots=True)
class Plan:
    """The pod ranges of one node, one a family."""

    pod_networks: tuple[IPNetwork, ...]

    @property
    def capacity(self) -> int:
        """How many pods the ranges hold (the first and last address of a range are left out)."""
        return min(min(network.num_addresses, _LARGEST_RING) - 2 for network in self.pod_networks)

    def pod_addresses(self, position: int) -> tuple[IPAddress, ...]:
        """The addresses at a position of the ring."""
        return tuple(network[position + 1] for network in self.pod_networks)


@dataclass(frozen=True, slots=True)
class Ring:
    """Positions of pods in the pod ranges: who has which, and where the search for the next free one starts."""

    held: dict[str, int]
    following: int = 0

    def take(self, keys: Iterable[str], capacity: int) -> Ring:
        """The ring in which exactly `keys` hold positions; those that had one keep it. Raises LabError when full."""
        wanted = list(keys)
        if len(wanted) > capacity:
            raise LabError(
                f"{len(wanted)} pods do not fit the pod range, which holds {capacity}; use a larger --pod-cidr"
            )
        held = {key: self.held[key] for key in wanted if key in self.held}
        used = set(self.held.values())
        following = self.following
        for key in wanted:
            if key not in held:
                if len(used) >= capacity:
                    used = set(held.values())
                while following % capacity in used:
                    following += 1
                held[key] = following % capacity
                used.add(held[key])
                following += 1
        return Ring(held, following % capacity)
