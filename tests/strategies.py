"""Random small clusters for the properties: decoded manifests as plain dicts, valid by the API's rules.

Everything is drawn from few names, labels, ports and addresses, so that selectors, names and blocks meet often, and an
example that fails shrinks to a handful of objects. `clusters()` has everything the rules speak of; `lab_clusters()` is
the part of it that a node can be built for: running pods with an address of each family, all on one node. Cluster-wide
policies (`cluster_strategies.py`) come in where `tiers` is asked for, so that the space of NetworkPolicy alone stays as
dense as it was.
"""

from __future__ import annotations

import ipaddress
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from hypothesis import strategies as st

from tests.cluster_strategies import TELLING_NAMES, cluster_rulebooks
from tests.reference.evaluator import End, blocks_of
from tests.reference.world import World
from tests.vocabulary import (
    NAMESPACES,
    NODES,
    NUMBERS,
    OFTEN_THE_FIRST,
    POLICY_KINDS,
    PORT_NAMES,
    PREFIXES,
    PROTOCOLS,
    Json,
    block_around,
    labels,
    namespace_selectors,
    pod_ips,
    pod_selectors,
)

Question = tuple[End, End, str, int | None, int]
"""Source, destination, protocol, port (None: traffic without ports), family."""


@dataclass(frozen=True)
class Cluster:
    """A cluster's objects, its pod ranges, and some addresses that are worth asking about."""

    objects: tuple[Json, ...]
    pod_cidrs: tuple[str, ...] = ()
    outside: tuple[str, ...] = ()

    def of_kind(self, kind: str) -> list[Json]:
        """The objects of one kind."""
        return [obj for obj in self.objects if obj["kind"] == kind]

    def with_objects(self, objects: Iterable[Json]) -> Cluster:
        """The same place with other objects."""
        return Cluster(tuple(objects), self.pod_cidrs, self.outside)


def connections(cluster: Cluster) -> Iterator[Question]:
    """Every question worth asking: all pairs of ends, all protocols, all ports where an answer can change."""
    world = World(cluster.objects, cluster.pod_cidrs)
    ends: dict[End, set[int]] = {}
    for pod in world.pods:
        namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
        ends["pod", namespace, name] = world.families(namespace, name)
    ends |= {("address", ip): {ipaddress.ip_address(ip).version} for ip in cluster.outside}
    ports = telling_ports(cluster)
    for source, destination in ((left, right) for left in ends for right in ends):
        if source[0] == destination[0] == "address":
            continue
        for family in sorted(ends[source] & ends[destination]):
            for protocol in PROTOCOLS:
                for port in ports:
                    yield source, destination, protocol, port, family
            yield source, destination, "ICMP", None, family


def named_connections(cluster: Cluster) -> Iterator[Question]:
    """The same for names outside the cluster as the destination."""
    world = World(cluster.objects, cluster.pod_cidrs)
    traffic = [*itertools.product(PROTOCOLS, telling_ports(cluster)), ("ICMP", None)]
    for pod in world.pods:
        namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
        for outside in TELLING_NAMES:
            for family in sorted(world.families(namespace, name)):
                for protocol, port in traffic:
                    yield ("pod", namespace, name), ("name", outside), protocol, port, family


def telling_ports(cluster: Cluster) -> list[int]:
    """The ports where an answer can change: those that policies and pods name, and their neighbours beyond ranges."""
    found = {80}
    for policy in (obj for obj in cluster.objects if obj["kind"] in POLICY_KINDS):
        for rule in [*(policy["spec"].get("ingress") or []), *(policy["spec"].get("egress") or [])]:
            for entry in rule.get("protocols") or rule.get("ports") or []:
                found |= telling_numbers(cluster, entry)
    return sorted(port for port in found if 1 <= port <= 65535)


