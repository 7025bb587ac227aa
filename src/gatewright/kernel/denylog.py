"""Denied packets, as the program's log rules hand them to an NFLOG group: from whom, to whom, which port, and why.

The kernel copies the head of a packet with the rule's prefix (`denial.py`) into a netlink message; here it becomes a
`Denied`. One reader has a group at a time. Nothing waits for the reader: what it does not read in time is lost and
counted, and the packets themselves are dropped as ever.

Parsing is pure, and takes whatever comes: a packet that is cut off or strange has no ports, never an error.
Wire format: linux/netfilter/nfnetlink_log.h; RFC 791, RFC 8200 (extension headers), RFC 4302 (length of AH).
"""

from __future__ import annotations

import errno
import ipaddress
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from gatewright.engine.addresses import IPAddress
from gatewright.engine.model import Direction
from gatewright.kernel.denial import read_prefix
from gatewright.kernel.errors import KernelError, NetlinkFailed, NotPermitted
from gatewright.kernel.netlink import NETLINK_NETFILTER, Listener, Message, attribute, attributes
from gatewright.kernel.text import LOGGED_AT_ONCE, LOGGED_BYTES

_PACKET, _CONFIGURE = 4 << 8, 4 << 8 | 1
_COMMAND, _MODE, _BUFFER_SIZE, _TIMEOUT, _THRESHOLD, _FLAGS = 1, 2, 3, 4, 5, 6
_BIND, _COPY_PACKET, _NUMBERED = 1, 2, 1
_KERNEL_BUFFER = 16384
"""Bytes in which the kernel collects messages before it hands them over."""
_HUNDREDTHS = 10
"""After how many hundredths of a second it hands over what it has."""
_BUFFER = 2 << 20
_TIME, _IN_LINK, _OUT_LINK, _PAYLOAD, _PREFIX, _NUMBER = 3, 4, 5, 9, 10, 12
_READERS = Path("/proc/thread-self/net/netfilter/nfnetlink_log")
_TCP, _UDP, _ICMP, _ICMP6, _DCCP, _SCTP, _UDP_LITE = 6, 17, 1, 58, 33, 132, 136
_WITH_PORTS = frozenset({_TCP, _UDP, _DCCP, _SCTP, _UDP_LITE})
_HOP_BY_HOP, _ROUTING, _FRAGMENT, _AUTHENTICATION, _OPTIONS = 0, 43, 44, 51, 60
_EXTENSIONS = frozenset({_HOP_BY_HOP, _ROUTING, _FRAGMENT, _AUTHENTICATION, _OPTIONS})
_MOST_EXTENSIONS = 16


class LogInUse(KernelError):
    """Somebody else reads the NFLOG group."""


@dataclass(frozen=True, slots=True)
class Packet:
    """Who sent what to whom, as far as a packet's head says. None: the protocol has no such thing, or it is cut off."""

    source: IPAddress
    destination: IPAddress
    protocol: int
    source_port: int | None = None
    port: int | None = None
    icmp_type: int | None = None
    icmp_code: int | None = None


@dataclass(frozen=True, slots=True)
class Denied:
    """A packet that was denied; with `audit` one that would have been.

    `where` is the class that denied it, as `names.log_name` writes it, or for a guard the direction; `why` is `policy`,
    a stage of a cluster tier (`admin0`, `baseline1`), `spoofed` or `unknown`. `time` is in seconds since the epoch;
    links are interface indexes, None where there is none.
    """

    direction: Direction
    where: str
    why: str
    audit: bool
    packet: Packet
    time: float
    in_link: int | None
    out_link: int | None


class DenyLog:
    """The reader of one group, in the network namespace of the thread that makes it. For a selector; a context manager.

    `lost` counts denied packets that were logged and could not be read in time; `strange` those that no rule of ours
    logged, or that are not IP.
    """

    def __init__(self, group: int, clock: Callable[[], float] = time.time) -> None:
        """Raises LogInUse, NotPermitted or NetlinkFailed."""
        self.lost = self.strange = 0
        self._clock = clock
        self._next = 0
        self._listener = Listener(NETLINK_NETFILTER, _BUFFER)
        try:
            _bind(self._listener, group)
        except BaseException:
            self._listener.close()
            raise
        self._listener.listen()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def fileno(self) -> int:
        """The descriptor that becomes readable when packets were denied."""
        return self._listener.fileno()

    def close(self) -> None:
        """Frees the group."""
        self._listener.close()

    def read(self, most: int = 1000) -> list[Denied]:
        """What was denied since, without waiting: all of it, or about `most`; the rest comes with the next call."""
        found: list[Denied] = []
        while len(found) < most:
            received = self._listener.receive()
            if received is None:
                continue  # how many were lost shows in the number of the next message
            if not received:
                break
            found += [denied for message in received if (denied := self._take(message)) is not None]
        return found

    def _take(self, message: Message) -> Denied | None:
        if message.kind != _PACKET:
            return None
        found = attributes(message.body[4:])
        number = found.get(_NUMBER)
        if number is not None:
            value = int.from_bytes(number, "big")
            self.lost += (value - self._next) & 0xFFFFFFFF
            self._next = value + 1
        denied = parse(found, self._clock)
        self.strange += denied is None
        return denied


