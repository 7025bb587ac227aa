"""What networking solutions enforce, as far as their own documentation says it: data, for rules to ask.

`False` says that a solution certainly lacks a part, `True` that its current releases have it, `None` that this is not
known here or hangs on a setting. Rules speak up on `False` alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from gatewright.errors import GatewrightError


@dataclass(frozen=True, slots=True)
class Network:
    """One networking solution: whether it enforces NetworkPolicies, and the parts that not every solution has.

    `cluster_tiers` is the newer ClusterNetworkPolicy, `admin_tiers` its forerunners AdminNetworkPolicy and
    BaselineAdminNetworkPolicy. `note` is what to know about it.
    """

    name: str
    enforces: bool = True
    sctp: bool | None = None
    end_port: bool | None = None
    admin_tiers: bool | None = None
    cluster_tiers: bool | None = None
    note: str = ""


_NONE = (False, False, False, False)

NETWORKS: dict[str, Network] = {
    network.name: network
    for network in (
        Network("antrea", sctp=True, end_port=True, admin_tiers=True),
        Network("calico", sctp=True, end_port=True, admin_tiers=True),
        Network(
            "cilium",
            sctp=False,
            end_port=True,
            admin_tiers=False,
            note="SCTP is off unless sctp.enabled is set",
        ),
        Network("flannel", False, *_NONE, note="Canal adds Calico to it"),
        Network("gatewright", sctp=True, end_port=True, admin_tiers=True, cluster_tiers=True),
        Network("kindnet", sctp=True, end_port=True, note="enforces since kind 0.24"),
        Network("kube-router", end_port=True, admin_tiers=False, cluster_tiers=False),
        Network("kubenet", False, *_NONE),
        Network("ovn-kubernetes", sctp=True, end_port=True, admin_tiers=True),
        Network("romana", end_port=False, admin_tiers=False, cluster_tiers=False, note="no longer maintained"),
        Network("weave-net", end_port=False, admin_tiers=False, cluster_tiers=False, note="no longer maintained"),
    )
}


class UnknownNetwork(GatewrightError):
    """A name that no networking solution here has."""


def network_named(name: str) -> Network:
    """The networking solution of that name. Raises UnknownNetwork."""
    if name not in NETWORKS:
        raise UnknownNetwork(f"no network named {name!r} is known; name one of {', '.join(NETWORKS)}")
    return NETWORKS[name]
