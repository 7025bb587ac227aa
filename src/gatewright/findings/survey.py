"""What every lint rule looks at: the compiled objects, and how much it means that something is not among them.

Manifests are rarely the whole cluster. So a rule that speaks of absence ("no pod matches") asks here what the absence
means: `absence` answers with a severity, or with None where nothing can be said.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from gatewright.engine.addresses import NO_ADDRESSES, AddressSet
from gatewright.engine.compile import Compiled
from gatewright.engine.drafts import port_numbers
from gatewright.engine.model import Direction, DirectionRules, Endpoint, Rule, RuleOrigin, Tier
from gatewright.engine.podset import NO_PODS, PodSet
from gatewright.engine.ports import NO_TRAFFIC, PortSet, Protocol
from gatewright.engine.selection import PortName, Selection
from gatewright.engine.selectors import matches, requirements
from gatewright.engine.snapshot import NAMESPACE_NAME_LABEL
from gatewright.findings.model import Place, Severity
from gatewright.findings.networks import Network
from gatewright.objects.cluster_policy import ClusterPolicy
from gatewright.objects.core import Node, Service
from gatewright.objects.meta import LabelSelector
from gatewright.objects.policy import NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort
from gatewright.objects.read import Other

PolicyKey = tuple[str, str, str]
"""(kind, namespace, name)."""
EVERYTHING = LabelSelector()


@dataclass(frozen=True, slots=True)
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

    @property
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


@dataclass(frozen=True, slots=True)
class Class:
    """Pods with the same rules in one direction."""

    rules: DirectionRules
    members: PodSet

    def tier(self, tier: Tier) -> tuple[Rule, ...]:
        """The rules of one tier, in order of evaluation."""
        return next((one.rules for one in self.rules.tiers if one.tier is tier), ())


@dataclass(frozen=True, eq=False)
class Survey:
    """The objects of a run, asked by every rule.

    `others` are documents of kinds the product does not read. `complete` says that the input is the whole cluster, so
    that what is absent does not exist. `network` is the networking solution that is to enforce the policies.
    """

    compiled: Compiled
    others: tuple[Other, ...] = ()
    complete: bool = False
    network: Network | None = None
    selection: Selection = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "selection", Selection(self.compiled.snapshot))

    @property
    def policies(self) -> tuple[NetworkPolicy, ...]:
        """The NetworkPolicies."""
        return self.compiled.snapshot.policies

    @property
    def cluster_policies(self) -> tuple[ClusterPolicy, ...]:
        """The cluster-wide policies."""
        return self.compiled.snapshot.cluster_policies

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """Every pod and workload; the index of each is its bit in a `PodSet`."""
        return self.compiled.endpoints

    @cached_property
    def rules(self) -> tuple[Written, ...]:
        """Every rule of every NetworkPolicy that is in force."""
        return tuple(one for policy in self.policies for one in written(policy) if one.in_force)

    def subject(self, policy: NetworkPolicy) -> PodSet:
        """The pods a NetworkPolicy selects."""
        return self.selection.in_namespace(policy.namespace, policy.spec.pod_selector)

    def peer_pods(self, policy: NetworkPolicy, peer: NetworkPolicyPeer) -> PodSet:
        """The pods that a peer's selectors match; none for an ipBlock."""
        if peer.ip_block is not None:
            return NO_PODS
        if peer.namespace_selector is None:
            return self.selection.in_namespace(policy.namespace, peer.pod_selector)
        return self.selection.in_namespaces(peer.namespace_selector, peer.pod_selector)

    def hosts_like(self, namespace: str | None, pods: LabelSelector) -> list[Endpoint]:
        """The host-network pods with these labels, which no policy selects; of every namespace for None."""
        return [one for one in self._hosts if namespace in (None, one.namespace) and matches(pods, one.labels)]

    @cached_property
    def _hosts(self) -> list[Endpoint]:
        return [endpoint for endpoint in self.endpoints if endpoint.host_network]

    def matching_namespaces(self, selector: LabelSelector) -> list[str]:
        """The known namespaces that a selector matches."""
        return [name for name, labels in self.compiled.snapshot.namespaces.items() if matches(selector, labels)]

    @cached_property
    def populated(self) -> frozenset[str]:
        """The namespaces of which pods or workloads are among the objects."""
        return frozenset(endpoint.namespace for endpoint in self.endpoints)

    @cached_property
    def classes(self) -> dict[Direction, tuple[Class, ...]]:
        """The classes of pods that something restricts, a direction."""
        return {
            direction: tuple(Class(rules, pods) for rules, pods in self.compiled.classes(direction).items() if rules)
            for direction in Direction
        }

    @cached_property
    def classes_of(self) -> dict[tuple[PolicyKey, Direction], list[Class]]:
        """The classes of pods that each policy selects."""
        found: dict[tuple[PolicyKey, Direction], list[Class]] = defaultdict(list)
        for direction, classes in self.classes.items():
            for one in classes:
                for policy in (policy for tier in one.rules.tiers for policy in tier.policies):
                    found[key_of(policy), direction].append(one)
        return found

    @cached_property
    def pod_range(self) -> AddressSet:
        """Where pod addresses lie: as given, as the nodes say, and the addresses that pods have."""
        cidrs = [cidr for node in self.compiled.snapshot.all(Node) for cidr in _pod_cidrs(node)]
        known = [AddressSet.of_address(a) for e in self.endpoints if not e.host_network for a in e.addresses]
        given = self.compiled.snapshot.pod_range
        return AddressSet.union([given, *map(AddressSet.of_block, cidrs), *known]) or NO_ADDRESSES

    @cached_property
    def node_addresses(self) -> dict[str, AddressSet]:
        """The addresses of each node."""
        found: dict[str, list[AddressSet]] = defaultdict(list)
        for address, node in self.compiled.snapshot.nodes_by_address.items():
            found[node].append(AddressSet.of_address(address))
        return {node: AddressSet.union(addresses) for node, addresses in found.items()}

    def declared_ports(self, pods: PodSet) -> PortSet | None:
        """What the pods declare together; None where one declares nothing, so that nothing is known of it."""
        found = NO_TRAFFIC
        for ports, alike in self._declaring.items():
            if pods & alike:
                if not ports:
                    return None
                found |= ports
        return found

    @cached_property
    def _declaring(self) -> dict[PortSet, PodSet]:
        """The endpoints by the ports that they declare."""
        groups: dict[tuple[tuple[Protocol, int], ...], list[int]] = defaultdict(list)
        for endpoint in self.endpoints:
            groups[endpoint.ports].append(endpoint.index)
        found: dict[PortSet, PodSet] = {}
        for declared, indices in groups.items():
            ports = NO_TRAFFIC
            for protocol, number in declared:
                ports |= PortSet.of(protocol, (number, number))
            found[ports] = found.get(ports, NO_PODS) | PodSet.of(indices)
        return found

    @cached_property
    def translated(self) -> dict[tuple[str, int | str], list[tuple[Service, int | str]]]:
        """By protocol and port the Services that lead to another port of their pods, and to which."""
        found: dict[tuple[str, int | str], list[tuple[Service, int | str]]] = defaultdict(list)
        for service in self.compiled.snapshot.services:
            if service.spec.selector and service.spec.cluster_ip != "None":
                for entry in service.spec.ports:
                    if entry.target_port not in (None, 0, entry.port):
                        found[entry.protocol, entry.port].append((service, entry.target_port or entry.port))
        return found

    def absence(self, namespace: str, selector: LabelSelector) -> Severity | None:
        """How much it says that no pod of a namespace matches: None where the pods may well be somewhere else."""
        if self.complete:
            return Severity.WARNING
        if namespace not in self.populated:
            return None
        promised = self._promised.get(namespace, ())
        if any(matches(selector, labels) for labels in promised):
            return None
        return Severity.INFO if promised else Severity.WARNING

    def absence_of_peer(self, policy: NetworkPolicy, peer: NetworkPolicyPeer) -> Severity | None:
        """The same of a peer. What lies in other namespaces is often not in the input, and then not spoken of."""
        pods = peer.pod_selector or EVERYTHING
        if self.complete:
            return Severity.WARNING
        if peer.namespace_selector is None:
            return self.absence(policy.namespace, pods)
        names = named_namespaces(peer.namespace_selector)
        found = [self.absence(name, pods) for name in names]
        if not found or None in found:
            return None
        return Severity.INFO if Severity.INFO in found else Severity.WARNING

    @cached_property
    def _promised(self) -> dict[str, list[dict[str, str]]]:
        """By namespace the labels that pods of custom resources may have: an operator makes them from these."""
        found: dict[str, list[dict[str, str]]] = defaultdict(list)
        for other in self.others:
            labels = promised_labels(other.tree)
            if labels is not None:
                found[other.namespace].append(labels)
        return found