def telling_numbers(cluster: Cluster, entry: Json) -> set[int]:
    """The same for one port of a rule, in the words of any of the kinds."""
    for protocol in ("tcp", "udp", "sctp"):
        entry = entry.get(protocol, {}).get("destinationPort", entry)
    match entry:
        case {"port": str(name)} | {"namedPort": name} | {"destinationNamedPort": name}:
            return set(numbers_named(cluster, name))
        case {"port": first, "endPort": last}:
            return {first, last, last + 1}
        case {"range": {"start": first, "end": last}} | {"portRange": {"start": first, "end": last}}:
            return {first, last, last + 1}
        case {"port": first} | {"number": first} | {"portNumber": {"port": first}}:
            return {first, first + 1}
    return set()


def numbers_named(cluster: Cluster, name: str) -> list[int]:
    """The numbers that some pod gives the name."""
    return [
        port["containerPort"]
        for pod in cluster.of_kind("Pod")
        for container in [*pod["spec"]["containers"], *pod["spec"].get("initContainers", [])]
        for port in container.get("ports", [])
        if port.get("name") == name
    ]


@st.composite
def ip_blocks(draw: st.DrawFn, addresses: tuple[str, ...]) -> Json:
    """A block around one of the addresses, with excepts inside it, which may lie in one another."""
    centre = draw(st.sampled_from(addresses))
    family = ipaddress.ip_address(centre).version
    prefix = draw(st.sampled_from(PREFIXES[family]))
    cidr = ipaddress.ip_network(block_around(centre, prefix))
    inside = [each for each in addresses if ipaddress.ip_address(each) in cidr]
    smaller = [each for each in PREFIXES[family] if each > prefix]
    if not smaller:
        return {"cidr": str(cidr)}
    excepts = draw(
        st.lists(st.builds(block_around, st.sampled_from(inside), st.sampled_from(smaller)), max_size=2, unique=True)
    )
    return {"cidr": str(cidr), **({"except": excepts} if excepts else {})}


@cache
def peers(addresses: tuple[str, ...]) -> st.SearchStrategy[Json]:
    """One peer of a rule."""
    block = st.fixed_dictionaries({"ipBlock": ip_blocks(addresses)})
    return st.one_of(
        st.fixed_dictionaries({"podSelector": pod_selectors}),
        st.fixed_dictionaries({"namespaceSelector": namespace_selectors}),
        st.fixed_dictionaries({"podSelector": pod_selectors, "namespaceSelector": namespace_selectors}),
        block,
        block,
    )


RANGES = [{"port": first, "endPort": last} for first in NUMBERS for last in NUMBERS if first <= last]
PORTS: st.SearchStrategy[Json] = st.one_of(
    st.just({}),
    st.fixed_dictionaries({"port": st.sampled_from(NUMBERS)}),
    st.fixed_dictionaries({"port": st.sampled_from(PORT_NAMES)}),
    st.sampled_from(RANGES),
)
some_protocol = st.fixed_dictionaries({}, optional={"protocol": st.sampled_from(PROTOCOLS)})
policy_ports = st.builds(lambda protocol, port: {**protocol, **port}, some_protocol, PORTS)


@cache
def rules(side: str, addresses: tuple[str, ...]) -> st.SearchStrategy[Json]:
    """One rule; mostly with peers; `from`/`to` and `ports` may be absent or empty."""
    some_peers = st.lists(peers(addresses), min_size=1, max_size=3)
    some_ports = st.lists(policy_ports, min_size=1, max_size=2)
    return st.one_of(
        st.fixed_dictionaries({side: some_peers}),
        st.fixed_dictionaries({side: some_peers, "ports": some_ports}),
        st.fixed_dictionaries({"ports": some_ports}),
        st.fixed_dictionaries({}, optional={side: st.just([]) | some_peers, "ports": st.just([]) | some_ports}),
    )


@cache
def specs(sides: tuple[str, ...], addresses: tuple[str, ...]) -> st.SearchStrategy[Json]:
    """The spec of a policy with rules in these directions, which need not be in force."""
    by_side = {"ingress": rules("from", addresses), "egress": rules("to", addresses)}
    return st.fixed_dictionaries(
        {"podSelector": pod_selectors, **{side: st.lists(by_side[side], max_size=3) for side in sides}},
        optional={"policyTypes": st.sampled_from(([], ["Ingress"], ["Egress"], ["Ingress", "Egress"]))},
    )


