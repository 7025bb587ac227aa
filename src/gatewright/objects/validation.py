"""Validation of decoded objects in the API server's words and order.

`faults_of` says what a real API server would refuse an object for. Policies are validated completely, since a policy
that a cluster refuses must not be analysed as if it were in force; of the other kinds, the fields the product reads.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Callable, Iterable, Iterator, Sequence

from gatewright.objects import names
from gatewright.objects.cluster_policy import BaselineAdminNetworkPolicy
from gatewright.objects.core import Container, ContainerPort, Namespace, Pod, PodSpec, Service, ServicePort
from gatewright.objects.decode import Fault
from gatewright.objects.meta import LabelSelector, Object, ObjectMeta
from gatewright.objects.origin import Path
from gatewright.objects.policy import (
    IPBlock,
    NetworkPolicy,
    NetworkPolicyPeer,
    NetworkPolicyPort,
)
from gatewright.objects.workloads import CronJob, Workload

POLICY_PROTOCOLS = ("TCP", "UDP", "SCTP")
SORTED_PROTOCOLS = ("SCTP", "TCP", "UDP")
METADATA_FIELDS = frozenset(
    (
        *("annotations", "creationTimestamp", "deletionGracePeriodSeconds", "deletionTimestamp", "finalizers"),
        *("generateName", "generation", "labels", "managedFields", "name", "namespace", "ownerReferences"),
        *("resourceVersion", "selfLink", "uid"),
    )
)

Faults = Iterator[Fault]


def faults_of(item: Object) -> list[Fault]:
    """Everything an API server would refuse the object for, in its order; empty when it is valid."""
    faults = list(_metadata(item))
    for kind, validate in _VALIDATORS:
        if isinstance(item, kind):
            faults += validate(item)
    return faults


def _quote(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _invalid(path: Path, value: object, whats: Sequence[str]) -> Iterable[Fault]:
    return [Fault(path, f"Invalid value: {_quote(value)}: {what}") for what in whats] if whats else ()


def _unsupported(path: Path, value: object, supported: Iterable[str]) -> Fault:
    listed = ", ".join(_quote(one) for one in supported)
    return Fault(path, f"Unsupported value: {_quote(value)}: supported values: {listed}")


def _metadata(item: Object) -> Faults:
    meta, path = item.metadata, ("metadata",)
    rule = names.dns_label_faults if isinstance(item, Namespace) else names.subdomain_faults
    if meta.name:
        yield from _invalid((*path, "name"), meta.name, rule(meta.name))
    elif not meta.generate_name:
        yield Fault((*path, "name"), "Required value: name or generateName is required")
    if meta.namespace:
        yield from _invalid((*path, "namespace"), meta.namespace, names.dns_label_faults(meta.namespace))
    yield from _labels(meta.labels, (*path, "labels"))


def _labels(labels: dict[str, str], path: Path) -> Faults:
    for key, value in labels.items():
        yield from _invalid(path, key, names.label_key_faults(key))
        yield from _invalid(path, value, names.label_value_faults(value))


def _selector(selector: LabelSelector | None, path: Path) -> Faults:
    if selector is None:
        return
    yield from _labels(selector.match_labels, (*path, "matchLabels"))
    for i, requirement in enumerate(selector.match_expressions):
        at = (*path, "matchExpressions", i)
        if requirement.operator in ("In", "NotIn"):
            if not requirement.values:
                what = "Required value: must be specified when `operator` is 'In' or 'NotIn'"
                yield Fault((*at, "values"), what)
        elif requirement.operator in ("Exists", "DoesNotExist"):
            if requirement.values:
                what = "Forbidden: may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
                yield Fault((*at, "values"), what)
        else:
            yield from _invalid((*at, "operator"), requirement.operator, ["not a valid selector operator"])
        yield from _invalid((*at, "key"), requirement.key, names.label_key_faults(requirement.key))
        for j, value in enumerate(requirement.values):
            yield from _invalid((*at, "values", j), value, names.label_value_faults(value))


def _network_policy(policy: NetworkPolicy) -> Faults:
    spec, path = policy.spec, ("spec",)
    yield from _selector(spec.pod_selector, (*path, "podSelector"))
    for i, ingress in enumerate(spec.ingress):
        yield from _rule(ingress.ports, ingress.from_, (*path, "ingress", i), "from")
    for i, egress in enumerate(spec.egress):
        yield from _rule(egress.ports, egress.to, (*path, "egress", i), "to")
    if len(spec.policy_types) > 2:
        yield from _invalid(
            (*path, "policyTypes"), list(spec.policy_types), ["may not specify more than two policyTypes"]
        )
        return
    for i, name in enumerate(spec.policy_types):
        if name not in ("Ingress", "Egress"):
            yield _unsupported((*path, "policyTypes", i), name, ("Ingress", "Egress"))


def _rule(ports: tuple[NetworkPolicyPort, ...], peers: tuple[NetworkPolicyPeer, ...], path: Path, side: str) -> Faults:
    for i, port in enumerate(ports):
        yield from _policy_port(port, (*path, "ports", i))
    for i, peer in enumerate(peers):
        yield from _peer(peer, (*path, side, i))


def _policy_port(port: NetworkPolicyPort, path: Path) -> Faults:
    if port.protocol is not None and port.protocol not in POLICY_PROTOCOLS:
        yield _unsupported((*path, "protocol"), port.protocol, POLICY_PROTOCOLS)
    if port.port is None:
        if port.end_port is not None:
            yield Fault((*path, "endPort"), "Required value: may not be specified when `port` is not specified")
    elif isinstance(port.port, str):
        if port.end_port is not None:
            yield from _invalid((*path, "endPort"), port.end_port, ["may not be specified when `port` is non-numeric"])
        yield from _invalid((*path, "port"), port.port, names.port_name_faults(port.port))
    else:
        yield from _port_number(port.port, (*path, "port"))
        if port.end_port is not None:
            if port.end_port < port.port:
                yield from _invalid((*path, "endPort"), port.port, ["must be greater than or equal to `port`"])
            yield from _port_number(port.end_port, (*path, "endPort"))


def _port_number(number: int, path: Path) -> Faults:
    if not 1 <= number <= 65535:
        yield from _invalid(path, number, [names.PORT_RANGE_RULE])


def _peer(peer: NetworkPolicyPeer, path: Path) -> Faults:
    selectors = peer.pod_selector is not None or peer.namespace_selector is not None
    yield from _selector(peer.pod_selector, (*path, "podSelector"))
    yield from _selector(peer.namespace_selector, (*path, "namespaceSelector"))
    if peer.ip_block is not None:
        yield from _ip_block(peer.ip_block, (*path, "ipBlock"))
        if selectors:
            yield Fault(path, "Forbidden: may not specify both ipBlock and another peer")
    elif not selectors:
        yield Fault(path, "Required value: must specify a peer")


def _ip_block(block: IPBlock, path: Path) -> Faults:
    if not block.cidr:
        yield Fault((*path, "cidr"), "Required value")
        return
    wrong = names.cidr_faults(block.cidr)
    yield from _invalid((*path, "cidr"), block.cidr, wrong)
    for i, cut in enumerate(block.except_):
        at = (*path, "except", i)
        cut_wrong = names.cidr_faults(cut)
        yield from _invalid(at, cut, cut_wrong)
        if not wrong and not cut_wrong and not _strictly_inside(cut, block.cidr):
            yield from _invalid(at, cut, ["must be a strict subset of `cidr`"])


def _strictly_inside(inner: str, outer: str) -> bool:
    small, large = ipaddress.ip_network(inner, strict=False), ipaddress.ip_network(outer, strict=False)
    if small.version != large.version:
        return False
    return small.prefixlen > large.prefixlen and small.network_address in large


def _pod(pod: Pod) -> Faults:
    yield from _pod_spec(pod.spec, ("spec",))
    status = pod.status
    for field, listed in (("podIPs", status.pod_ips), ("hostIPs", status.host_ips)):
        for i, entry in enumerate(listed):
            yield from _address(entry.ip, ("status", field, i, "ip"))
    yield from _address(status.pod_ip, ("status", "podIP"))
    yield from _address(status.host_ip, ("status", "hostIP"))


def _address(text: str, path: Path) -> Faults:
    if text and not names.is_address(text):
        yield from _invalid(path, text, ["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"])


def _workload(workload: Workload) -> Faults:
    yield from _template(workload.template.metadata, workload.template.spec, ("spec", "template"))


def _cron_job(job: CronJob) -> Faults:
    yield from _template(job.template.metadata, job.template.spec, ("spec", "jobTemplate", "spec", "template"))


def _template(metadata: ObjectMeta, spec: PodSpec, path: Path) -> Faults:
    yield from _labels(metadata.labels, (*path, "metadata", "labels"))
    yield from _pod_spec(spec, (*path, "spec"))


def _pod_spec(spec: PodSpec, path: Path) -> Faults:
    if not spec.containers:
        yield Fault((*path, "containers"), "Required value")
    for field, containers in (("containers", spec.containers), ("initContainers", spec.init_containers)):
        for i, container in enumerate(containers):
            yield from _container(container, spec.host_network, (*path, field, i))


def _container(container: Container, host_network: bool, path: Path) -> Faults:
    if not container.image:
        yield Fault((*path, "image"), "Required value")
    seen: set[str] = set()
    for i, port in enumerate(container.ports):
        at = (*path, "ports", i)
        if port.name:
            yield from _invalid((*at, "name"), port.name, names.port_name_faults(port.name))
            if port.name in seen:
                yield Fault((*at, "name"), f"Duplicate value: {_quote(port.name)}")
            seen.add(port.name)
        yield from _container_port(port, host_network, at)


def _container_port(port: ContainerPort, host_network: bool, path: Path) -> Faults:
    if not port.container_port:
        yield Fault((*path, "containerPort"), "Required value")
    else:
        yield from _port_number(port.container_port, (*path, "containerPort"))
    if host_network and port.host_port not in (0, port.container_port):
        rule = "must match `containerPort` when `hostNetwork` is true"
        yield from _invalid((*path, "hostPort"), port.host_port, [rule])
    if port.protocol not in SORTED_PROTOCOLS:
        yield _unsupported((*path, "protocol"), port.protocol, SORTED_PROTOCOLS)


def _service(service: Service) -> Faults:
    spec, path = service.spec, ("spec",)
    if not spec.ports and spec.type != "ExternalName" and spec.cluster_ip != "None":
        yield Fault((*path, "ports"), "Required value")
    seen: set[tuple[str, int]] = set()
    for i, port in enumerate(spec.ports):
        at = (*path, "ports", i)
        if len(spec.ports) > 1 and not port.name:
            yield Fault((*at, "name"), "Required value")
        yield from _port_number(port.port, (*at, "port"))
        if port.protocol not in SORTED_PROTOCOLS:
            yield _unsupported((*at, "protocol"), port.protocol, SORTED_PROTOCOLS)
        if isinstance(port.target_port, str):
            yield from _invalid((*at, "targetPort"), port.target_port, names.port_name_faults(port.target_port))
        elif port.target_port:
            yield from _port_number(port.target_port, (*at, "targetPort"))
        if (port.protocol, port.port) in seen:
            yield Fault(at, f"Duplicate value: {_service_port_key(port)}")
        seen.add((port.protocol, port.port))
    if spec.session_affinity not in ("ClientIP", "None"):
        yield _unsupported((*path, "sessionAffinity"), spec.session_affinity, ("ClientIP", "None"))


def _service_port_key(port: ServicePort) -> str:
    return (
        f'{{"Name":"","Protocol":{_quote(port.protocol)},"AppProtocol":null,'
        f'"Port":{port.port},"TargetPort":0,"NodePort":0}}'
    )


def _baseline(policy: BaselineAdminNetworkPolicy) -> Faults:
    if policy.name != "default":
        what = 'Only one baseline admin network policy with metadata.name="default" can be created in the cluster'
        yield Fault((), f"Invalid value: {what}")


_VALIDATORS: tuple[tuple[type[Object], Callable[..., Iterable[Fault]]], ...] = (
    (NetworkPolicy, _network_policy),
    (Pod, _pod),
    (Workload, _workload),
    (CronJob, _cron_job),
    (Service, _service),
    (BaselineAdminNetworkPolicy, _baseline),
)
