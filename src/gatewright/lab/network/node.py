"""The network of a node from within: its addresses and switches, and the links of its pods."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable

from gatewright.engine.addresses import IPAddress
from gatewright.lab.network.links import HOST_LINK, attach
from gatewright.lab.network.namespaces import inside
from gatewright.lab.network.plan import (
    FABRIC_ADDRESSES,
    FABRIC_NETWORKS,
    everything,
    mac_of,
    node_addresses,
    of_families,
)
from gatewright.lab.network.rtnetlink import (
    Netlink,
    Request,
    address,
    group_delete,
    link_group,
    link_up,
    neighbour,
    neighbour_delete,
    of_process,
    route,
)
from gatewright.lab.network.switches import route_packets

_LEAVING = 71
"""The group of the links that are taken away; no other link is in it."""


class NodeNetwork:
    """The network of the node, in the network namespace of the thread that makes this."""

    def __init__(self, families: Iterable[int]) -> None:
        self._families = tuple(families)
        self._netlink = Netlink()

    def set_up(self) -> None:
        """Make the node a router. Raises LabError where the machine does not let it, and OSError."""
        route_packets()
        self._netlink.run([link_up("lo")])

    def join(self, number: int) -> None:
        """Give the node its addresses on the link to the fabric, which is there. Raises OSError."""
        self._netlink.run([link_up(HOST_LINK)])
        link = self._netlink.index(HOST_LINK)
        addresses = node_addresses(number, self._families)
        self._netlink.run(request for own in addresses for request in _joined(link, own))
        self._netlink.settle(HOST_LINK, addresses)

    def meet(self, number: int) -> None:
        """Know another node of the fabric, without having to ask for it. Raises OSError."""
        link = self._netlink.index(HOST_LINK)
        self._netlink.run(met(link, number, self._families))

    def forget(self, number: int) -> None:
        """The reverse; one that is not known is no error."""
        with contextlib.suppress(OSError):
            link = self._netlink.index(HOST_LINK)
            self._netlink.run(neighbour_delete(link, one) for one in node_addresses(number, self._families))

    def attach(self, link: str, pid: int, addresses: Iterable[IPAddress]) -> None:
        """Connect the network namespace of a process by a link of this name, with these addresses inside.

        Raises OSError naming what the kernel refused; the link may stand then: `detach` it.
        """
        process = os.pidfd_open(pid)
        try:
            with inside(process):
                there = Netlink()
        finally:
            os.close(process)
        with there:
            attach(self._netlink, link, there, of_process(pid), of_families(addresses, self._families))

    def detach(self, *links: str) -> None:
        """Take pods' links away, many as fast as one. None is no error (the pod's namespace may be gone already)."""
        for request in (*(link_group(link, _LEAVING) for link in links), group_delete(_LEAVING)):
            with contextlib.suppress(OSError):
                self._netlink.run([request])

    def close(self) -> None:
        """Let go of the namespace."""
        self._netlink.close()


def met(link: int, number: int, families: Iterable[int]) -> Iterable[Request]:
    """A node as a neighbour on the fabric."""
    addresses = node_addresses(number, families)
    return (neighbour(link, one, mac_of(addresses[0])) for one in addresses)


def _joined(link: int, own: IPAddress) -> Iterable[Request]:
    (router,) = (one for one in FABRIC_ADDRESSES if one.version == own.version)
    (network,) = (one for one in FABRIC_NETWORKS if one.version == own.version)
    yield address(link, own, network.prefixlen)
    yield neighbour(link, router, mac_of(FABRIC_ADDRESSES[0]))
    yield route(link, everything(own.version), router, own)
