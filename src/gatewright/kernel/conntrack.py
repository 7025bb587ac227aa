"""Ends connections that a change of policy forbids, by marking their conntrack entries.

Deleting an entry ends nothing: the next packet of either side makes a new one (`nf_conntrack_tcp_loose`), a packet of
the answering side one with the roles exchanged. So the entry stays and carries one bit of the connection mark, on which
the program's first rule answers with a TCP reset or silence. All other bits belong to others and are never changed.

A connection is judged as policies see it: from the address that opened it (before source translation) to the address
that answers (after destination translation). Call `revoke` after every change of the program that can forbid something,
for the pods that it can forbid something to (`NodeProgram.affected`). A connection whose first packet passed the old
program in the very moment of the change may enter the table after it was read: the next call sees it, so a second one
shortly after leaves none. In an audit nothing may be forbidden, and `revoke` is not called.

A busy node tracks a hundred thousand connections, most of them of nobody who is asked about. Their entries are put
aside by two addresses at fixed places of the message, before anything of them is decoded.

A full table is the kernel's to drop packets over, and ours to say (`table_use`).
"""

from __future__ import annotations

import errno
import ipaddress
import struct
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass

from gatewright.engine.addresses import IPAddress
from gatewright.kernel.errors import NetlinkFailed
from gatewright.kernel.netlink import NESTED, NETLINK_NETFILTER, Netlink, attribute, attributes, dump
from gatewright.kernel.options import Options

_NEW, _GET, _DELETE, _GET_CPU_STATISTICS, _GET_STATISTICS = (1 << 8 | number for number in (0, 1, 2, 4, 5))
_ORIGINAL, _REPLY, _STATUS, _MARK, _ZONE, _MARK_MASK = 1, 2, 3, 8, 18, 21
_ADDRESSES, _PROTOCOL = 1, 2
_NUMBER, _SOURCE_PORT, _DESTINATION_PORT = 1, 2, 3
_EXPECTED = 1
"""Bit of the status (IPS_EXPECTED): the connection belongs to another, as FTP data does."""
_ENTRIES, _MOST_ENTRIES = 1, 2
_INSERT_FAILED, _DROPPED, _EARLY_DROPPED = 9, 10, 11
_SOURCE_ADDRESS = {2: (4, 1), 10: (16, 3)}
"""Size and attribute of a source address, by family."""
_PROTOCOL_PLACE = {2: 36, 10: 60}
"""Where the protocol of the first tuple stands in an answer, by family."""
_PROTOCOL_HEAD = struct.pack("=HH", 5, _NUMBER)
_HEADS = struct.Struct("=HHxxHxxH")
"""Length and kind of a tuple, kind of what it begins with, kind of what that begins with: a source address."""


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
    """What a call of `revoke` did: connections ended, that may go on again, judged, and that are marked now."""

    revoked: int
    restored: int
    judged: int
    marked: int


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
    revoked = restored = judged = ended = 0
    with Netlink(NETLINK_NETFILTER) as netlink:
        for flow in flows(pods):
            if flow.related:
                continue
            judged += 1
            keep, marked = flow.source in node or allowed(flow), flow.mark & mask == mask
            if keep == marked and _set_mark(netlink, flow, 0 if keep else mask, mask):
                restored += keep
                revoked += not keep
            ended += not keep
    return Revocation(revoked, restored, judged, ended)


def forget_marks(mask: int = Options().revoked_mask) -> int:
    """Takes the mark of ended connections from all that have it; from how many. Raises NotPermitted, NetlinkFailed."""
    with Netlink(NETLINK_NETFILTER) as netlink:
        return sum(_set_mark(netlink, flow, 0, mask) for flow in flows() if flow.mark & mask == mask)


def forget(unwanted: Callable[[Flow], bool], protocol: int) -> int:
    """Deletes the entries of a protocol that are unwanted; how many. Raises NotPermitted, NetlinkFailed.

    For protocols without connections: the next packet begins anew, and destinations are translated as they now are.
    """
    entries = (_flow(attributes(answer[4:])) for answer in _ask(_GET, _header(0), _of_protocol(protocol)))
    gone = [flow for flow in entries if flow.protocol == protocol and unwanted(flow)]
    with Netlink(NETLINK_NETFILTER) as netlink:
        return sum(_delete(netlink, flow) for flow in gone)


def _of_protocol(protocol: int) -> Callable[[bytes], bool]:
    """Puts aside what is of another protocol, before it is decoded; what looks unusual is kept."""

    def keep(answer: bytes) -> bool:
        place = _PROTOCOL_PLACE.get(answer[0], 0)
        return answer[place - 4 : place] != _PROTOCOL_HEAD or answer[place] == protocol

    return keep


