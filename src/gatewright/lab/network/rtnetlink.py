"""Links, bridges, addresses, routes and neighbours of the lab, by raw rtnetlink.

Fifty pods need some five hundred changes; as `ip` processes they would cost more than everything else in `lab up`
together, and `ip -batch` cannot reach into a pod's network namespace without a process each. A `Netlink` is a socket
of the namespace it was opened in, wherever it is used later; `run` sends a batch of requests and raises on the first
that the kernel refuses. Links are named when they are made and known by index (`Netlink.index`) afterwards.
Wire format: rtnetlink(7), linux/rtnetlink.h, linux/if_link.h; the framing is `kernel/netlink.py`'s.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import struct
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from gatewright.engine.addresses import IPAddress, IPNetwork
from gatewright.kernel import netlink
from gatewright.kernel.netlink import ACK, DUMP, NESTED, NETLINK_ROUTE, REQUEST, attribute, attributes, messages, pack

STATIC = 4
"""Whose routes these are (RTPROT_STATIC): an administrator's."""

_NEWLINK, _DELLINK, _GETLINK, _SETLINK, _NEWADDR = 16, 17, 18, 19, 20
_NEWROUTE, _DELROUTE, _GETROUTE, _NEWNEIGH, _DELNEIGH = 24, 25, 26, 28, 29
_REPLACE, _EXCL, _CREATE = 0x100, 0x200, 0x400
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MASTER, _IFLA_PROTINFO, _IFLA_OPERSTATE, _IFLA_LINKINFO = 1, 3, 10, 12, 16, 18
_IFLA_NET_NS_PID, _IFLA_GROUP, _IFLA_NET_NS_FD = 19, 27, 28
_IFLA_INFO_KIND, _IFLA_INFO_DATA, _VETH_INFO_PEER = 1, 2, 1
_IFLA_BRPORT_STATE, _PORT_DISABLED, _PORT_FORWARDING = 1, 0, 3
_IFA_ADDRESS, _IFA_LOCAL, _IFA_FLAGS, _IFA_F_NODAD = 1, 2, 8, 0x02
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PREFSRC = 1, 4, 5, 7
_NDA_DST, _NDA_LLADDR, _NUD_PERMANENT = 1, 2, 0x80
_IFF_UP, _RT_TABLE_MAIN, _RTNH_F_ONLINK = 1, 254, 4
_RTN_UNSPEC, _RTN_UNICAST, _RTN_LOCAL, _RTN_UNREACHABLE = 0, 1, 2, 7
_SCOPE_UNIVERSE, _SCOPE_LINK, _SCOPE_ANY = 0, 253, 255
_LINK, _ADDRESS, _ROUTE = struct.Struct("=BxHiII"), struct.Struct("=BBBBI"), struct.Struct("=BBBBBBBBI")
_NEIGHBOUR = struct.Struct("=BxHiHBB")
_IF_OPER_UP = b"\6"
_BATCH = 32
_SETTLED_WITHIN = 5.0


@dataclass(frozen=True, slots=True)
class Request:
    """One change: message type, flags, body, and what it is about (for the error)."""

    kind: int
    flags: int
    body: bytes
    what: str


@dataclass(frozen=True, slots=True)
class End:
    """One end of a veth pair."""

    name: str
    mac: str


def _number(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("=I", value))


def _name(name: str) -> bytes:
    return attribute(_IFLA_IFNAME, name.encode() + b"\0")


