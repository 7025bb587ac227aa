"""The cluster as the reference evaluator sees it: pods, namespaces and nodes read from decoded manifests (plain dicts).

It exists so that `evaluator.py` holds the meaning of policies and nothing else. It promises to take every object
literally, to keep no index and to share no code with the product: a fault of the product cannot hide in its oracle.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

Json = dict[str, Any]
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
EVERY_ADDRESS: dict[int, Network] = {4: ipaddress.IPv4Network("0.0.0.0/0"), 6: ipaddress.IPv6Network("::/0")}
CLUSTER_POLICIES = ("ClusterNetworkPolicy", "AdminNetworkPolicy", "BaselineAdminNetworkPolicy")


@dataclass(frozen=True)
class Party:
    """One end of a connection, in one family.

    `pod` is set for a pod that selectors can see: not for an outside address, not for a pod on its node's network.
    `address` is None while nobody knows it; it then lies somewhere in `within`. `node` names the node whose own
    address this end has, so that the kubelet's way to its pods is recognised. `domain_name` is what a name outside the
    cluster is asked for by; nobody knows what it resolves to.
    """

    name: str
    pod: Json | None
    address: Address | None
    within: tuple[Network, ...]
    node: str = ""
    assumed: bool = False
    host_network: bool = False
    domain_name: str = ""


class World:
    """The objects of one cluster. Pods whose phase is Succeeded or Failed are out; terminating pods are in."""

    def __init__(self, objects: Iterable[Json], pod_cidrs: Iterable[str] = ()) -> None:
        everything = list(objects)
        self.namespaces = [obj for obj in everything if obj["kind"] == "Namespace"]
        self.nodes = [obj for obj in everything if obj["kind"] == "Node"]
        self.policies = [obj for obj in everything if obj["kind"] == "NetworkPolicy"]
        self.cluster_policies = [obj for obj in everything if obj["kind"] in CLUSTER_POLICIES]
        self.all_pods = [obj for obj in everything if obj["kind"] == "Pod"]
        self.pods = [pod for pod in self.all_pods if not is_finished(pod)]
        self.pod_cidrs = [parse_network(cidr) for cidr in pod_cidrs]

    def pod(self, namespace: str, name: str) -> Json:
        """The pod of that name. Raises LookupError where there is none, or it is finished."""
        for pod in self.pods:
            if (namespace_of(pod), pod["metadata"]["name"]) == (namespace, name):
                return pod
        raise LookupError(f"no running pod {namespace}/{name}")

    def namespace_labels(self, name: str) -> dict[str, str]:
        """Its labels; row "kubernetes.io/metadata.name": every namespace has that one, also an undeclared one."""
        labels: dict[str, str] = {}
        for namespace in self.namespaces:
            if namespace["metadata"]["name"] == name:
                labels = dict(labels_of(namespace))
        return {**labels, "kubernetes.io/metadata.name": name}

    def pod_party(self, namespace: str, name: str, family: int) -> Party:
        """A pod as one end of a connection. Raises ValueError where it has addresses, but none of this family."""
        pod = self.pod(namespace, name)
        known = self.pod_addresses(pod)
        address = next((address for address in known if address.version == family), None)
        if known and address is None:
            raise ValueError(f"pod {namespace}/{name} has no IPv{family} address")
        if is_host_network(pod):
            # Row "hostNetwork pods": it is its node's address, which need not lie in the pod range.
            return Party(
                f"{namespace}/{name}", None, address, (EVERY_ADDRESS[family],), node_of(pod), host_network=True
            )
        return Party(f"{namespace}/{name}", pod, address, self.pod_range(family))

    def address_party(self, text: str) -> Party:
        """An address as one end of a connection: the pod that holds it, else a node's own address, else outside."""
        address = parse_address(text)
        everywhere = (EVERY_ADDRESS[address.version],)
        for pod in self.pods:
            if address in self.pod_addresses(pod) and not is_host_network(pod):
                return Party(text, pod, address, everywhere)
        return Party(text, None, address, everywhere, self.node_with(address))

    def named_party(self, name: str, family: int) -> Party:
        """A name outside the cluster as a destination: it may resolve to any address of the family."""
        return Party(name, None, None, (EVERY_ADDRESS[family],), domain_name=name)

    def pod_addresses(self, pod: Json) -> list[Address]:
        """The addresses that are known: its own; on its node's network else its hostIPs or what the Node states."""
        if own_addresses(pod) or not is_host_network(pod):
            return own_addresses(pod)
        return host_ips(pod) or self.stated_addresses(node_of(pod))

    def families(self, namespace: str, name: str) -> set[int]:
        """The families of a pod: of its addresses, else those the pod range has, else IPv4."""
        known: set[int] = {address.version for address in self.pod_addresses(self.pod(namespace, name))}
        return known or {cidr.version for cidr in self.pod_cidrs} or {4}

    def stated_addresses(self, name: str) -> list[Address]:
        """What the Node object of that name states."""
        return [address for node in self.nodes if node["metadata"]["name"] == name for address in node_ips(node)]

    def node_addresses(self, name: str) -> list[Address]:
        """A node's addresses: those its Node object states, and those that the pods on it give away."""
        found = self.stated_addresses(name)
        for pod in (pod for pod in self.all_pods if name and node_of(pod) == name):
            found += host_ips(pod)
            found += own_addresses(pod) if is_host_network(pod) else []
        return found

    def node_with(self, address: Address) -> str:
        """The name of the node that has this address; empty where no node is known to have it."""
        names = [node["metadata"]["name"] for node in self.nodes] + [node_of(pod) for pod in self.all_pods]
        return next((name for name in names if address in self.node_addresses(name)), "")

    def is_own_node(self, party: Party, pod: Json) -> bool:
        """Whether this end is known to be the pod's own node, by the node's name or by the pod's own hostIP."""
        by_name = party.node != "" and party.node == node_of(pod)
        return by_name or (party.pod is None and not party.assumed and party.address in host_ips(pod))

    def pod_range(self, family: int) -> tuple[Network, ...]:
        """Where a pod's address can lie: the pod ranges of the family, anywhere while none is given; never a node's."""
        found = [cidr for cidr in self.pod_cidrs if cidr.version == family] or [EVERY_ADDRESS[family]]
        names = {node["metadata"]["name"] for node in self.nodes} | {node_of(pod) for pod in self.all_pods}
        for address in {address for name in names for address in self.node_addresses(name)}:
            found = [part for cidr in found for part in without(cidr, address)]
        return tuple(found)


