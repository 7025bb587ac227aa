"""A node in the API: the Node object that says what and where it is, and the Lease that says that it lives. Pure.

Fields are those that a kubelet writes (core/v1 NodeStatus, KEP-589 for the Lease).
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from gatewright.lab.api.resources import BY_PLURAL, Tree
from gatewright.lab.kubelet.podspec import stamp_of

NODES, LEASES = BY_PLURAL["", "nodes"], BY_PLURAL["coordination.k8s.io", "leases"]
LEASE_NAMESPACE = "kube-node-lease"
LEASE_DURATION = 40
RENEWED_EVERY, TOLD_EVERY = 10.0, 300.0
"""Seconds between two renewals of the Lease, and two writes of an unchanged status."""
PODS = 500
_VERSION = "v1.34.0-gatewright"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def architecture() -> str:
    """As Go calls it."""
    machine = platform.machine()
    return _ARCHITECTURES.get(machine, machine)


def node_object(name: str, labels: Mapping[str, str]) -> Tree:
    """A Node that is new."""
    return {"metadata": {"name": name, "labels": own_labels(name, labels)}, "spec": {}}


def own_labels(name: str, labels: Mapping[str, str]) -> dict[str, str]:
    """The labels that a kubelet gives to its Node."""
    return {
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": architecture(),
        "beta.kubernetes.io/os": "linux",
        "beta.kubernetes.io/arch": architecture(),
        **labels,
    }


def resources() -> Tree:
    """What the node has to give: all of the machine, for every node of a lab alike."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {"cpu": str(os.cpu_count() or 1), "memory": f"{memory // 1024}Ki", "pods": str(PODS)}


def node_status(name: str, addresses: Sequence[str], port: int, now: float, before: Tree) -> Tree:
    """The status of a node that is well; conditions that others wrote stay."""
    given = [{"type": "InternalIP", "address": address} for address in addresses]
    kernel, system = os.uname().release, _operating_system()
    return {
        "addresses": [*given, {"type": "Hostname", "address": name}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
        "capacity": resources(),
        "allocatable": resources(),
        "conditions": _conditions(now, before.get("conditions") or []),
        "nodeInfo": {
            "architecture": architecture(),
            "operatingSystem": "linux",
            "osImage": system,
            "kernelVersion": kernel,
            "kubeletVersion": _VERSION,
            "kubeProxyVersion": "",
            "containerRuntimeVersion": "gatewright://1",
            "machineID": "",
            "systemUUID": "",
            "bootID": "",
        },
    }


_WELL = (
    ("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
    ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
    ("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
)


def _conditions(now: float, before: Sequence[Tree]) -> list[Tree]:
    known = {one["type"]: one for one in before}
    made = []
    for kind, status, reason, message in _WELL:
        old = known.pop(kind, {})
        since = old.get("lastTransitionTime") if old.get("status") == status else None
        made.append(
            {
                "type": kind,
                "status": status,
                "reason": reason,
                "message": message,
                "lastHeartbeatTime": stamp_of(now),
                "lastTransitionTime": since or stamp_of(now),
            }
        )
    return made + list(known.values())


def is_ready(node: Tree) -> bool:
    """Whether a node is told of as ready."""
    conditions = (node.get("status") or {}).get("conditions") or ()
    return any(one.get("type") == "Ready" and one.get("status") == "True" for one in conditions)


def lease(name: str, uid: str, now: float) -> Tree:
    """The Lease of a node, renewed now."""
    owner = {"apiVersion": "v1", "kind": "Node", "name": name, "uid": uid}
    return {
        "metadata": {"name": name, "namespace": LEASE_NAMESPACE, "ownerReferences": [owner]},
        "spec": {
            "holderIdentity": name,
            "leaseDurationSeconds": LEASE_DURATION,
            "renewTime": datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        },
    }


def _operating_system() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    except OSError:
        return "Linux"
