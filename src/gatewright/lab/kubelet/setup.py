"""From a Pod object to what the runtime is told: the sandbox, and each run of a container. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gatewright.lab.api.resources import Tree
from gatewright.lab.kubelet.downward import Facts
from gatewright.lab.kubelet.environment import Lookup, environment, expand, expanded
from gatewright.lab.kubelet.podfiles import pod_files
from gatewright.lab.kubelet.podspec import Part, PodSpec, ports_of
from gatewright.lab.kubelet.volumes import volumes
from gatewright.lab.runtime.model import ContainerSetup, Mount, PodSetup, Port


def pod_setup(pod: PodSpec, facts: Facts, lookup: Lookup, node: str, resolver: str, link: str) -> PodSetup:
    """A pod's sandbox. Raises MountFailure."""
    addresses = tuple(facts.pod_addresses)
    sysctls = (pod.spec.get("securityContext") or {}).get("sysctls") or ()
    return PodSetup(
        uid=pod.uid,
        namespace=pod.namespace,
        name=pod.name,
        hostname=node if pod.host_network else pod.hostname,
        host_network=pod.host_network,
        addresses=() if pod.host_network else addresses,
        link="" if pod.host_network else link,
        files=pod_files(pod, addresses, node, resolver),
        volumes=volumes(facts, lookup),
        mount_points=tuple(
            str(place["mountPath"]) for part in pod.parts for place in part.tree.get("volumeMounts") or ()
        ),
        sysctls={str(one["name"]): str(one.get("value") or "") for one in sysctls},
    )


def container_setup(
    pod: PodSpec, part: Part, number: int, facts: Facts, lookup: Lookup, services: Iterable[Tree]
) -> ContainerSetup:
    """One run of a container. Raises Unresolved."""
    tree = part.tree
    hostname = pod.spec["nodeName"] if pod.host_network else pod.hostname
    values = environment(facts, tree, lookup, services, hostname)
    security = (pod.spec.get("securityContext") or {}) | (tree.get("securityContext") or {})
    return ContainerSetup(
        name=part.name,
        run=number,
        image=str(tree.get("image") or ""),
        command=expanded(tree.get("command"), values),
        arguments=expanded(tree.get("args"), values),
        environment=values,
        directory=str(tree.get("workingDir") or ""),
        ports=tuple(Port(port, protocol, name) for name, protocol, port in ports_of(tree)),
        mounts=tuple(_mounts(tree.get("volumeMounts") or (), values)),
        user=security.get("runAsUser"),
        group=security.get("runAsGroup"),
        stdin=bool(tree.get("stdin")),
        terminal=bool(tree.get("tty")),
        initial=part.kind == "init",
    )


def _mounts(places: Sequence[Tree], values: dict[str, str]) -> Iterable[Mount]:
    for place in places:
        sub_path = place.get("subPath") or expand(place.get("subPathExpr") or "", values)
        yield Mount(str(place["name"]), str(place["mountPath"]), sub_path, bool(place.get("readOnly")))
