"""The state a lab is to be in: a pure function of the objects that were applied and of what was given out before.

`desire` checks everything and decides every pod, address and Service before anything happens, so that an `apply` that
cannot work changes nothing. What the kernel and the processes are made to do follows from comparing two `Desired`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import msgspec

from gatewright.engine.addresses import IPAddress
from gatewright.errors import InvalidInput, Problem
from gatewright.lab import services, workloads
from gatewright.lab.addresses import DNS_ADDRESS, NO_POSITIONS, NODE_ADDRESSES, Plan, Ring
from gatewright.lab.errors import LabError
from gatewright.lab.workloads import PodPlan
from gatewright.objects.core import (
    ConfigMap,
    Container,
    ContainerPort,
    Namespace,
    Node,
    NodeAddress,
    NodeStatus,
    Pod,
    PodIP,
    PodSpec,
    PodStatus,
    Service,
    ServicePort,
    ServiceSpec,
)
from gatewright.objects.meta import Object, ObjectMeta
from gatewright.objects.policy import NetworkPolicy

Key = tuple[str, str, str]
NODE = "lab"
NAME_SERVER = "kube-system/kube-dns"


def _namespace(name: str) -> Namespace:
    return Namespace(api_version="v1", kind="Namespace", metadata=ObjectMeta(name=name))


_DNS_LABELS = {"k8s-app": "kube-dns"}
_DNS_META = ObjectMeta(name="kube-dns", namespace="kube-system", labels=_DNS_LABELS)
SYSTEM: tuple[Object, ...] = (
    _namespace("default"),
    _namespace("kube-system"),
    Pod(
        api_version="v1",
        kind="Pod",
        metadata=_DNS_META,
        spec=PodSpec(
            containers=(
                Container(
                    name="dns",
                    image="gatewright-name-server",
                    ports=(
                        ContainerPort(name="dns", container_port=53, protocol="UDP"),
                        ContainerPort(name="dns-tcp", container_port=53, protocol="TCP"),
                    ),
                ),
            )
        ),
    ),
    Service(
        api_version="v1",
        kind="Service",
        metadata=_DNS_META,
        spec=ServiceSpec(
            selector=_DNS_LABELS,
            cluster_ip=str(DNS_ADDRESS),
            ports=(
                ServicePort(name="dns", port=53, protocol="UDP"),
                ServicePort(name="dns-tcp", port=53, protocol="TCP"),
            ),
        ),
    ),
)
"""What every lab has, as every cluster has it."""


@dataclass(frozen=True, slots=True)
class Desired:
    """What is to run: pods with their addresses, Services with theirs, and what has to be said about it."""

    objects: Mapping[Key, Object]
    pods: Mapping[str, PodPlan] = field(default_factory=dict)
    ring: Ring = NO_POSITIONS
    addresses: Mapping[str, tuple[IPAddress, ...]] = field(default_factory=dict)
    allocations: Mapping[str, services.Allocation] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def services(self) -> tuple[Service, ...]:
        """The Services, by namespace and name."""
        found = [item for item in self.objects.values() if isinstance(item, Service)]
        return tuple(sorted(found, key=lambda item: (item.namespace, item.name)))

    @property
    def policies(self) -> tuple[NetworkPolicy, ...]:
        """The NetworkPolicies, by namespace and name."""
        found = [item for item in self.objects.values() if isinstance(item, NetworkPolicy)]
        return tuple(sorted(found, key=lambda item: (item.namespace, item.name)))

    def config_maps(self, namespace: str) -> dict[str, ConfigMap]:
        """The ConfigMaps of a namespace by name."""
        items = self.objects.values()
        return {item.name: item for item in items if isinstance(item, ConfigMap) and item.namespace == namespace}

    def snapshot_objects(self, finished: Mapping[str, str], also: Iterable[Pod] = ()) -> tuple[Object, ...]:
        """What the engine judges: the pods with their addresses, and everything that is not a workload.

        `finished` maps pods that have ended to their phase; `also` are pods on their way out, which still count.
        """
        kept = [item for item in self.objects.values() if isinstance(item, Namespace | Service | NetworkPolicy)]
        pods = {key: with_status(plan.pod, self.addresses[key], finished.get(key, "Running"))
                for key, plan in self.pods.items()}  # fmt: skip
        leaving = {f"{pod.namespace}/{pod.name}": pod for pod in also}
        addresses = tuple(NodeAddress(type="InternalIP", address=str(address)) for address in NODE_ADDRESSES)
        node = Node(
            api_version="v1", kind="Node", metadata=ObjectMeta(name=NODE), status=NodeStatus(addresses=addresses)
        )
        return (node, *kept, *(leaving | pods).values())


def with_status(pod: Pod, addresses: Iterable[IPAddress], phase: str) -> Pod:
    """The pod as an API server shows it: on the node, with its addresses."""
    ips = tuple(str(address) for address in addresses)
    status = PodStatus(
        phase=phase, pod_ip=ips[0], pod_ips=tuple(PodIP(ip=ip) for ip in ips), host_ip=str(NODE_ADDRESSES[0])
    )
    spec = msgspec.structs.replace(pod.spec, node_name=NODE)
    return msgspec.structs.replace(pod, spec=spec, status=status)


def desire(objects: Mapping[Key, Object], plan: Plan, before: Desired | None = None) -> Desired:
    """What these objects ask for. Raises InvalidInput with every problem, LabError when something does not fit."""
    everything = {item.key: item for item in SYSTEM} | dict(objects)
    namespaces = {item.name for item in everything.values() if isinstance(item, Namespace)}
    problems = [
        Problem(str(item.origin or ""), f'{item.kind} {item.name}: namespaces "{item.namespace}" not found')
        for item in everything.values()
        if item.namespace and item.namespace not in namespaces
    ]
    problems += [problem for item in everything.values() for problem in _unfit(item)]
    pods = {one.key: one for one in workloads.pods_of(everything.values())}
    found = [item for item in everything.values() if isinstance(item, Service)]
    allocations, clashes = services.allocate(found, before.allocations if before else {}, plan.families)
    if problems or clashes:
        raise InvalidInput([*problems, *clashes])
    own = [key for key, pod in pods.items() if not pod.pod.spec.host_network]
    ring = (before.ring if before else NO_POSITIONS).take(own, plan.capacity)
    addresses = {key: plan.pod_addresses(position) for key, position in ring.held.items()}
    of_node = tuple(address for address in NODE_ADDRESSES if address.version in plan.families)
    addresses |= {key: of_node for key in pods if key not in addresses}
    warnings = (*workloads.not_started(everything.values()), *_notes(found))
    return Desired(everything, pods, ring, addresses, allocations, warnings)


def _unfit(item: Object) -> Iterable[Problem]:
    spec = item.spec if isinstance(item, Pod) else getattr(getattr(item, "template", None), "spec", None)
    if not isinstance(spec, PodSpec):
        return
    where = str(item.origin or "")
    names = [container.name for container in (*spec.init_containers, *spec.containers)]
    for name in names:
        if not name or len(name) > 63 or not name.replace("-", "").isalnum() or not name.isascii():
            yield Problem(where, f'{item.kind} {item.name}: spec.containers: Invalid value: "{name}": not a DNS label')
        elif names.count(name) > 1:
            yield Problem(where, f'{item.kind} {item.name}: spec.containers: Duplicate value: "{name}"')
    for volume in spec.volumes:
        if not volume.name or "/" in volume.name or volume.name.startswith("."):
            yield Problem(
                where, f'{item.kind} {item.name}: spec.volumes: Invalid value: "{volume.name}": not a DNS label'
            )


def _notes(found: Iterable[Service]) -> Iterable[str]:
    for service in found:
        if service.spec.session_affinity == "ClientIP":
            yield f"Service {service.namespace}/{service.name}: sessionAffinity ClientIP is not kept by the lab"
        if service.spec.external_ips:
            yield f"Service {service.namespace}/{service.name}: externalIPs are not served by the lab"


def changed(before: Desired, after: Desired) -> tuple[set[str], set[str]]:
    """(pods to stop, pods to start): a pod whose spec or volumes' ConfigMap names change is both."""
    stop, start = set(before.pods) - set(after.pods), set(after.pods) - set(before.pods)
    for key in set(before.pods) & set(after.pods):
        if before.pods[key].pod.spec != after.pods[key].pod.spec:
            stop.add(key)
            start.add(key)
    return stop, start


def without(objects: Mapping[Key, Object], keys: Iterable[Key]) -> dict[Key, Object]:
    """The objects that stay when these are deleted; a namespace takes everything in it along. Raises LabError."""
    gone = set(keys)
    protected = {item.key for item in SYSTEM} & gone
    if protected:
        raise LabError(f"{min(protected)[0]} {min(protected)[2]} belongs to the lab and cannot be deleted")
    namespaces = {name for kind, _, name in gone if kind == "Namespace"}
    return {key: item for key, item in objects.items() if key not in gone and item.namespace not in namespaces}
