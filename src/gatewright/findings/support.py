"""What a cluster no longer serves, and what its network does not enforce: policies that exist on paper."""

from __future__ import annotations

from collections.abc import Iterator

from gatewright.engine.ports import Protocol
from gatewright.findings.model import Fix, Place, Replace, Severity
from gatewright.findings.networks import Network
from gatewright.findings.rule import Example, Hit, rule
from gatewright.findings.survey import Survey
from gatewright.objects.origin import Origin, line_of
from gatewright.objects.read import Other

SERVED = "networking.k8s.io/v1"
OBSOLETE_ANNOTATION = "net.beta.kubernetes.io/network-policy"
_POLICY = """\
apiVersion: APIVERSION
kind: NetworkPolicy
metadata: {name: web, namespace: shop}
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Ingress]
  ingress:
  - ports: [PORT]
"""


def _policy(port: str, version: str = SERVED) -> str:
    return _POLICY.replace("PORT", port).replace("APIVERSION", version)


def _tier(version: str, kind: str) -> str:
    """A cluster-wide policy of the newer or the older kind."""
    head = f"apiVersion: policy.networking.k8s.io/{version}\nkind: {kind}\nmetadata: {{name: guard}}\nspec:\n"
    tier = "  tier: Admin\n" if version == "v1alpha2" else ""
    return head + tier + "  priority: 10\n  subject: {namespaces: {}}\n"


@rule(
    "GW901",
    "removed-version",
    Severity.ERROR,
    remedy=f"write apiVersion: {SERVED}",
    example=Example(_policy("{port: 80}", "extensions/v1beta1"), _policy("{port: 80}")),
)
def removed_version(survey: Survey) -> Iterator[Hit]:
    """A NetworkPolicy in an API version that no server serves any more.

    `extensions/v1beta1` ended with Kubernetes 1.16. A cluster refuses the object, so it protects nothing. The fields
    are the same in the served version.
    """
    for other in survey.others:
        if other.kind == "NetworkPolicy" and other.api_version in ("extensions/v1beta1", "networking.k8s.io/v1beta1"):
            fix = Fix(f"write apiVersion: {SERVED}", Replace(("apiVersion",), other.api_version, SERVED))
            yield Hit(_at(other, "apiVersion"), f"no API server serves {other.api_version} any more", fix=fix)


def _at(other: Other, *path: str) -> Place:
    line = line_of(other.tree, path) or other.origin.line
    origin = Origin(other.origin.file, line, other.origin.document)
    return Place(other.kind, other.namespace, other.name, path, origin)


@rule(
    "GW902",
    "superseded-kind",
    Severity.INFO,
    remedy="write a ClusterNetworkPolicy (policy.networking.k8s.io/v1alpha2), once the network supports it",
    example=Example(_tier("v1alpha1", "AdminNetworkPolicy"), _tier("v1alpha2", "ClusterNetworkPolicy")),
)
def superseded_kind(survey: Survey) -> Iterator[Hit]:
    """A cluster-wide policy of a kind that another has followed.

    AdminNetworkPolicy and BaselineAdminNetworkPolicy (v1alpha1) became ClusterNetworkPolicy (v1alpha2), with the tiers
    Admin and Baseline, and are developed no further.
    """
    for policy in survey.cluster_policies:
        if policy.kind != "ClusterNetworkPolicy":
            yield Hit(Place.of(policy), f"{policy.kind} is superseded by ClusterNetworkPolicy")


