"""The network of the lab's node: its addresses and switches, and the links of pods and of the outside host.

Routed, not bridged: each pod hangs on its own veth pair with a full-length address, a link-local next hop and permanent
neighbours on both sides, so that every packet between pods passes the node's `forward` hook, and no ARP or neighbour
discovery can race with the first packet. All of it lives in the network namespace of the lab process and goes with it.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from gatewright.engine.addresses import IPAddress, IPNetwork
from gatewright.lab import linux, rtnetlink
from gatewright.lab.addresses import GATEWAYS, NODE_ADDRESSES, SERVICE_CIDRS
from gatewright.lab.errors import LabError

OUTSIDE = "outside"
"""The name of the outside host: its link on the node, and what people call it."""
POD_LINK = "eth0"
_NODE_MAC = "ee:ee:ee:ee:ee:ee"
_SYSTEM = Path("/proc/sys/net")
_SWITCHES = {
    "ipv4/ip_forward": "1",
    "ipv4/icmp_ratelimit": "0",
    "ipv6/icmp/ratelimit": "0",
    "ipv4/conf/all/rp_filter": "0",
    "ipv4/conf/default/rp_filter": "0",
    "ipv4/conf/all/send_redirects": "0",
    "ipv4/conf/default/send_redirects": "0",
    "ipv6/conf/all/forwarding": "1",
    "ipv6/conf/default/forwarding": "1",
    "ipv6/conf/default/addr_gen_mode": "1",
}


def kernel_families() -> tuple[int, ...]:
    """The address families that this kernel has, 4 and maybe 6."""
    disabled = _SYSTEM / "ipv6/conf/all/disable_ipv6"
    try:
        return (4, 6) if disabled.read_text().strip() == "0" else (4,)
    except OSError:
        return (4,)


def pod_mac(address: IPAddress) -> str:
    """The MAC address of the host with this IPv4 address: locally administered, the rest is the address."""
    return ":".join(f"{byte:02x}" for byte in (0x02, 0x47, *address.packed[-4:]))


class NodeNetwork:
    """The network of the node, in the calling process' own network namespace."""

    def __init__(self, families: Iterable[int]) -> None:
        self._families = tuple(families)
        self._own = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        self._netlink = rtnetlink.Netlink()

    def set_up(self) -> None:
        """Give the node its addresses, and make it forward. Raises LabError where the machine does not let it."""
        for name, value in _SWITCHES.items():
            _switch(name, value)
        self._netlink.run([rtnetlink.link_up("lo")])
        self._netlink.run(rtnetlink.address("lo", address) for address in self._of_family(NODE_ADDRESSES))
        for network in SERVICE_CIDRS:
            if network.version in self._families:
                source = next(address for address in NODE_ADDRESSES if address.version == network.version)
                self._netlink.run([rtnetlink.route("lo", network, source=source)])

    def attach(self, link: str, pid: int, addresses: Iterable[IPAddress]) -> None:
        """Connect the network namespace of a process by a link of this name, with these addresses inside."""
        inside = self._of_family(addresses)
        mac = pod_mac(inside[0])
        self._netlink.run([rtnetlink.veth(link, _NODE_MAC, POD_LINK, mac, pid)])
        for address in inside:
            self._netlink.run(
                [rtnetlink.route(link, ipaddress.ip_network(address)), rtnetlink.neighbour(link, address, mac)]
            )
        with self._inside(pid):
            netlink = rtnetlink.Netlink()
            netlink.run([rtnetlink.link_up("lo"), rtnetlink.link_up(POD_LINK)])
            for address in inside:
                gateway = GATEWAYS[address.version]
                everything: IPNetwork = ipaddress.ip_network("0.0.0.0/0" if address.version == 4 else "::/0")
                netlink.run(
                    [
                        rtnetlink.address(POD_LINK, address),
                        rtnetlink.neighbour(POD_LINK, gateway, _NODE_MAC),
                        rtnetlink.route(POD_LINK, everything, gateway=gateway, source=address),
                    ]
                )
            netlink.close()

    def detach(self, link: str) -> None:
        """Take a pod's link away; none is no error (the pod's namespace may be gone already)."""
        with contextlib.suppress(OSError):
            self._netlink.run([rtnetlink.link_delete(link)])

    def _of_family(self, addresses: Iterable[IPAddress]) -> list[IPAddress]:
        return [address for address in addresses if address.version in self._families]

    @contextlib.contextmanager
    def _inside(self, pid: int) -> Iterator[None]:
        descriptor = os.pidfd_open(pid)
        try:
            linux.setns(descriptor, linux.NEWNET)
            yield
        finally:
            linux.setns(self._own, linux.NEWNET)
            os.close(descriptor)


def _switch(name: str, value: str) -> None:
    path = _SYSTEM / name
    try:
        if path.exists() and path.read_text().strip() != value:
            path.write_text(value)
    except OSError as error:
        raise LabError(f"cannot set {path} to {value} ({error.strerror}); is /proc/sys read-only here?") from error
