"""A lab as `lab status` shows it, from its API's objects and what the nodes say of themselves. Pure."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping
from typing import Any

from gatewright.lab.api.resources import Tree
from gatewright.lab.api.tables import cells
from gatewright.lab.runtime.model import COMMAND, SKIPPED, PodState

Json = dict[str, Any]


def pod_status(pod: Tree, owners: Mapping[str, str], held: PodState | None) -> Json:
    """One pod. `owners` are those of ReplicaSets by uid; `held` is what its node's runtime runs of it."""
    metadata, spec, status = pod["metadata"], pod["spec"], pod.get("status") or {}
    row = cells("Pod", pod)
    programs = {one["name"]: (one.get("command") or one.get("args") or [""])[0] for one in spec["containers"]}
    main = [one for one in held.containers if one.name in programs and one.runs != SKIPPED] if held else []
    runs = {posixpath.basename(programs[one.name]) if one.runs == COMMAND else one.runs for one in main}
    return {
        "namespace": metadata["namespace"],
        "name": metadata["name"],
        "owner": owner_of(pod, owners),
        "ready": row[1],
        "isReady": is_ready(pod),
        "status": row[2],
        "restarts": sum(one.get("restartCount", 0) for one in status.get("containerStatuses") or ()),
        "addresses": [one["ip"] for one in status.get("podIPs") or ()],
        "node": spec.get("nodeName", ""),
        "runs": ", ".join(sorted(runs)),
        "notes": [f"container {one.name}: {one.note}" for one in held.containers if one.note] if held else [],
        "labels": metadata.get("labels") or {},
    }


def owner_of(pod: Tree, owners: Mapping[str, str]) -> str:
    """The workload that a pod belongs to, `Deployment/web`; empty for a bare pod."""
    reference = next(iter(pod["metadata"].get("ownerReferences") or ()), None)
    if reference is None:
        return ""
    return owners.get(reference["uid"], f"{reference['kind']}/{reference['name']}")


def deployments(replica_sets: Iterable[Tree]) -> dict[str, str]:
    """Which Deployment each ReplicaSet belongs to, by the ReplicaSet's uid."""
    return {
        one["metadata"]["uid"]: f"{reference['kind']}/{reference['name']}"
        for one in replica_sets
        for reference in one["metadata"].get("ownerReferences") or ()
    }


def is_ready(pod: Tree) -> bool:
    """Whether the pod is ready, by its conditions."""
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def service_status(service: Tree, slices: Iterable[Tree]) -> Json:
    """One Service; `slices` are all EndpointSlices."""
    metadata, spec = service["metadata"], service["spec"]
    mine = [one for one in slices if _service_of(one) == (metadata["namespace"], metadata["name"])]
    targets = [endpoint.get("targetRef") or {} for one in mine for endpoint in _ready(one)]
    addresses = [] if spec.get("clusterIP") in (None, "", "None") else spec.get("clusterIPs") or [spec["clusterIP"]]
    return {
        "namespace": metadata["namespace"],
        "name": metadata["name"],
        "type": spec.get("type", "ClusterIP"),
        "addresses": addresses,
        "headless": spec.get("clusterIP") == "None",
        "externalName": spec.get("externalName", ""),
        "ports": [
            {
                "name": port.get("name", ""),
                "port": port["port"],
                "protocol": port.get("protocol", "TCP"),
                "nodePort": port.get("nodePort", 0),
            }
            for port in spec.get("ports") or ()
        ],
        "backends": sorted({f"{one['namespace']}/{one['name']}" for one in targets if one.get("kind") == "Pod"}),
    }


def _service_of(endpoint_slice: Tree) -> tuple[str, str]:
    metadata = endpoint_slice["metadata"]
    return metadata["namespace"], (metadata.get("labels") or {}).get("kubernetes.io/service-name", "")


def _ready(endpoint_slice: Tree) -> list[Tree]:
    endpoints: list[Tree] = endpoint_slice.get("endpoints") or []
    return [one for one in endpoints if (one.get("conditions") or {}).get("ready", True)]


def node_status(node: Json, tree: Tree | None, agent: Json) -> Json:
    """One node: what the lab says of the machine, what the API says of its Node, what its agent says of itself."""
    spec, status = ((tree or {}).get(part) or {} for part in ("spec", "status"))
    conditions = {one["type"]: one["status"] for one in status.get("conditions") or ()}
    return {
        **node,
        "ready": conditions.get("Ready") == "True",
        "podCIDRs": spec.get("podCIDRs") or [],
        "agent": agent.get("state", ""),
        "agentProblems": agent.get("problems", []),
    }