def _delete(netlink: Netlink, flow: Flow) -> bool:
    """Whether the entry was still there."""
    try:
        netlink.order(_DELETE, _header(flow.source.version) + flow.key)
    except OSError as error:
        if error.errno == errno.ENOENT:
            return False
        raise NetlinkFailed(f"a connection cannot be forgotten: {error.strerror}") from error
    return True


def flows(pods: Collection[IPAddress] | None = None) -> Iterator[Flow]:
    """The entries of the calling thread's network namespace that one of these pods opened or answers; None: all.

    Raises NotPermitted, NetlinkFailed.
    """
    keep = None if pods is None else _about(pods)
    for answer in _ask(_GET, _header(0), keep):
        yield _flow(attributes(answer[4:]))


@dataclass(frozen=True, slots=True)
class TableUse:
    """How full connection tracking is. The rest are packets, since the machine started, of all network namespaces' own.

    `dropped`: no place was left. `early_dropped`: an entry gave way to a new one. `insert_failed`: lost for any reason.
    """

    entries: int
    limit: int
    dropped: int
    early_dropped: int
    insert_failed: int

    @property
    def full(self) -> bool:
        """Whether new connections are being refused."""
        return self.entries >= self.limit


def table_use() -> TableUse:
    """How full connection tracking is, in the network namespace of the calling thread. Raises NetlinkFailed."""
    found = attributes(_table_statistics()[4:])
    entries, limit = (int.from_bytes(found[kind], "big") for kind in (_ENTRIES, _MOST_ENTRIES))
    processors = [attributes(answer[4:]) for answer in _ask(_GET_CPU_STATISTICS, _header(0))]
    totals = (_total(processors, kind) for kind in (_DROPPED, _EARLY_DROPPED, _INSERT_FAILED))
    return TableUse(entries, limit, *totals)


def _total(processors: Iterable[dict[int, bytes]], kind: int) -> int:
    return sum(int.from_bytes(found.get(kind, b""), "big") for found in processors)


def _table_statistics() -> bytes:
    try:
        with Netlink(NETLINK_NETFILTER) as netlink:
            return next(netlink.request(_GET_STATISTICS, 0, _header(0)))
    except OSError as error:
        raise _unreadable(error) from error


def _ask(kind: int, question: bytes, keep: Callable[[bytes], bool] | None = None) -> list[bytes]:
    try:
        return dump(NETLINK_NETFILTER, kind, question, keep)
    except OSError as error:
        raise _unreadable(error) from error


def _unreadable(error: OSError) -> NetlinkFailed:
    return NetlinkFailed(f"connection tracking cannot be read: {error.strerror}")


def _about(pods: Collection[IPAddress]) -> Callable[[bytes], bool]:
    wanted = frozenset(pod.packed for pod in pods)
    return lambda answer: not wanted.isdisjoint(_ends(answer))


def _ends(answer: bytes) -> tuple[bytes, bytes]:
    """The addresses of who opened a connection and who answers, from their places; decoded if they stand elsewhere."""
    size, kind = _SOURCE_ADDRESS.get(answer[0], (0, 0))
    length, *original = _HEADS.unpack_from(answer, 4)
    reply = 4 + (length + 3 & ~3)
    _, *answering = _HEADS.unpack_from(answer, reply)
    if original == [_ORIGINAL | NESTED, _ADDRESSES | NESTED, kind] and answering[0] == _REPLY | NESTED:
        first, second = 4 + _HEADS.size, reply + _HEADS.size
        return answer[first : first + size], answer[second : second + size]
    flow = _flow(attributes(answer[4:]))
    return flow.source.packed, flow.destination.packed


def _set_mark(netlink: Netlink, flow: Flow, value: int, mask: int) -> bool:
    """Sets the masked bits of the entry's mark. Whether the entry was still there."""
    change = attribute(_MARK, struct.pack(">I", value)) + attribute(_MARK_MASK, struct.pack(">I", mask))
    try:
        netlink.order(_NEW, _header(flow.source.version) + flow.key + change)
    except OSError as error:
        if error.errno == errno.ENOENT:
            return False
        raise NetlinkFailed(f"a connection's mark cannot be set: {error.strerror}") from error
    return True


def _header(version: int) -> bytes:
    return struct.pack("=BBH", {0: 0, 4: 2, 6: 10}[version], 0, 0)


def _flow(entry: dict[int, bytes]) -> Flow:
    protocol, original = _way(entry[_ORIGINAL])
    _, reply = _way(entry[_REPLY])
    key = attribute(_ORIGINAL | NESTED, entry[_ORIGINAL])
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
