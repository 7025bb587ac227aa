"""NetworkPolicy (networking.k8s.io/v1), field for field. An unknown field is an error: to skip it changes meaning."""

from __future__ import annotations

import msgspec

from gatewright.objects.meta import IntOrString, LabelSelector, Object, Strict


class IPBlock(Strict, frozen=True):
    """networking/v1 IPBlock: every address in `cidr` but those in a block of `except_`."""

    cidr: str = ""
    except_: tuple[str, ...] = msgspec.field(default=(), name="except")


class NetworkPolicyPeer(Strict, frozen=True):
    """networking/v1 NetworkPolicyPeer: an ipBlock, or a podSelector and/or a namespaceSelector (both must hold)."""

    pod_selector: LabelSelector | None = None
    namespace_selector: LabelSelector | None = None
    ip_block: IPBlock | None = None


class NetworkPolicyPort(Strict, frozen=True):
    """networking/v1 NetworkPolicyPort. protocol None is TCP; port None is every port of the protocol."""

    protocol: str | None = None
    port: IntOrString | None = None
    end_port: int | None = None


class NetworkPolicyIngressRule(Strict, frozen=True):
    """networking/v1 NetworkPolicyIngressRule. No ports: all traffic; no `from`: everybody."""

    ports: tuple[NetworkPolicyPort, ...] = ()
    from_: tuple[NetworkPolicyPeer, ...] = msgspec.field(default=(), name="from")


class NetworkPolicyEgressRule(Strict, frozen=True):
    """networking/v1 NetworkPolicyEgressRule. No ports: all traffic; no `to`: everywhere."""

    ports: tuple[NetworkPolicyPort, ...] = ()
    to: tuple[NetworkPolicyPeer, ...] = ()


class NetworkPolicySpec(Strict, frozen=True):
    """networking/v1 NetworkPolicySpec."""

    pod_selector: LabelSelector = LabelSelector()
    ingress: tuple[NetworkPolicyIngressRule, ...] = ()
    egress: tuple[NetworkPolicyEgressRule, ...] = ()
    policy_types: tuple[str, ...] = ()


class NetworkPolicy(Object, frozen=True, forbid_unknown_fields=True):
    """networking/v1 NetworkPolicy. A `status` (dropped by the API in 1.28) is read and ignored."""

    spec: NetworkPolicySpec = NetworkPolicySpec()
    status: dict[str, object] | None = None

    @property
    def policy_types(self) -> tuple[str, ...]:
        """The directions it isolates: as written, else Ingress, and Egress too iff there is an egress rule [types]."""
        if self.spec.policy_types:
            return self.spec.policy_types
        return ("Ingress", "Egress") if self.spec.egress else ("Ingress",)
