"""Ends connections that a change of policy forbids, by marking their conntrack entries.

Deleting an entry ends nothing: the next packet of either side makes a new one (`nf_conntrack_tcp_loose`), a packet of
the answering side one with the roles exchanged. So the entry stays and carries one bit of the connection mark, on which
the program's first rule answers with a TCP reset or silence. All other bits belong to others and are never changed.

A connection is judged as policies see it: from the address that opened it (before source translation) to the address
that answers (after destination translation). Call `revoke` after every change of the program. A connection whose first
packet passed the old program in the very moment of the change may enter the table after it was read: the next call
sees it.
"""

from __future__ import annotations

import errno
import ipaddress
import struct
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from gatewright.engine.addresses import IPAddress
from gatewright.kernel.errors import NetlinkFailed
from gatewright.kernel.netlink import ACK, DUMP, NETLINK_NETFILTER, Netlink, attribute, attributes
from gatewright.kernel.options import Options

_NEW, _GET = 1 << 8, 1 << 8 | 1
_ORIGINAL, _REPLY, _STATUS, _MARK, _ZONE, _MARK_MASK = 1, 2, 3, 8, 18, 21
_ADDRESSES, _PROTOCOL = 1, 2
_NUMBER, _SOURCE_PORT, _DESTINATION_PORT = 1, 2, 3
_EXPECTED = 1
"""Bit of the status (IPS_EXPECTED): the connection belongs to another, as FTP data does."""
_DUMP_ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class Way:
    """One direction of a connection. Ports are 0 for protocols without."""

    source: IPAddress
    destination: IPAddress
    source_port: int
    destination_port: int


@dataclass(frozen=True, slots=True)
class Flow:
    """One conntrack entry. `original` is how its first packet came in, `reply` what answers look like."""

    protocol: int
    original: Way
    reply: Way
    mark: int
    related: bool
    key: bytes
    """The attributes by which the kernel finds the entry again."""

    @property
    def source(self) -> IPAddress:
        """Who opened it."""
        return self.original.source

    @property
    def destination(self) -> IPAddress:
        """Who answers, after destination translation."""
        return self.reply.source

    @property
    def port(self) -> int:
        """The destination's port, after destination translation."""
        return self.reply.source_port


@dataclass(frozen=True, slots=True)
class Revocation:
    """What a call of `revoke` did: connections ended, connections that may go on again, connections judged."""

    revoked: int
    restored: int
    judged: int


def revoke(
    allowed: Callable[[Flow], bool],
    *,
    pods: Collection[IPAddress],
    node: Collection[IPAddress] = (),
    mask: int = Options().revoked_mask,
) -> Revocation:
    """Marks every connection of the node's `pods` that `allowed` denies; takes the mark from those it allows.

    Connections opened by an address in `node`, the node's own, are always allowed: the API exempts them. A related
    connection lives as long as it likes: it was allowed by the one it belongs to. Raises NotPermitted, NetlinkFailed.
    """
    pods, node = frozenset(pods), frozenset(node)
    revoked = restored = judged = 0
    with Netlink(NETLINK_NETFILTER) as netlink:
        for flow in flows():
            if flow.related or not (flow.source in pods or flow.destination in pods):
                continue
            judged += 1
            keep, marked = flow.source in node or allowed(flow), flow.mark & mask == mask
            if keep == marked and _set_mark(netlink, flow, 0 if keep else mask, mask):
                restored += keep
                revoked += not keep
    return Revocation(revoked, restored, judged)


def flows() -> tuple[Flow, ...]:
    """Every entry of the calling thread's network namespace. The table may change meanwhile; then it is read again."""
    for _ in range(_DUMP_ATTEMPTS):
        try:
            return tuple(_dump())
        except OSError as error:
            if error.errno != errno.EINTR:
                raise NetlinkFailed(f"connection tracking cannot be read: {error.strerror}") from error
    raise NetlinkFailed("connection tracking changes faster than it can be read; try again")


def _set_mark(netlink: Netlink, flow: Flow, value: int, mask: int) -> bool:
    """Sets the masked bits of the entry's mark. Whether the entry was still there."""
    change = attribute(_MARK, struct.pack(">I", value)) + attribute(_MARK_MASK, struct.pack(">I", mask))
    try:
        for _ in netlink.request(_NEW, ACK, _header(flow.source.version) + flow.key + change):
            pass
    except OSError as error:
        if error.errno == errno.ENOENT:
            return False
        raise NetlinkFailed(f"a connection's mark cannot be set: {error.strerror}") from error
    return True


def _header(version: int) -> bytes:
    return struct.pack("=BBH", {0: 0, 4: 2, 6: 10}[version], 0, 0)


def _dump() -> Iterator[Flow]:
    with Netlink(NETLINK_NETFILTER) as netlink:
        for answer in netlink.request(_GET, DUMP, _header(0)):
            yield _flow(attributes(answer[4:]))


def _flow(entry: dict[int, bytes]) -> Flow:
    protocol, original = _way(entry[_ORIGINAL])
    _, reply = _way(entry[_REPLY])
    key = attribute(_ORIGINAL | 0x8000, entry[_ORIGINAL])
    if _ZONE in entry:
        key += attribute(_ZONE, entry[_ZONE])
    status = int.from_bytes(entry.get(_STATUS, b""), "big")
    mark = int.from_bytes(entry.get(_MARK, b""), "big")
    return Flow(protocol, original, reply, mark, bool(status & _EXPECTED), key)


def _way(data: bytes) -> tuple[int, Way]:
    parts = attributes(data)
    source, destination = (ipaddress.ip_address(raw) for _, raw in sorted(attributes(parts[_ADDRESSES]).items()))
    detail = attributes(parts[_PROTOCOL])
    ports = (int.from_bytes(detail.get(kind, b""), "big") for kind in (_SOURCE_PORT, _DESTINATION_PORT))
    return detail[_NUMBER][0], Way(source, destination, *ports)
