"""The link between a router's namespace and one host behind it: a pod, or the outside host.

Routed, not bridged: each host hangs on its own veth pair with a full-length address, a link-local next hop and
permanent neighbours on both sides, so that every packet from or to it passes its router's `forward` hook, and no ARP or
neighbour discovery can race with the first packet. MTU is the veth's own, 1,500 bytes, as everywhere in a lab.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from gatewright.engine.addresses import IPAddress
from gatewright.lab.network.plan import GATEWAYS, everything, mac_of
from gatewright.lab.network.rtnetlink import End, Netlink, address, link_up, neighbour, route, veth

HOST_LINK = "eth0"
"""What every host and every node calls its link."""
_ROUTER_MAC = "ee:ee:ee:ee:ee:ee"


def attach(here: Netlink, link: str, there: Netlink, where: bytes, addresses: Sequence[IPAddress]) -> None:
    """Connect a host: `link` here, `eth0` with these addresses there.

    `where` says to `rtnetlink.veth` the same place as the socket `there`. Raises OSError, naming what was refused.
    """
    mac = mac_of(addresses[0])
    here.run([veth(End(link, _ROUTER_MAC), End(HOST_LINK, mac), where)])
    near = here.index(link)
    here.run(
        request for own in addresses for request in (route(near, ipaddress.ip_network(own)), neighbour(near, own, mac))
    )
    there.run([link_up("lo"), link_up(HOST_LINK)])
    far = there.index(HOST_LINK)
    there.run(
        request
        for own in addresses
        for request in (
            address(far, own),
            neighbour(far, GATEWAYS[own.version], _ROUTER_MAC),
            route(far, everything(own.version), GATEWAYS[own.version], own),
        )
    )
    here.settle(link)
    there.settle(HOST_LINK, addresses)
