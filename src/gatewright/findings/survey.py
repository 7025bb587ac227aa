"""What every lint rule looks at: the compiled objects, and answers of the engine that several rules ask for.

Each answer is worked out once, since ten thousand policies are asked by forty rules.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property

from gatewright.engine.compile import Class, Compiled
from gatewright.engine.model import Direction, Endpoint, RuleOrigin
from gatewright.engine.podset import NO_PODS, PodSet
from gatewright.engine.ports import NO_TRAFFIC, PortSet, Protocol
from gatewright.engine.selection import Selection
from gatewright.engine.selectors import Selectors
from gatewright.findings.containment import canonical_policy
from gatewright.findings.model import Place
from gatewright.findings.networks import Network
from gatewright.findings.promised import promised_labels
from gatewright.findings.reach import Reach, reach_of
from gatewright.findings.written import Written, written
from gatewright.objects.cluster_policy import ClusterPolicy
from gatewright.objects.core import Namespace, Service
from gatewright.objects.meta import Key, LabelSelector
from gatewright.objects.policy import NetworkPolicy, NetworkPolicyPeer
from gatewright.objects.read import Other

EVERYTHING = LabelSelector()


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

    @property
    def selection(self) -> Selection:
        """What selectors mean on the objects."""
        return self.compiled.selection

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
        """Every pod and workload, in order of namespace and name."""
        return self.compiled.endpoints

    def at(self, position: int) -> Endpoint:
        """The endpoint at a position of a `PodSet`."""
        return self.compiled.at(position)

    @cached_property
    def rules(self) -> tuple[Written, ...]:
        """Every rule of every NetworkPolicy that is in force."""
        return tuple(one for policy in self.policies for one in written(policy) if one.in_force)

    def subject(self, policy: NetworkPolicy) -> PodSet:
        """The pods a NetworkPolicy selects."""
        return self._subjects[policy.key]

    @cached_property
    def _subjects(self) -> dict[Key, PodSet]:
        return {
            policy.key: self.selection.in_namespace(policy.namespace, policy.spec.pod_selector)
            for policy in self.policies
        }

    @cached_property
    def duplicates(self) -> dict[Key, tuple[NetworkPolicy, NetworkPolicy]]:
        """The policies that say what another says, and the first that does, by file and line."""
        rules: dict[Key, list[Written]] = defaultdict(list)
        for one in self.rules:
            rules[one.policy.key].append(one)
        alike: dict[tuple[object, ...], list[NetworkPolicy]] = defaultdict(list)
        for policy in self.policies:
            alike[policy.namespace, self.subject(policy), len(rules[policy.key])].append(policy)
        candidates = [policy for group in alike.values() if len(group) > 1 for policy in group]
        firsts: dict[tuple[object, ...], NetworkPolicy] = {}
        found = {}
        for policy in sorted(candidates, key=lambda one: Place.of(one).order):
            first = firsts.setdefault(canonical_policy(policy, rules[policy.key]), policy)
            if first is not policy:
                found[policy.key] = (policy, first)
        return found

    @cached_property
    def promised(self) -> dict[str, list[dict[str, str]]]:
        """By namespace the labels of pods that operators will make of custom resources."""
        found: dict[str, list[dict[str, str]]] = defaultdict(list)
        for other in self.others:
            labels = promised_labels(other.tree)
            if labels is not None:
                found[other.namespace].append(labels)
        return found

    @cached_property
    def namespaces(self) -> list[Namespace]:
        """The namespaces that are declared."""
        return self.compiled.snapshot.all(Namespace)

    @cached_property
    def reach(self) -> Reach:
        """The addresses of pods and nodes."""
        return reach_of(self.compiled.snapshot)

    def peer_pods(self, policy: NetworkPolicy, peer: NetworkPolicyPeer) -> PodSet:
        """The pods that a peer's selectors match; none for an ipBlock."""
        found = self._peers.get(id(peer))
        if found is None:
            found = self._peers[id(peer)] = self._peer_pods(policy.namespace, peer)
        return found

    @cached_property
    def _peers(self) -> dict[int, PodSet]:
        """The pods of each peer by its identity: the snapshot holds the peers, so none takes another's place."""
        return {}

    def _peer_pods(self, namespace: str, peer: NetworkPolicyPeer) -> PodSet:
        if peer.ip_block is not None:
            return NO_PODS
        if peer.namespace_selector is None:
            return self.selection.in_namespace(namespace, peer.pod_selector)
        return self.selection.in_namespaces(peer.namespace_selector, peer.pod_selector)

    def hosts_like(self, namespace: str | None, pods: LabelSelector) -> list[Endpoint]:
        """The host-network pods with these labels, which no policy selects; of every namespace for None."""
        hosts, labels = self._hosts
        found = [hosts[position] for position in labels.select(pods)]
        return [one for one in found if namespace in (None, one.namespace)]

    @cached_property
    def _hosts(self) -> tuple[list[Endpoint], Selectors]:
        hosts = [endpoint for endpoint in self.endpoints if endpoint.host_network]
        return hosts, Selectors([host.labels for host in hosts])

    def matching_namespaces(self, selector: LabelSelector) -> list[str]:
        """The known namespaces that a selector matches."""
        return self.selection.namespaces(selector)

    @cached_property
    def populated(self) -> frozenset[str]:
        """The namespaces of which pods or workloads are among the objects."""
        return frozenset(endpoint.namespace for endpoint in self.endpoints)

    @cached_property
    def classes(self) -> dict[Direction, tuple[Class, ...]]:
        """The classes of pods that something restricts, a direction."""
        return {
            direction: tuple(one for one in self.compiled.classes(direction).values() if one.rules)
            for direction in Direction
        }

    @cached_property
    def classes_of(self) -> dict[tuple[Key, Direction], list[Class]]:
        """The classes of pods that each policy selects."""
        found: dict[tuple[Key, Direction], list[Class]] = defaultdict(list)
        for direction, classes in self.classes.items():
            for one in classes:
                for policy in (policy for tier in one.rules.tiers for policy in tier.policies):
                    found[key_of(policy), direction].append(one)
        return found

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
    def translated(self) -> dict[tuple[str, int | str], dict[int, tuple[Service, int | str]]]:
        """By protocol and port: the pods that a Service leads to on another port, the Service and that port."""
        found: dict[tuple[str, int | str], dict[int, tuple[Service, int | str]]] = defaultdict(dict)
        for service in self.compiled.snapshot.services:
            if not service.spec.selector or service.spec.cluster_ip == "None":
                continue
            pods = self.selection.in_namespace(service.namespace, LabelSelector(match_labels=service.spec.selector))
            for entry in service.spec.ports:
                target = entry.target_port or entry.port
                if target != entry.port:
                    found[entry.protocol, entry.port] |= dict.fromkeys(pods, (service, target))
        return found

    def label_values(self, namespace: str, key: str) -> list[str]:
        """The values that a label has on pods of a namespace."""
        if (namespace, key) not in self._values:
            pods = (self.at(index) for index in self.selection.in_namespace(namespace))
            self._values[namespace, key] = sorted({pod.labels[key] for pod in pods if key in pod.labels})
        return self._values[namespace, key]

    @cached_property
    def _values(self) -> dict[tuple[str, str], list[str]]:
        return {}


def key_of(origin: RuleOrigin) -> Key:
    """The policy that a compiled rule comes from."""
    return (origin.kind, origin.namespace, origin.name)
