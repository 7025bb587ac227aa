"""What a lab tells about itself: pods and Services as `lab status` shows them, and why a pod is not ready."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from gatewright.lab import pods, services
from gatewright.lab.containerlog import tail
from gatewright.lab.directory import LabDirectory
from gatewright.lab.pods import RunningPod
from gatewright.lab.services import Allocation, Backend
from gatewright.lab.wire import Message
from gatewright.objects.core import Service

_LAST_LINES = 5


def pod_status(pod: RunningPod) -> Message:
    """One pod."""
    spec = pod.plan.pod.spec
    running = [pod.containers.get(one.name, {}) for one in spec.containers]
    up = sum(1 for one in running if one.get("state") == "running") if pod.ready else 0
    notes = [f"container {name}: {one['note']}" for name, one in pod.containers.items() if one.get("note")]
    return {
        "namespace": pod.plan.pod.namespace,
        "name": pod.plan.pod.name,
        "owner": pod.plan.owner,
        "ready": f"{up}/{len(spec.containers)}",
        "isReady": pod.ready,
        "status": pod.status,
        "restarts": pod.restarts,
        "addresses": [str(address) for address in pod.addresses],
        "runs": pods.runs(pod),
        "notes": [*pod.notes, *notes],
        "labels": pod.plan.pod.labels,
    }


def service_status(service: Service, allocations: Mapping[str, Allocation], backends: Iterable[Backend]) -> Message:
    """One Service."""
    allocation = allocations[f"{service.namespace}/{service.name}"]
    return {
        "namespace": service.namespace,
        "name": service.name,
        "type": service.spec.type,
        "addresses": [str(address) for address in allocation.addresses],
        "headless": services.is_headless(service),
        "externalName": service.spec.external_name,
        "ports": [
            {"name": port.name, "port": port.port, "protocol": port.protocol, "nodePort": node_port}
            for port, node_port in zip(service.spec.ports, allocation.node_ports, strict=True)
        ],
        "backends": [f"{one.pod.namespace}/{one.pod.name}" for one in services.serving(service, backends)],
    }


def why(directory: LabDirectory, pod: RunningPod) -> Message:
    """Why a pod is not ready, and the end of what it printed."""
    reason = pod.failed or pod.status
    closed = sorted(pod.tcp_ports - pod.accepted)
    if not pod.failed and pod.status == "Running" and closed:
        reason = f"does not accept connections on TCP {','.join(map(str, closed))}"
    lines: list[str] = []
    for container in (*pod.plan.pod.spec.init_containers, *pod.plan.pod.spec.containers):
        path = pods.log_path(directory, pod.plan.pod.namespace, pod.plan.pod.name, container.name)
        lines += tail(path, _LAST_LINES).splitlines()
    return {"pod": pod.key, "why": reason, "log": lines[-_LAST_LINES:]}
