"""Addresses and ports that the endpoint gives Services: cluster addresses and node ports, each to one Service alone."""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field

from gatewright.kubeapi.failure import invalid
from gatewright.lab.api.resources import Tree
from gatewright.objects.decode import Fault

NODE_PORTS = range(30000, 32768)
_TRIES = 64


@dataclass(frozen=True)
class Ranges:
    """From what Services get their addresses, by family. The first address of each is the API's own."""

    v4: ipaddress.IPv4Network = field(default_factory=lambda: ipaddress.IPv4Network("10.96.0.0/16"))
    v6: ipaddress.IPv6Network = field(default_factory=lambda: ipaddress.IPv6Network("fd00:10:96::/112"))

    def network(self, family: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
        """The range of IPv4 or IPv6."""
        return self.v6 if family == "IPv6" else self.v4


def allocate(service: Tree, others: Iterable[Tree], ranges: Ranges) -> None:
    """Fill in the addresses and node ports that a Service lacks. Raises Failure (422) where one is taken."""
    specs = [other.get("spec") or {} for other in others]
    spec = service["spec"]
    if spec["type"] == "ExternalName":
        for name in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"):
            spec.pop(name, None)
        return
    _addresses(service, {address for other in specs for address in other.get("clusterIPs") or ()}, ranges)
    if spec["type"] in ("NodePort", "LoadBalancer"):
        _node_ports(service, {(p.get("protocol"), p.get("nodePort")) for o in specs for p in o.get("ports") or ()})
    else:
        for port in spec.get("ports") or ():
            port.pop("nodePort", None)


def _addresses(service: Tree, taken: set[str], ranges: Ranges) -> None:
    spec = service["spec"]
    given = spec.get("clusterIP") or next(iter(spec.get("clusterIPs") or ()), "")
    if given == "None":
        spec["clusterIP"], spec["clusterIPs"] = "None", ["None"]
        families = spec.setdefault("ipFamilies", ["IPv4"])
    elif given:
        family = _checked(service, given, taken, ranges)
        spec["clusterIP"] = given
        spec.setdefault("clusterIPs", [given])
        families = spec.setdefault("ipFamilies", [family])
    else:
        families = spec.setdefault("ipFamilies", _families(spec.get("ipFamilyPolicy")))
        spec["clusterIPs"] = [_free(ranges.network(family), taken) for family in families]
        spec["clusterIP"] = spec["clusterIPs"][0]
    spec.setdefault("ipFamilyPolicy", "SingleStack" if len(families) < 2 else "RequireDualStack")


def _families(policy: str | None) -> list[str]:
    return ["IPv4", "IPv6"] if policy in ("PreferDualStack", "RequireDualStack") else ["IPv4"]


def _checked(service: Tree, address: str, taken: set[str], ranges: Ranges) -> str:
    """The family of an address that the Service asks for."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        raise _refused(service, f"\"{address}\": must be empty, 'None', or a valid IP address") from None
    family = "IPv6" if parsed.version == 6 else "IPv4"
    if parsed not in ranges.network(family):
        what = (
            f"the provided IP ({address}) is not in the valid range. The range of valid IPs is {ranges.network(family)}"
        )
        raise _refused(service, f'"{address}": failed to allocate IP {address}: {what}')
    if address in taken:
        raise _refused(service, f'"{address}": failed to allocate IP {address}: provided IP is already allocated')
    return family


def _refused(service: Tree, what: str) -> Exception:
    fault = Fault(("spec", "clusterIPs"), f"Invalid value: {what}")
    return invalid("Service", "", service["metadata"]["name"], [fault])


def _free(network: ipaddress.IPv4Network | ipaddress.IPv6Network, taken: set[str]) -> str:
    size = network.num_addresses
    for _ in range(_TRIES):
        address = str(network[2 + secrets.randbelow(size - 3)])
        if address not in taken:
            return address
    return next(str(address) for address in network.hosts() if str(address) not in taken)


def _node_ports(service: Tree, taken: set[tuple[str, int]]) -> None:
    for place, port in enumerate(service["spec"].get("ports") or ()):
        wanted = port.get("nodePort")
        if wanted and (port["protocol"], wanted) in taken:
            what = f"Invalid value: {wanted}: provided port is already allocated"
            raise invalid(
                "Service", "", service["metadata"]["name"], [Fault(("spec", "ports", place, "nodePort"), what)]
            )
        if not wanted:
            start = secrets.randbelow(len(NODE_PORTS))
            ring = (NODE_PORTS[(start + step) % len(NODE_PORTS)] for step in range(len(NODE_PORTS)))
            port["nodePort"] = next(one for one in ring if (port["protocol"], one) not in taken)
        taken.add((port["protocol"], port["nodePort"]))
