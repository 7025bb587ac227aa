"""Links, addresses, routes and neighbours of the lab, by raw rtnetlink.

Fifty pods need some five hundred changes; as `ip` processes they would cost more than everything else in `lab up`
together, and `ip -batch` cannot reach into a pod's network namespace without a process each. A `Netlink` is a socket
of the namespace it was opened in; `run` sends a batch of requests and raises on the first that the kernel refuses.
Wire format: rtnetlink(7), linux/rtnetlink.h, linux/if_link.h; the framing is `kernel/netlink.py`'s.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass

from gatewright.engine.addresses import IPAddress, IPNetwork
from gatewright.kernel.netlink import ACK, NETLINK_ROUTE, REQUEST, attribute, messages, pack

_NEWLINK, _DELLINK, _NEWADDR, _NEWROUTE, _NEWNEIGH = 16, 17, 20, 24, 28
_REPLACE, _EXCL, _CREATE = 0x100, 0x200, 0x400
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_LINKINFO, _IFLA_NET_NS_PID = 1, 3, 18, 19
_IFLA_INFO_KIND, _IFLA_INFO_DATA, _VETH_INFO_PEER = 1, 2, 1
_IFA_ADDRESS, _IFA_LOCAL, _IFA_FLAGS, _IFA_F_NODAD = 1, 2, 8, 0x02
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PREFSRC = 1, 4, 5, 7
_NDA_DST, _NDA_LLADDR, _NUD_PERMANENT = 1, 2, 0x80
_IFF_UP, _RT_TABLE_MAIN, _RTPROT_STATIC, _RTN_UNICAST, _RTNH_F_ONLINK = 1, 254, 4, 1, 4
_SCOPE_UNIVERSE, _SCOPE_LINK = 0, 253
_BATCH = 32


@dataclass(frozen=True, slots=True)
class Request:
    """One change: message type, flags, body, and what it is about (for the error)."""

    kind: int
    flags: int
    body: bytes
    what: str


def _number(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("=I", value))


def _name(name: str) -> bytes:
    return attribute(_IFLA_IFNAME, name.encode() + b"\0")


def _mac(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def _family(address: IPAddress | IPNetwork) -> int:
    return socket.AF_INET if address.version == 4 else socket.AF_INET6


_LINK_DOWN = struct.pack("=BxHiII", socket.AF_UNSPEC, 0, 0, 0, 0)
_LINK_UP = struct.pack("=BxHiII", socket.AF_UNSPEC, 0, 0, _IFF_UP, _IFF_UP)


def veth(name: str, mac: str, peer: str, peer_mac: str, peer_pid: int) -> Request:
    """A veth pair: `name` here, up, and `peer` in a process' network namespace, down (it cannot come up first)."""
    far = _LINK_DOWN + _name(peer) + attribute(_IFLA_ADDRESS, _mac(peer_mac)) + _number(_IFLA_NET_NS_PID, peer_pid)
    info = attribute(_IFLA_INFO_KIND, b"veth\0") + attribute(_IFLA_INFO_DATA, attribute(_VETH_INFO_PEER, far))
    near = _LINK_UP + _name(name) + attribute(_IFLA_ADDRESS, _mac(mac))
    return Request(_NEWLINK, _CREATE | _EXCL, near + attribute(_IFLA_LINKINFO, info), f"link {name}")


def link_up(name: str) -> Request:
    """Bring a link up."""
    return Request(_NEWLINK, 0, _LINK_UP + _name(name), f"link {name}")


def link_delete(name: str) -> Request:
    """Remove a link (and its peer)."""
    return Request(_DELLINK, 0, _LINK_DOWN + _name(name), f"link {name}")


def address(link: str, value: IPAddress) -> Request:
    """Give a link one address of full prefix length; no duplicate address detection."""
    head = struct.pack("=BBBBI", _family(value), value.max_prefixlen, 0, _SCOPE_UNIVERSE, socket.if_nametoindex(link))
    body = head + attribute(_IFA_LOCAL, value.packed) + attribute(_IFA_ADDRESS, value.packed)
    flags = _number(_IFA_FLAGS, _IFA_F_NODAD) if value.version == 6 else b""
    return Request(_NEWADDR, _CREATE | _REPLACE, body + flags, f"address {value} on {link}")


def route(link: str, network: IPNetwork, gateway: IPAddress | None = None, source: IPAddress | None = None) -> Request:
    """A route through a link; a gateway is taken as reachable there (onlink)."""
    scope = _SCOPE_UNIVERSE if gateway or network.version == 6 else _SCOPE_LINK
    flags = _RTNH_F_ONLINK if gateway else 0
    head = struct.pack(
        "=BBBBBBBBI",
        *(_family(network), network.prefixlen, 0, 0, _RT_TABLE_MAIN, _RTPROT_STATIC, scope, _RTN_UNICAST, flags),
    )
    body = head + _number(_RTA_OIF, socket.if_nametoindex(link))
    if network.prefixlen:
        body += attribute(_RTA_DST, network.network_address.packed)
    if gateway:
        body += attribute(_RTA_GATEWAY, gateway.packed)
    if source:
        body += attribute(_RTA_PREFSRC, source.packed)
    return Request(_NEWROUTE, _CREATE | _REPLACE, body, f"route to {network} through {link}")


def neighbour(link: str, value: IPAddress, mac: str) -> Request:
    """A permanent neighbour, so that no ARP or neighbour discovery is needed."""
    head = struct.pack("=BxHiHBB", _family(value), 0, socket.if_nametoindex(link), _NUD_PERMANENT, 0, 0)
    body = head + attribute(_NDA_DST, value.packed) + attribute(_NDA_LLADDR, _mac(mac))
    return Request(_NEWNEIGH, _CREATE | _REPLACE, body, f"neighbour {value} on {link}")


class Netlink:
    """An rtnetlink socket of the network namespace in which it was made."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_ROUTE)
        self._socket.bind((0, 0))
        self._sequence = 0

    def run(self, requests: Iterable[Request]) -> None:
        """Carry out the requests in order. Raises OSError naming the first that was refused (later ones may stand)."""
        waiting = list(requests)
        for start in range(0, len(waiting), _BATCH):
            self._send(waiting[start : start + _BATCH])

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

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
