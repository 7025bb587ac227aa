"""What policies that are there already do for a model: whom they isolate, and which requirements they meet.

Only NetworkPolicies count. What a cluster-wide policy denies no NetworkPolicy can allow; the proof shows it.
"""

from __future__ import annotations

from collections.abc import Iterator

from gatewright.engine.addresses import ALL_ADDRESSES
from gatewright.engine.compile import Compiled, compile_snapshot
from gatewright.engine.model import Direction, Endpoint, Rule, Tier
from gatewright.engine.podset import PodSet
from gatewright.engine.ports import PortSet
from gatewright.intent.numbers import port_set
from gatewright.intent.parties import Party
from gatewright.intent.pieces import without
from gatewright.intent.requirements import Requirement
from gatewright.intent.stage import Stage


class Existing:
    """The NetworkPolicies of a stage."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._compiled: Compiled = compile_snapshot(stage.snapshot)

    def names(self) -> set[tuple[str, str]]:
        """(namespace, name) of each."""
        return {(policy.namespace, policy.name) for policy in self._stage.snapshot.policies}

    def isolates(self, party: Party, direction: Direction) -> bool:
        """Whether they isolate every pod of a component."""
        return all(self._rules(one, direction) is not None for one in self._pods(party))

    def closes(self, namespace: str, direction: Direction) -> bool:
        """Whether they isolate every pod of a namespace, also one without any label."""
        inside = [one for one in self._compiled.endpoints if one.namespace == namespace and not one.host_network]
        return all(self._rules(one, direction) is not None for one in inside)

    def grants(self, requirement: Requirement) -> bool:
        """Whether they let every pod of the component do what a requirement says."""
        told: dict[tuple[int, int], bool] = {}
        for pod in self._pods(requirement.component):
            rules = self._compiled.rules(pod.index, requirement.direction)
            alike = (id(rules), id(pod.named_ports))
            if alike not in told:
                told[alike] = self._grants(requirement, pod, self._rules(pod, requirement.direction))
            if not told[alike]:
                return False
        return True

    def _grants(self, requirement: Requirement, pod: Endpoint, rules: tuple[Rule, ...] | None) -> bool:
        if rules is None:
            return False  # it is about to be isolated
        inwards = requirement.direction is Direction.INGRESS
        if requirement.peer.pods is None:
            wanted = [(requirement.peer.addresses, port_set(requirement.ports, pod.named_ports if inwards else {}))]
            taken = ((ALL_ADDRESSES if r.peers.everyone else r.peers.addresses, r.ports) for r in rules)
            return not without(wanted, taken)
        peers = list(self._peers(requirement, pod if inwards else None))
        every = PodSet.union(pods for pods, _ in peers)
        return not without(peers, ((every if rule.peers.everyone else rule.peers.pods, rule.ports) for rule in rules))

    def _peers(self, requirement: Requirement, destination: Endpoint | None) -> Iterator[tuple[PodSet, PortSet]]:
        """The peers with the ports on the destination: one for all of them, or each on its own."""
        for peer in self._pods(requirement.peer):
            ports = port_set(requirement.ports, (destination or peer).named_ports)
            yield PodSet.of([peer.index]), ports

    def _rules(self, pod: Endpoint, direction: Direction) -> tuple[Rule, ...] | None:
        """What NetworkPolicies let a pod do; None where none of them isolates it."""
        tiers = self._compiled.rules(pod.index, direction).tiers
        return next((tier.rules for tier in tiers if tier.tier is Tier.NETWORK_POLICY), None)

    def _pods(self, party: Party) -> list[Endpoint]:
        """The pods of a party that are there."""
        pods = self._stage.objects.pods(party.pods) if party.pods else []
        return [one for one in pods if not self._stage.is_awaited(one)]