def parse(found: dict[int, bytes], clock: Callable[[], float] = time.time) -> Denied | None:
    """What the attributes of a message say, None when no rule of ours logged it or it is not IP."""
    prefix = read_prefix(found.get(_PREFIX, b"").rstrip(b"\0").decode(errors="replace"))
    packet = parse_packet(found.get(_PAYLOAD, b""))
    if prefix is None or packet is None:
        return None
    seconds, micros = struct.unpack(">QQ", found[_TIME]) if len(found.get(_TIME, b"")) == 16 else (0, 0)
    when = seconds + micros / 1e6 if seconds else clock()
    links = (_index(found.get(_IN_LINK)), _index(found.get(_OUT_LINK)))
    return Denied(prefix.direction, prefix.where, prefix.why, prefix.audit, packet, when, *links)


def parse_packet(data: bytes) -> Packet | None:
    """What a packet's head says, None when it is no head of an IP packet."""
    version = data[0] >> 4 if data else 0
    if version == 4 and len(data) >= 20:
        later_fragment = int.from_bytes(data[6:8], "big") & 0x1FFF
        rest = b"" if later_fragment else data[(data[0] & 15) * 4 :]
        return _packet(data[12:16], data[16:20], data[9], rest)
    if version == 6 and len(data) >= 40:
        protocol, rest = _past_extensions(data[6], data[40:])
        return _packet(data[8:24], data[24:40], protocol, rest)
    return None


def _past_extensions(protocol: int, data: bytes) -> tuple[int, bytes]:
    """The protocol behind IPv6 extension headers, and its header as far as it is there."""
    for _ in range(_MOST_EXTENSIONS):
        if protocol not in _EXTENSIONS or len(data) < 8:
            break
        later_fragment = protocol == _FRAGMENT and int.from_bytes(data[2:4], "big") >> 3
        if protocol == _FRAGMENT:
            length = 8
        elif protocol == _AUTHENTICATION:
            length = (data[1] + 2) * 4
        else:
            length = (data[1] + 1) * 8
        protocol, data = data[0], data[length:]
        if later_fragment:
            return protocol, b""
    return protocol, data


def _packet(source: bytes, destination: bytes, protocol: int, data: bytes) -> Packet:
    ends = ipaddress.ip_address(source), ipaddress.ip_address(destination)
    if protocol in _WITH_PORTS and len(data) >= 4:
        return Packet(*ends, protocol, *struct.unpack_from(">HH", data))
    if protocol in (_ICMP, _ICMP6) and len(data) >= 2:
        return Packet(*ends, protocol, icmp_type=data[0], icmp_code=data[1])
    return Packet(*ends, protocol)


def _index(data: bytes | None) -> int | None:
    return int.from_bytes(data, "big") if data else None


def _bind(listener: Listener, group: int) -> None:
    """Has the kernel show us the group's packets: their heads, numbered, few at once, soon."""
    header = struct.pack(">BBH", 0, 0, group)
    settings = (
        attribute(_COMMAND, struct.pack("=B", _BIND)),
        attribute(_MODE, struct.pack(">IBx", LOGGED_BYTES, _COPY_PACKET))
        + attribute(_BUFFER_SIZE, struct.pack(">I", _KERNEL_BUFFER))
        + attribute(_TIMEOUT, struct.pack(">I", _HUNDREDTHS))
        + attribute(_THRESHOLD, struct.pack(">I", LOGGED_AT_ONCE))
        + attribute(_FLAGS, struct.pack(">H", _NUMBERED)),
    )
    try:
        for setting in settings:
            listener.order(_CONFIGURE, header + setting)
    except (NotPermitted, OSError) as error:
        if isinstance(error, OSError) and error.errno != errno.EBUSY:
            raise NetlinkFailed(f"NFLOG group {group} cannot be read: {error.strerror}") from error
        reader = _reader(group)
        if reader is None:
            raise NotPermitted(f"read NFLOG group {group}") from error
        raise LogInUse(
            f"NFLOG group {group} is already read by another program (netlink port {reader}): "
            "end that program, or choose another group"
        ) from error


def _reader(group: int) -> int | None:
    """The netlink port, mostly the process id, of whoever reads the group."""
    try:
        lines = _READERS.read_text().splitlines()
    except OSError:
        return None
    return next((int(words[1]) for line in lines if (words := line.split()) and int(words[0]) == group), None)