@st.composite
def policies(draw: st.DrawFn, name: str, addresses: tuple[str, ...], inside: tuple[str, ...] = ("x",)) -> Json:
    """One NetworkPolicy in one of the namespaces."""
    sides = draw(st.sampled_from((("ingress",), ("egress",), ("ingress", "egress"), ())))
    metadata = {"name": name, "namespace": draw(st.sampled_from(inside))}
    spec = draw(specs(sides, addresses))
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": spec}


@st.composite
def rulebooks(
    draw: st.DrawFn, addresses: tuple[str, ...], members: list[Json], most: int, least: int = 1
) -> list[Json]:
    """Some policies, mostly in namespaces that have pods."""
    inside = (*(member["metadata"]["namespace"] for member in members), "x")
    return [draw(policies(f"np{index}", addresses, inside)) for index in range(draw(st.integers(least, most)))]


port_numbers = st.fixed_dictionaries(
    {"containerPort": st.sampled_from((80, 81, 8080))}, optional={"protocol": st.sampled_from(PROTOCOLS)}
)
container_ports = st.dictionaries(st.sampled_from(PORT_NAMES), port_numbers, max_size=2).map(
    lambda ports: [{"name": name, **port} for name, port in ports.items()]
)
"""The ports of one container; a name stands at most once in it."""


@st.composite
def pod_specs(draw: st.DrawFn) -> Json:
    """Containers, and sometimes an init container that keeps running (or does not)."""
    spec: Json = {"containers": [{"name": "main", "image": "app", "ports": draw(container_ports)}]}
    kind = draw(st.sampled_from(("none", "none", "second", "sidecar", "setup")))
    if kind == "second":
        spec["containers"].append({"name": kind, "image": "app", "ports": draw(container_ports)})
    elif kind != "none":
        restart = {"restartPolicy": "Always"} if kind == "sidecar" else {}
        spec["initContainers"] = [{"name": kind, "image": "app", "ports": draw(container_ports), **restart}]
    return spec


def pod(namespace: str, name: str, pod_labels: dict[str, str], spec: Json, status: Json) -> Json:
    """A Pod object."""
    metadata = {"name": name, "namespace": namespace, "labels": pod_labels}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": status}


phases = st.fixed_dictionaries({}, optional={"phase": st.sampled_from(("Running", "Pending", "Succeeded", "Failed"))})


@st.composite
def pods(draw: st.DrawFn, index: int, running: bool) -> Json:
    """A pod in any condition: on its own or its node's network, with or without addresses, finished, terminating.

    One that is not `running` stands in a manifest only: it has no status, but may name its node.
    """
    spec = draw(pod_specs())
    node = draw(st.sampled_from(("", *NODES)))
    host_network = draw(st.integers(0, 5)) == 5
    if host_network:
        spec["hostNetwork"] = True
    if node:
        spec["nodeName"] = node
    if not running:
        return pod(draw(st.sampled_from(OFTEN_THE_FIRST)), f"p{index}", draw(labels), spec, {})
    families = draw(st.sampled_from((slice(0, 2), slice(0, 2), slice(0, 1), slice(1, 2), slice(0, 0))))
    status: Json = dict(draw(phases))
    ips = (NODES[node] if node else ()) if host_network else pod_ips(index)[families]
    if status.get("phase") in ("Succeeded", "Failed") and not host_network and draw(st.booleans()):
        ips = pod_ips(0)  # it kept in its status what another pod holds by now
    if ips:
        status |= {"podIP": ips[0], "podIPs": [{"ip": ip} for ip in ips]}
    if node and draw(st.booleans()):
        status["hostIP"] = NODES[node][0]
    made = pod(draw(st.sampled_from(OFTEN_THE_FIRST)), f"p{index}", draw(labels), spec, status)
    if draw(st.integers(0, 5)) == 5:
        made["metadata"]["deletionTimestamp"] = "2020-01-01T00:00:00Z"
    return made


