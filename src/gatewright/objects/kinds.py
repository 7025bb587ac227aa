"""Which kinds the product reads, and by what struct. Every other kind is passed over.

A kind is named by (API group, kind). For kinds that policies are made of only the served version counts; workloads and
Services read the same in every version that a cluster has ever served.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from gatewright.objects import cluster_policy, core, crd, policy, routing, workloads
from gatewright.objects.meta import Object
from gatewright.objects.schema import Schema


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind: its struct, its served version where only that one is read, whether its objects live in a namespace.

    `strict` kinds refuse unknown fields; their positioned tree is kept so that every field can be traced to its line.
    `spec_schema` is what a custom resource's spec is checked against. `versions` are those in which API servers serve
    it, newest first.
    """

    struct: type[Object]
    plural: str
    version: str = ""
    namespaced: bool = True
    strict: bool = False
    spec_schema: Schema | None = None
    versions: tuple[str, ...] = ("v1",)

    @property
    def served(self) -> tuple[str, ...]:
        """The versions to ask an API server for, newest first."""
        return (self.version,) if self.version else self.versions


POLICY_GROUP = "policy.networking.k8s.io"
GATEWAY_GROUP = "gateway.networking.k8s.io"
GATEWAY_VERSIONS = ("v1", "v1beta1", "v1alpha3", "v1alpha2")

KINDS: dict[tuple[str, str], Kind] = {
    ("", "Namespace"): Kind(core.Namespace, "namespaces", namespaced=False),
    ("", "Node"): Kind(core.Node, "nodes", namespaced=False),
    ("", "Pod"): Kind(core.Pod, "pods"),
    ("", "Service"): Kind(core.Service, "services"),
    ("", "ConfigMap"): Kind(core.ConfigMap, "configmaps"),
    ("", "ReplicationController"): Kind(workloads.ReplicationController, "replicationcontrollers"),
    ("apps", "Deployment"): Kind(workloads.Deployment, "deployments"),
    ("apps", "ReplicaSet"): Kind(workloads.ReplicaSet, "replicasets"),
    ("apps", "StatefulSet"): Kind(workloads.StatefulSet, "statefulsets"),
    ("apps", "DaemonSet"): Kind(workloads.DaemonSet, "daemonsets"),
    ("batch", "Job"): Kind(workloads.Job, "jobs"),
    ("batch", "CronJob"): Kind(workloads.CronJob, "cronjobs"),
    ("discovery.k8s.io", "EndpointSlice"): Kind(routing.EndpointSlice, "endpointslices"),
    ("networking.k8s.io", "Ingress"): Kind(routing.Ingress, "ingresses"),
    (GATEWAY_GROUP, "Gateway"): Kind(routing.Gateway, "gateways", versions=GATEWAY_VERSIONS),
    (GATEWAY_GROUP, "HTTPRoute"): Kind(routing.HTTPRoute, "httproutes", versions=GATEWAY_VERSIONS),
    (GATEWAY_GROUP, "GRPCRoute"): Kind(routing.GRPCRoute, "grpcroutes", versions=GATEWAY_VERSIONS),
    (GATEWAY_GROUP, "TLSRoute"): Kind(routing.TLSRoute, "tlsroutes", versions=GATEWAY_VERSIONS),
    (GATEWAY_GROUP, "TCPRoute"): Kind(routing.TCPRoute, "tcproutes", versions=GATEWAY_VERSIONS),
    (GATEWAY_GROUP, "UDPRoute"): Kind(routing.UDPRoute, "udproutes", versions=GATEWAY_VERSIONS),
    ("route.openshift.io", "Route"): Kind(routing.Route, "routes"),
    ("networking.k8s.io", "NetworkPolicy"): Kind(policy.NetworkPolicy, "networkpolicies", version="v1", strict=True),
    (POLICY_GROUP, "ClusterNetworkPolicy"): Kind(
        cluster_policy.ClusterNetworkPolicy,
        "clusternetworkpolicies",
        "v1alpha2",
        False,
        True,
        crd.CLUSTER_NETWORK_POLICY,
    ),
    (POLICY_GROUP, "AdminNetworkPolicy"): Kind(
        cluster_policy.AdminNetworkPolicy, "adminnetworkpolicies", "v1alpha1", False, True, crd.ADMIN_NETWORK_POLICY
    ),
    (POLICY_GROUP, "BaselineAdminNetworkPolicy"): Kind(
        cluster_policy.BaselineAdminNetworkPolicy,
        "baselineadminnetworkpolicies",
        "v1alpha1",
        False,
        True,
        crd.BASELINE_ADMIN_NETWORK_POLICY,
    ),
}

FORMER_GROUPS = {
    ("extensions", "Deployment"): "apps",
    ("extensions", "ReplicaSet"): "apps",
    ("extensions", "DaemonSet"): "apps",
    ("extensions", "NetworkPolicy"): "networking.k8s.io",
    ("extensions", "Ingress"): "networking.k8s.io",
}
"""Kinds that moved: old manifests are read, but a policy of a group no server serves any more is an error."""


def scoped(item: Object, kind: Kind) -> Object:
    """The object in the namespace `default` when it names none, and in none when its kind has none."""
    metadata = item.metadata
    if kind.namespaced and not metadata.namespace:
        metadata = msgspec.structs.replace(metadata, namespace="default")
    elif not kind.namespaced and metadata.namespace:
        metadata = msgspec.structs.replace(metadata, namespace="")
    else:
        return item
    return msgspec.structs.replace(item, metadata=metadata)


def group_version(api_version: str) -> tuple[str, str]:
    """(group, version) of an apiVersion; the core group is empty."""
    group, _, version = api_version.rpartition("/")
    return group, version


def resource_name(item: Object) -> str:
    """The object as kubectl names it in its output: `networkpolicy.networking.k8s.io/db-policy`, `pod/web`."""
    group, _ = group_version(item.api_version)
    kind = f"{item.kind.lower()}.{group}" if group else item.kind.lower()
    return f"{kind}/{item.name}"
