"""Which resources the endpoint serves, and what differs between them: names, scope, subresources, selectable fields."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Tree = dict[str, Any]

VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


def _field(tree: Tree, *path: str) -> str:
    value: Any = tree
    for part in path:
        value = value.get(part) if isinstance(value, dict) else None
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else ""


def _pod_fields(tree: Tree) -> dict[str, str]:
    host = bool((tree.get("spec") or {}).get("hostNetwork"))
    return {
        "spec.nodeName": _field(tree, "spec", "nodeName"),
        "spec.restartPolicy": _field(tree, "spec", "restartPolicy"),
        "spec.schedulerName": _field(tree, "spec", "schedulerName"),
        "spec.serviceAccountName": _field(tree, "spec", "serviceAccountName"),
        "spec.hostNetwork": "true" if host else "false",
        "status.phase": _field(tree, "status", "phase"),
        "status.podIP": _field(tree, "status", "podIP"),
        "status.nominatedNodeName": _field(tree, "status", "nominatedNodeName"),
    }


def _namespace_fields(tree: Tree) -> dict[str, str]:
    return {"status.phase": _field(tree, "status", "phase")}


def _node_fields(tree: Tree) -> dict[str, str]:
    return {"spec.unschedulable": "true" if _field(tree, "spec", "unschedulable") == "true" else "false"}


def _secret_fields(tree: Tree) -> dict[str, str]:
    return {"type": _field(tree, "type")}


def _service_fields(tree: Tree) -> dict[str, str]:
    return {name: _field(tree, *name.split(".")) for name in ("spec.clusterIP", "spec.type")}


def _job_fields(tree: Tree) -> dict[str, str]:
    return {"status.successful": str((tree.get("status") or {}).get("succeeded") or 0)}


def _event_fields(tree: Tree) -> dict[str, str]:
    about = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
    fields = {f"involvedObject.{name}": _field(tree, "involvedObject", name) for name in about}
    fields |= {name: _field(tree, name) for name in ("reason", "reportingComponent", "type")}
    return {**fields, "source": _field(tree, "source", "component") or _field(tree, "reportingComponent")}


def _no_fields(_: Tree) -> dict[str, str]:
    return {}


@dataclass(frozen=True)
class Resource:
    """One resource. `type` names its type in the table; `status` and `scale` say which subresources it has.

    `generation`: metadata.generation counts changes of the spec. `custom`: in a cluster it comes from a definition, so
    its patches cannot be strategic ones.
    """

    group: str
    version: str
    plural: str
    kind: str
    type: str
    namespaced: bool = True
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    status: bool = False
    scale: bool = False
    generation: bool = False
    custom: bool = False
    selectable: Callable[[Tree], dict[str, str]] = field(default=_no_fields, compare=False)

    @property
    def singular(self) -> str:
        """As discovery names it."""
        return self.kind.lower()

    @property
    def api_version(self) -> str:
        """`apps/v1`, `v1`."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def prefix(self) -> str:
        """The path of its group and version: `/apis/apps/v1`, `/api/v1`."""
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"

    def fields(self, tree: Tree) -> dict[str, str]:
        """What a field selector may ask of an object."""
        metadata = tree["metadata"]
        own = {"metadata.name": metadata["name"]}
        if self.namespaced:
            own["metadata.namespace"] = metadata["namespace"]
        return own | self.selectable(tree)

    def knows_field(self, name: str) -> bool:
        """Whether a field selector may name this field."""
        blank: Tree = {"metadata": {"name": "", "namespace": ""}}
        return name in self.fields(blank)


_ALL = ("all",)
_POLICY = "policy.networking.k8s.io"

