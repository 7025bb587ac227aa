"""The rules of NetworkPolicies as they are written, one by one, with the place of each of their parts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from gatewright.engine.drafts import port_numbers
from gatewright.engine.model import Direction
from gatewright.engine.ports import PortSet
from gatewright.engine.selection import PortName
from gatewright.findings.model import Place
from gatewright.objects.policy import NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort


@dataclass(frozen=True)
class Written:
    """One rule of a NetworkPolicy, as it is written."""

    policy: NetworkPolicy
    direction: Direction
    number: int
    peers: tuple[NetworkPolicyPeer, ...]
    ports: tuple[NetworkPolicyPort, ...]

    @property
    def path(self) -> tuple[str | int, ...]:
        """`spec.ingress[0]`."""
        return ("spec", self.direction.value.lower(), self.number)

    @property
    def side(self) -> str:
        """The field that holds its peers."""
        return "from" if self.direction is Direction.INGRESS else "to"

    @property
    def in_force(self) -> bool:
        """Whether the policy's types name the rule's direction."""
        return self.direction.value in self.policy.policy_types

    @cached_property
    def covered(self) -> tuple[PortSet, tuple[PortName, ...]]:
        """The ports it covers, and the port names."""
        return port_numbers(self.ports)

    def place(self, *path: str | int) -> Place:
        """The place of the rule, or of a field of it."""
        return Place.of(self.policy, *self.path, *path)

    def peer_place(self, number: int) -> Place:
        """The place of a peer."""
        return self.place(self.side, number)


def written(policy: NetworkPolicy) -> Iterator[Written]:
    """Every rule of a policy, in force or not."""
    for i, ingress in enumerate(policy.spec.ingress):
        yield Written(policy, Direction.INGRESS, i, ingress.from_, ingress.ports)
    for i, egress in enumerate(policy.spec.egress):
        yield Written(policy, Direction.EGRESS, i, egress.to, egress.ports)