def key_of(origin: RuleOrigin) -> PolicyKey:
    """The policy that a compiled rule comes from."""
    return (origin.kind, origin.namespace, origin.name)


def named_namespaces(selector: LabelSelector) -> tuple[str, ...]:
    """The namespaces that a selector names by their name label; empty where it goes by other labels."""
    for key, operator, values in requirements(selector):
        if key == NAMESPACE_NAME_LABEL and operator == "In":
            return values
    return ()


def promised_labels(tree: Any) -> dict[str, str] | None:
    """The labels that pods made from a custom resource have, as far as it says; None where it makes no pods.

    Operators put their pods' labels into `spec.template.metadata`, `spec.podMetadata` or the resource's own labels.
    """
    spec = _mapping(tree, "spec")
    if not {"replicas", "template", "podMetadata", "podTemplate", "image", "containers"} & spec.keys():
        return None
    labels = dict(_mapping(tree, "metadata", "labels"))
    for path in (("template", "metadata"), ("podTemplate", "metadata"), ("podMetadata",)):
        labels |= _mapping(spec, *path, "labels")
    return {key: value for key, value in labels.items() if isinstance(value, str)}


def _mapping(tree: Any, *path: str) -> dict[str, Any]:
    for step in path:
        tree = tree.get(step) if isinstance(tree, dict) else None
    return tree if isinstance(tree, dict) else {}


def _pod_cidrs(node: Node) -> tuple[str, ...]:
    return node.spec.pod_cidrs or ((node.spec.pod_cidr,) if node.spec.pod_cidr else ())