@rule(
    "GW903",
    "obsolete-annotation",
    Severity.WARNING,
    remedy="write a NetworkPolicy with podSelector {} and no rules in place of the annotation",
    example=Example(
        "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: shop\n  annotations:\n"
        f'    {OBSOLETE_ANNOTATION}: \'{{"ingress": {{"isolation": "DefaultDeny"}}}}\'\n',
        "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: shop\n",
    ),
)
def obsolete_annotation(survey: Survey) -> Iterator[Hit]:
    """A namespace asks for isolation by an annotation that nothing reads any more.

    Before Kubernetes 1.7 the annotation `net.beta.kubernetes.io/network-policy` isolated all pods of a namespace. It
    has had no effect since: pods that no policy selects are open.
    """
    for namespace in survey.namespaces:
        if OBSOLETE_ANNOTATION in namespace.metadata.annotations:
            message = f"the annotation {OBSOLETE_ANNOTATION} has no effect since Kubernetes 1.7"
            yield Hit(Place.of(namespace, "metadata", "annotations", OBSOLETE_ANNOTATION), message)


@rule(
    "GW911",
    "network-does-not-enforce",
    Severity.ERROR,
    remedy="run a network that enforces policies, or an enforcing agent beside it",
    example=Example(_policy("{port: 80}"), "", ("--network", "flannel")),
)
def network_does_not_enforce(survey: Survey) -> Iterator[Hit]:
    """The network does not enforce policies.

    Creating a policy never fails for want of enforcement: the API stores it, and nothing happens. Reported at the first
    policy of the input.
    """
    network = survey.network
    policies = sorted((*survey.policies, *survey.cluster_policies), key=lambda one: Place.of(one).order)
    if network is not None and not network.enforces and policies:
        message = f"{_name(network)} enforces no policies: none of the {len(policies)} of the input has an effect"
        yield Hit(Place.of(policies[0]), message)


def _name(network: Network) -> str:
    return f"{network.name} ({network.note})" if network.note else network.name


def _enforcing(survey: Survey) -> Network | None:
    return survey.network if survey.network is not None and survey.network.enforces else None


@rule(
    "GW912",
    "no-port-ranges",
    Severity.ERROR,
    remedy="write the ports one by one, or run a network that knows endPort",
    example=Example(_policy("{port: 80, endPort: 90}"), _policy("{port: 80}"), ("--network", "weave-net")),
)
def no_port_ranges(survey: Survey) -> Iterator[Hit]:
    """A range of ports on a network that does not know endPort.

    Such a network takes the entry for its first port alone, or for none.
    """
    network = _enforcing(survey)
    if network is None or network.end_port is not False:
        return
    for one in survey.rules:
        for number, port in enumerate(one.ports):
            if port.end_port is not None:
                yield Hit(one.place("ports", number, "endPort"), f"{_name(network)} does not know endPort")


@rule(
    "GW913",
    "no-sctp",
    Severity.ERROR,
    remedy="run a network that knows SCTP, or take the entry out",
    example=Example(
        _policy("{port: 80, protocol: SCTP}"), _policy("{port: 80, protocol: TCP}"), ("--network", "cilium")
    ),
)
def no_sctp(survey: Survey) -> Iterator[Hit]:
    """SCTP on a network that does not know it."""
    network = _enforcing(survey)
    if network is None or network.sctp is not False:
        return
    for one in survey.rules:
        for number, port in enumerate(one.ports):
            if port.protocol == Protocol.SCTP:
                yield Hit(one.place("ports", number, "protocol"), f"{_name(network)} does not know SCTP")


@rule(
    "GW914",
    "no-cluster-tiers",
    Severity.ERROR,
    remedy="run a network that has cluster-wide policies, or write NetworkPolicies",
    example=Example(_tier("v1alpha2", "ClusterNetworkPolicy"), _policy("{port: 80}"), ("--network", "weave-net")),
)
def no_cluster_tiers(survey: Survey) -> Iterator[Hit]:
    """A cluster-wide policy on a network that does not enforce its kind."""
    network = _enforcing(survey)
    if network is None:
        return
    for policy in survey.cluster_policies:
        newer = policy.kind == "ClusterNetworkPolicy"
        if (network.cluster_tiers if newer else network.admin_tiers) is False:
            yield Hit(Place.of(policy), f"{_name(network)} does not enforce {policy.kind}")