@st.composite
def namespaces(draw: st.DrawFn) -> list[Json]:
    """Some of the namespaces; pods may stand in one that nobody declared."""
    declared = draw(st.lists(st.sampled_from(NAMESPACES), unique=True))
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": draw(labels)}}
        for name in sorted(declared)
    ]


def node(name: str, node_labels: dict[str, str]) -> Json:
    """A Node object with its addresses."""
    addresses = [{"type": "Hostname", "address": name}]
    addresses += [{"type": "InternalIP", "address": ip} for ip in NODES[name]]
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": node_labels},
        "status": {"addresses": addresses},
    }


def edges(cluster_policies: Iterable[Json]) -> list[str]:
    """The addresses at the edges of the blocks, on both sides of each."""
    found: list[str] = []
    for block in (block for policy in cluster_policies for block in blocks_of(policy)):
        first, last = int(block[0]), int(block[-1])
        make = ipaddress.IPv4Address if block.version == 4 else ipaddress.IPv6Address
        found += [str(make(each)) for each in (first - 1, first, last, last + 1) if 0 <= each < 2**block.max_prefixlen]
    return list(dict.fromkeys(found))


@st.composite
def clusters(
    draw: st.DrawFn,
    max_pods: int = 4,
    max_policies: int = 3,
    *,
    manifests: bool = False,
    tiers: bool = False,
    domain_names: bool = True,
) -> Cluster:
    """A cluster in any condition; with `manifests`, one that does not run, so that no pod's address is known.

    With `tiers` it has cluster-wide policies as well, `domain_names` among their peers, and perhaps no NetworkPolicy.
    """
    running = (False,) if manifests else draw(st.sampled_from(((True,), (True, False), (False,))))
    members = [draw(pods(index, draw(st.sampled_from(running)))) for index in range(draw(st.integers(2, max_pods)))]
    nodes = [node(name, draw(labels)) for name in sorted(draw(st.sets(st.sampled_from(tuple(NODES)))))]
    addresses = (*(ip for index in range(max_pods) for ip in pod_ips(index)), *NODES["n0"], "192.0.2.1", "2001:db8::1")
    rulebook = draw(rulebooks(addresses, members, max_policies, least=0 if tiers else 1))
    rulebook += draw(cluster_rulebooks(addresses, domain_names)) if tiers else []
    ranges = draw(st.sampled_from(((), ("10.0.0.0/29",), ("10.0.0.0/30", "10.0.0.4/30", "fd00::/125"), ("fd00::/64",))))
    candidates = [*edges(rulebook), *(ip for ips in NODES.values() for ip in ips), "192.0.2.1", "2001:db8::1"]
    outside = draw(st.lists(st.sampled_from(candidates), max_size=4, unique=True))
    return Cluster((*draw(namespaces()), *nodes, *members, *rulebook), ranges, tuple(outside))


@st.composite
def lab_clusters(
    draw: st.DrawFn, pod_addresses: Sequence[tuple[str, ...]], max_policies: int = 4, *, tiers: bool = False
) -> Cluster:
    """A cluster that one node can be built for: running pods that have the given addresses, one entry a pod."""
    members = []
    for index, ips in enumerate(pod_addresses):
        spec = {**draw(pod_specs()), "nodeName": "n0"}
        status = {"phase": "Running", "podIP": ips[0], "podIPs": [{"ip": ip} for ip in ips]}
        members.append(pod(draw(st.sampled_from(OFTEN_THE_FIRST)), f"p{index}", draw(labels), spec, status))
    addresses = tuple(ip for ips in pod_addresses for ip in ips)
    rulebook = draw(rulebooks(addresses, members, max_policies, least=0 if tiers else 1))
    rulebook += draw(cluster_rulebooks(addresses, domain_names=False)) if tiers else []
    return Cluster((*draw(namespaces()), *members, *rulebook))
