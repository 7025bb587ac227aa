"""The routes of one owner in a network namespace, made to be exactly what is wanted.

What stands is read from the kernel, by the owner's number (`PROTOCOL`), not remembered: a component that was killed
takes over from itself, what somebody removed is put back, and what it did not make it does not touch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from gatewright.engine.addresses import IPAddress, IPNetwork
from gatewright.lab.network.rtnetlink import Netlink, Request, route, route_delete, unreachable

PROTOCOL = 71
"""Whose routes these are, as `ip route` shows it (`proto 71`); a number that linux/rtnetlink.h gives to nobody."""
Routes = Mapping[IPNetwork, IPAddress | None]
"""Range to gateway; None where packets are refused."""


class RouteTable:
    """The routes of this owner in the namespace of a socket, through a link."""

    def __init__(self, netlink: Netlink, link: str) -> None:
        self._netlink = netlink
        self._link = link

    def keep(self, wanted: Routes) -> bool:
        """Make them exactly these; whether anything had to be done. Raises OSError naming what was refused."""
        link = self._netlink.index(self._link)
        changes = list(_changes(self._netlink.routes(PROTOCOL), wanted, link))
        self._netlink.run(changes)
        return bool(changes)


def _changes(held: Routes, wanted: Routes, link: int) -> Iterable[Request]:
    """Removals first. What only changes is replaced in one step: it is never away."""
    for network in held.keys() - wanted.keys():
        yield route_delete(network, PROTOCOL)
    for network, gateway in wanted.items():
        if network in held and held[network] == gateway:
            continue
        yield unreachable(network, PROTOCOL) if gateway is None else route(link, network, gateway, protocol=PROTOCOL)
