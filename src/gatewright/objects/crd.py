"""The definitions of the cluster-wide policies, as far as a server checks objects against them.

Facts of the published custom resource definitions (policy.networking.k8s.io, experimental channel): fields, bounds and
rules. What the schema leaves open, such as the operators of label selectors, a server accepts, and so does this.
"""

from __future__ import annotations

import ipaddress
from typing import Any

from gatewright.objects.schema import Check, Schema

TEXT = Schema("string")
PORT = Schema("integer", at_least=1, at_most=65535)
_REQUIREMENT = Schema(
    "object",
    {"key": TEXT, "operator": TEXT, "values": Schema("array", items=TEXT)},
    required=("key", "operator"),
)
SELECTOR = Schema(
    "object",
    {"matchLabels": Schema("object", values=TEXT), "matchExpressions": Schema("array", items=_REQUIREMENT)},
)
_PODS = Schema(
    "object",
    {"namespaceSelector": SELECTOR, "podSelector": SELECTOR},
    required=("namespaceSelector", "podSelector"),
)
_SUBJECT = Schema("object", {"namespaces": SELECTOR, "pods": _PODS}, at_least=1, at_most=1)
_NAME = Schema("string", at_most=100)
_DOMAIN = Schema(
    "string",
    pattern=r"^(\*\.)?([a-zA-z0-9]([-a-zA-Z0-9_]*[a-zA-Z0-9])?\.)+[a-zA-z0-9]([-a-zA-Z0-9_]*[a-zA-Z0-9])?\.?$",
)
_UNNAMED_PEERS = ("networks", "nodes", "domainNames")


def _is_cidr(value: Any) -> bool:
    try:
        ipaddress.ip_network(value, strict=False)
    except ValueError:
        return False
    return "/" in value


_CIDR = Schema("string", at_most=43, checks=(Check(_is_cidr, "Invalid CIDR format provided"),))


def _start_below_end(value: Any) -> bool:
    return bool(value["start"] < value["end"])


def _no_names_without_pods(port_field: str, name_field: str) -> Check:
    def holds(rule: Any) -> bool:
        named = any(name_field in one for one in rule.get(port_field) or ())
        return not (named and any(kind in peer for peer in rule["to"] for kind in _UNNAMED_PEERS))

    return Check(
        holds,
        "networks/nodes/domainNames peer cannot be set with namedPorts since there are no namedPorts for "
        "networks/nodes/domainNames",
    )


def _rules(
    most: int, actions: tuple[str, ...], ports: dict[str, Schema], checks: tuple[Check, ...]
) -> dict[str, Schema]:
    """The fields `ingress` and `egress` of a spec."""
    inside = {"namespaces": SELECTOR, "pods": _PODS}
    outside = {
        **inside,
        "nodes": SELECTOR,
        "networks": Schema("array", items=_CIDR, at_least=1, at_most=25, unique=True),
        "domainNames": Schema("array", items=_DOMAIN, at_least=1, at_most=25, unique=True),
    }
    found = {}
    for direction, side, peer in (("ingress", "from", inside), ("egress", "to", outside)):
        peers = Schema("array", items=Schema("object", peer, at_least=1, at_most=1), at_least=1, at_most=most)
        rule = Schema(
            "object",
            {"name": _NAME, "action": Schema("string", enum=actions), side: peers, **ports},
            required=("action", side),
            checks=checks if side == "to" else (),
        )
        found[direction] = Schema("array", items=rule, at_most=most)
    return found


_RANGE = Schema(
    "object",
    {"start": PORT, "end": PORT},
    required=("start", "end"),
    checks=(Check(_start_below_end, "Start port must be less than End port"),),
)
_DESTINATION = Schema("object", {"number": PORT, "range": _RANGE}, at_least=1, at_most=1)
_LAYER4 = Schema("object", {"destinationPort": _DESTINATION}, at_least=1)
_PROTOCOL = Schema(
    "object", {"tcp": _LAYER4, "udp": _LAYER4, "sctp": _LAYER4, "destinationNamedPort": TEXT}, at_least=1, at_most=1
)

CLUSTER_NETWORK_POLICY = Schema(
    "object",
    {
        "tier": Schema("string", enum=("Admin", "Baseline")),
        "priority": Schema("integer", at_least=0, at_most=1000),
        "subject": _SUBJECT,
        **_rules(
            25,
            ("Accept", "Deny", "Pass"),
            {"protocols": Schema("array", items=_PROTOCOL, at_least=1, at_most=25)},
            (_no_names_without_pods("protocols", "destinationNamedPort"),),
        ),
    },
    required=("priority", "subject", "tier"),
)

_OLD_PROTOCOL = Schema("string", enum=("TCP", "UDP", "SCTP"))
_OLD_RANGE = Schema(
    "object",
    {"protocol": _OLD_PROTOCOL, "start": PORT, "end": PORT},
    required=("start", "end"),
    checks=(Check(_start_below_end, "Start port must be less than End port"),),
)
_OLD_PORT = Schema(
    "object",
    {
        "portNumber": Schema("object", {"protocol": _OLD_PROTOCOL, "port": PORT}, required=("port",)),
        "namedPort": TEXT,
        "portRange": _OLD_RANGE,
    },
    at_least=1,
    at_most=1,
)
_OLD_PORTS = {"ports": Schema("array", items=_OLD_PORT, at_most=100)}
_OLD_CHECKS = (_no_names_without_pods("ports", "namedPort"),)

ADMIN_NETWORK_POLICY = Schema(
    "object",
    {
        "priority": Schema("integer", at_least=0, at_most=1000),
        "subject": _SUBJECT,
        **_rules(100, ("Allow", "Deny", "Pass"), _OLD_PORTS, _OLD_CHECKS),
    },
    required=("priority", "subject"),
)
BASELINE_ADMIN_NETWORK_POLICY = Schema(
    "object",
    {"subject": _SUBJECT, **_rules(100, ("Allow", "Deny"), _OLD_PORTS, _OLD_CHECKS)},
    required=("subject",),
)