RESOURCES: tuple[Resource, ...] = (
    Resource("", "v1", "configmaps", "ConfigMap", "core.v1.ConfigMap", short_names=("cm",)),
    Resource("", "v1", "endpoints", "Endpoints", "core.v1.Endpoints", short_names=("ep",)),
    Resource("", "v1", "events", "Event", "core.v1.Event", short_names=("ev",), selectable=_event_fields),
    Resource(
        *("", "v1", "namespaces", "Namespace", "core.v1.Namespace"),
        namespaced=False,
        short_names=("ns",),
        status=True,
        selectable=_namespace_fields,
    ),
    Resource(
        *("", "v1", "nodes", "Node", "core.v1.Node"),
        namespaced=False,
        short_names=("no",),
        status=True,
        selectable=_node_fields,
    ),
    Resource(
        *("", "v1", "pods", "Pod", "core.v1.Pod"),
        short_names=("po",),
        categories=_ALL,
        status=True,
        generation=True,
        selectable=_pod_fields,
    ),
    Resource("", "v1", "secrets", "Secret", "core.v1.Secret", selectable=_secret_fields),
    Resource("", "v1", "serviceaccounts", "ServiceAccount", "core.v1.ServiceAccount", short_names=("sa",)),
    Resource(
        *("", "v1", "services", "Service", "core.v1.Service"),
        short_names=("svc",),
        categories=_ALL,
        status=True,
        selectable=_service_fields,
    ),
    Resource("apps", "v1", "controllerrevisions", "ControllerRevision", "apps.v1.ControllerRevision"),
    Resource(
        *("apps", "v1", "daemonsets", "DaemonSet", "apps.v1.DaemonSet"),
        short_names=("ds",),
        categories=_ALL,
        status=True,
        generation=True,
    ),
    Resource(
        *("apps", "v1", "deployments", "Deployment", "apps.v1.Deployment"),
        short_names=("deploy",),
        categories=_ALL,
        status=True,
        scale=True,
        generation=True,
    ),
    Resource(
        *("apps", "v1", "replicasets", "ReplicaSet", "apps.v1.ReplicaSet"),
        short_names=("rs",),
        categories=_ALL,
        status=True,
        scale=True,
        generation=True,
    ),
    Resource(
        *("apps", "v1", "statefulsets", "StatefulSet", "apps.v1.StatefulSet"),
        short_names=("sts",),
        categories=_ALL,
        status=True,
        scale=True,
        generation=True,
    ),
    Resource(
        *("batch", "v1", "cronjobs", "CronJob", "batch.v1.CronJob"),
        short_names=("cj",),
        categories=_ALL,
        status=True,
        generation=True,
    ),
    Resource(
        *("batch", "v1", "jobs", "Job", "batch.v1.Job"),
        categories=_ALL,
        status=True,
        generation=True,
        selectable=_job_fields,
    ),
    Resource("coordination.k8s.io", "v1", "leases", "Lease", "coordination.v1.Lease"),
    Resource(
        "discovery.k8s.io", "v1", "endpointslices", "EndpointSlice", "discovery.v1.EndpointSlice", generation=True
    ),
    Resource(
        *("networking.k8s.io", "v1", "ingresses", "Ingress", "networking.v1.Ingress"),
        short_names=("ing",),
        status=True,
        generation=True,
    ),
    Resource(
        *("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy", "networking.v1.NetworkPolicy"),
        short_names=("netpol",),
        generation=True,
    ),
    Resource(
        *(_POLICY, "v1alpha2", "clusternetworkpolicies", "ClusterNetworkPolicy"),
        f"{_POLICY}.v1alpha2.ClusterNetworkPolicy",
        namespaced=False,
        short_names=("cnp",),
        status=True,
        generation=True,
        custom=True,
    ),
    Resource(
        *(_POLICY, "v1alpha1", "adminnetworkpolicies", "AdminNetworkPolicy"),
        f"{_POLICY}.v1alpha1.AdminNetworkPolicy",
        namespaced=False,
        short_names=("anp",),
        status=True,
        generation=True,
        custom=True,
    ),
    Resource(
        *(_POLICY, "v1alpha1", "baselineadminnetworkpolicies", "BaselineAdminNetworkPolicy"),
        f"{_POLICY}.v1alpha1.BaselineAdminNetworkPolicy",
        namespaced=False,
        short_names=("banp",),
        status=True,
        generation=True,
        custom=True,
    ),
)
BY_PATH = {(one.group, one.version, one.plural): one for one in RESOURCES}
BY_PLURAL = {(one.group, one.plural): one for one in RESOURCES}
NAMESPACES = BY_PLURAL["", "namespaces"]
GROUP_VERSIONS = tuple(dict.fromkeys((one.group, one.version) for one in RESOURCES))