def _mac(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def _kind(kind: str, data: bytes = b"") -> bytes:
    named = attribute(_IFLA_INFO_KIND, kind.encode() + b"\0")
    return attribute(_IFLA_LINKINFO, named + (attribute(_IFLA_INFO_DATA, data) if data else b""))


def _family(address: IPAddress | IPNetwork) -> int:
    return socket.AF_INET if address.version == 4 else socket.AF_INET6


_LINK_DOWN = _LINK.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
_LINK_UP = _LINK.pack(socket.AF_UNSPEC, 0, 0, _IFF_UP, _IFF_UP)


def of_process(pid: int) -> bytes:
    """For `veth`: the network namespace of a process."""
    return _number(_IFLA_NET_NS_PID, pid)


def of_descriptor(namespace: int) -> bytes:
    """For `veth`: the network namespace that a descriptor holds."""
    return _number(_IFLA_NET_NS_FD, namespace)


def veth(near: End, far: End, where: bytes, bridge: int | None = None) -> Request:
    """A veth pair: `near` here, up, a port of the bridge if one is given; `far` elsewhere, down (it cannot be up yet).

    `where` is what `of_process` or `of_descriptor` says.
    """
    other = _LINK_DOWN + _name(far.name) + attribute(_IFLA_ADDRESS, _mac(far.mac)) + where
    body = _LINK_UP + _name(near.name) + attribute(_IFLA_ADDRESS, _mac(near.mac))
    if bridge is not None:
        body += _number(_IFLA_MASTER, bridge)
    return Request(
        _NEWLINK, _CREATE | _EXCL, body + _kind("veth", attribute(_VETH_INFO_PEER, other)), f"link {near.name}"
    )


def bridge(name: str, mac: str) -> Request:
    """A bridge, up, without spanning tree: a port forwards as soon as it is up."""
    body = _LINK_UP + _name(name) + attribute(_IFLA_ADDRESS, _mac(mac)) + _kind("bridge")
    return Request(_NEWLINK, _CREATE | _EXCL, body, f"bridge {name}")


def port_forwards(link: int, forwards: bool) -> Request:
    """Let a port of a bridge forward or drop every frame in both directions; the link is up all the same."""
    state = attribute(_IFLA_BRPORT_STATE, bytes([_PORT_FORWARDING if forwards else _PORT_DISABLED]))
    body = _LINK.pack(socket.AF_BRIDGE, 0, link, 0, 0) + attribute(_IFLA_PROTINFO | NESTED, state)
    return Request(_SETLINK, 0, body, f"bridge port {link}")


def link_up(name: str) -> Request:
    """Bring a link up."""
    return Request(_NEWLINK, 0, _LINK_UP + _name(name), f"link {name}")


def link_delete(name: str) -> Request:
    """Remove a link (and its peer)."""
    return Request(_DELLINK, 0, _LINK_DOWN + _name(name), f"link {name}")


def link_group(name: str, group: int) -> Request:
    """Put a link into a group of links."""
    return Request(_NEWLINK, 0, _LINK_DOWN + _name(name) + _number(_IFLA_GROUP, group), f"link {name}")


def group_delete(group: int) -> Request:
    """Remove the links of a group at once: each alone would wait for a grace period of the kernel, some 20 ms."""
    return Request(_DELLINK, 0, _LINK_DOWN + _number(_IFLA_GROUP, group), f"links of group {group}")


def address(link: int, value: IPAddress, length: int | None = None) -> Request:
    """Give a link one address, of full prefix length unless another is given; no duplicate address detection."""
    length = value.max_prefixlen if length is None else length
    head = _ADDRESS.pack(_family(value), length, 0, _SCOPE_UNIVERSE, link)
    body = head + attribute(_IFA_LOCAL, value.packed) + attribute(_IFA_ADDRESS, value.packed)
    flags = _number(_IFA_FLAGS, _IFA_F_NODAD) if value.version == 6 else b""
    return Request(_NEWADDR, _CREATE | _REPLACE, body + flags, f"address {value}")


def route(
    link: int,
    network: IPNetwork,
    gateway: IPAddress | None = None,
    source: IPAddress | None = None,
    protocol: int = STATIC,
) -> Request:
    """A route through a link; a gateway is taken as reachable there (onlink)."""
    scope = _SCOPE_UNIVERSE if gateway or network.version == 6 else _SCOPE_LINK
    body = _route(network, protocol, scope, _RTN_UNICAST, _RTNH_F_ONLINK if gateway else 0) + _number(_RTA_OIF, link)
    if gateway:
        body += attribute(_RTA_GATEWAY, gateway.packed)
    if source:
        body += attribute(_RTA_PREFSRC, source.packed)
    return Request(_NEWROUTE, _CREATE | _REPLACE, body, f"route to {network}")


def unreachable(network: IPNetwork, protocol: int = STATIC) -> Request:
    """A route that refuses, with an ICMP error, what no longer prefix leads elsewhere."""
    body = _route(network, protocol, _SCOPE_UNIVERSE, _RTN_UNREACHABLE, 0)
    return Request(_NEWROUTE, _CREATE | _REPLACE, body, f"unreachable {network}")


def route_delete(network: IPNetwork, protocol: int = STATIC) -> Request:
    """Remove a route of this owner, whatever its kind."""
    return Request(_DELROUTE, 0, _route(network, protocol, _SCOPE_ANY, _RTN_UNSPEC, 0), f"route to {network}")


def _route(network: IPNetwork, protocol: int, scope: int, kind: int, flags: int) -> bytes:
    head = _ROUTE.pack(_family(network), network.prefixlen, 0, 0, _RT_TABLE_MAIN, protocol, scope, kind, flags)
    return head + (attribute(_RTA_DST, network.network_address.packed) if network.prefixlen else b"")


def neighbour(link: int, value: IPAddress, mac: str) -> Request:
    """A permanent neighbour, so that no ARP or neighbour discovery is needed."""
    body = _NEIGHBOUR.pack(_family(value), 0, link, _NUD_PERMANENT, 0, 0)
    body += attribute(_NDA_DST, value.packed) + attribute(_NDA_LLADDR, _mac(mac))
    return Request(_NEWNEIGH, _CREATE | _REPLACE, body, f"neighbour {value}")


def neighbour_delete(link: int, value: IPAddress) -> Request:
    """Remove a neighbour."""
    body = _NEIGHBOUR.pack(_family(value), 0, link, 0, 0, 0) + attribute(_NDA_DST, value.packed)
    return Request(_DELNEIGH, 0, body, f"neighbour {value}")


class Netlink(netlink.Netlink):
    """An rtnetlink socket of the network namespace in which it was made."""

    def __init__(self) -> None:
        super().__init__(NETLINK_ROUTE)

    def run(self, requests: Iterable[Request]) -> None:
        """Carry out the requests in order. Raises OSError naming the first that was refused (later ones may stand)."""
        waiting = list(requests)
        for start in range(0, len(waiting), _BATCH):
            self._send(waiting[start : start + _BATCH])

    def index(self, name: str) -> int:
        """The index of a link. Raises OSError (ENODEV) where there is none of this name."""
        return int(_LINK.unpack_from(self._link(name))[2])

    def settle(self, link: str, addresses: Iterable[IPAddress] = ()) -> None:
        """Wait until a link carries packets and addresses given to it take them: the kernel sees to both by and by.

        A link does once it and its other side have been brought up and the kernel's workers have been told; an IPv6
        address once its local route stands. Raises OSError (ETIMEDOUT).
        """
        _await(lambda: self._carries(link), f"link {link}")
        for value in addresses:
            _await(partial(self._is_local, value), f"address {value}")

    def routes(self, protocol: int) -> dict[IPNetwork, IPAddress | None]:
        """The routes of this owner in the main table: network to gateway, None for one that refuses."""
        found: dict[IPNetwork, IPAddress | None] = {}
        for body in self.request(_GETROUTE, DUMP, _ROUTE.pack(socket.AF_UNSPEC, *(0,) * 8)):
            _, length, _, _, table, owner, _, _, _ = _ROUTE.unpack_from(body)
            if owner == protocol and table == _RT_TABLE_MAIN:
                given = attributes(body[_ROUTE.size :])
                gateway = given.get(_RTA_GATEWAY)
                network = ipaddress.ip_network((given[_RTA_DST], length))
                found[network] = ipaddress.ip_address(gateway) if gateway else None
        return found

    def _carries(self, name: str) -> bool:
        return attributes(self._link(name)[_LINK.size :]).get(_IFLA_OPERSTATE) == _IF_OPER_UP

    def _is_local(self, value: IPAddress) -> bool:
        body = _ROUTE.pack(_family(value), value.max_prefixlen, *(0,) * 7) + attribute(_RTA_DST, value.packed)
        try:
            (found,) = self.request(_GETROUTE, 0, body)
        except OSError:  # no route at all yet
            return False
        return bool(_ROUTE.unpack_from(found)[7] == _RTN_LOCAL)

    def _link(self, name: str) -> bytes:
        try:
            (found,) = self.request(_GETLINK, 0, _LINK_DOWN + _name(name))
        except OSError as error:
            raise OSError(error.errno, error.strerror, f"link {name}") from error
        return found

    def _send(self, batch: list[Request]) -> None:
        first = self._sequence + 1
        data = b""
        for request in batch:
            self._sequence += 1
            data += pack(request.kind, REQUEST | ACK | request.flags, self._sequence, request.body)
        self._socket.send(data)
        errors: list[OSError] = []
        answered = 0
        while answered < len(batch):
            for answer in messages(self._socket.recv(65536)):
                answered += 1
                (error,) = struct.unpack_from("=i", answer.body)
                if error:
                    errors.append(OSError(-error, os.strerror(-error), batch[answer.sequence - first].what))
        if errors:
            raise errors[0]


def _await(holds: Callable[[], bool], what: str) -> None:
    until = time.monotonic() + _SETTLED_WITHIN
    while not holds():
        if time.monotonic() > until:
            raise OSError(errno.ETIMEDOUT, "it does not come up", what)
        time.sleep(0.001)