def without(cidr: Network, address: Address) -> list[Network]:
    """The block without one address, as blocks."""
    if address not in cidr:
        return [cidr]
    return list(cidr.address_exclude(ipaddress.ip_network(address)))  # type: ignore[arg-type]


@cache
def parse_address(text: str) -> Address:
    """The address that a text means."""
    return ipaddress.ip_address(text)


@cache
def parse_network(text: str) -> Network:
    """The block that a text means; host bits are ignored."""
    return ipaddress.ip_network(text, strict=False)


def labels_of(obj: Json) -> dict[str, str]:
    """metadata.labels."""
    return obj["metadata"].get("labels") or {}


def namespace_of(obj: Json) -> str:
    """metadata.namespace; an object that states none stands in `default`."""
    return obj["metadata"].get("namespace") or "default"


def node_of(pod: Json) -> str:
    """The name of the node the pod is bound to; empty while it is not."""
    return str(pod.get("spec", {}).get("nodeName", ""))


def node_ips(node: Json) -> list[Address]:
    """The addresses of a Node, its host names left out."""
    entries = node.get("status", {}).get("addresses", [])
    return [parse_address(each["address"]) for each in entries if each["type"] in ("InternalIP", "ExternalIP")]


def own_addresses(pod: Json) -> list[Address]:
    """The addresses that the pod's status states: podIPs, or podIP alone."""
    status = pod.get("status", {})
    texts = [entry["ip"] for entry in status.get("podIPs", [])] or [status.get("podIP", "")]
    return [parse_address(text) for text in texts if text]


def host_ips(pod: Json) -> list[Address]:
    """The addresses of its node that the pod's status states: hostIPs, or hostIP alone."""
    status = pod.get("status", {})
    texts = [entry["ip"] for entry in status.get("hostIPs", [])] or [status.get("hostIP", "")]
    return [parse_address(text) for text in texts if text]


def is_host_network(pod: Json) -> bool:
    """Whether the pod uses its node's network."""
    return bool(pod.get("spec", {}).get("hostNetwork", False))


def is_finished(pod: Json) -> bool:
    """Row "Succeeded and Failed pods": out; their address may already belong to another pod."""
    return pod.get("status", {}).get("phase") in ("Succeeded", "Failed")


def container_ports(pod: Json) -> Iterator[Json]:
    """The ports of containers and of restartable init containers (row "named port")."""
    spec = pod.get("spec", {})
    sidecars = [each for each in spec.get("initContainers", []) if each.get("restartPolicy") == "Always"]
    for container in [*spec.get("containers", []), *sidecars]:
        yield from container.get("ports", [])
