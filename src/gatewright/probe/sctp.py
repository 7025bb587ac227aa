"""SCTP by hand, for kernels without it: one INIT chunk out, and what comes back to it. RFC 9260.

INIT ACK means that a server would take the association, ABORT that nobody listens; either has got through. Nothing is
sent afterwards: an association that goes no further than that binds nobody to anything.
"""

from __future__ import annotations

import struct

PROTOCOL = 132
"""Its number in an IP packet."""
INIT, INIT_ACK, ABORT = 1, 2, 6
_HEAD = struct.Struct("!HHI4s")
_CHUNK = struct.Struct("!BBH")
_INIT = struct.Struct("!IIHHI")
_WINDOW, _STREAMS = 1 << 16, 1
_POLYNOMIAL = 0x82F63B78


def _table() -> tuple[int, ...]:
    values = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (_POLYNOMIAL if value & 1 else 0)
        values.append(value)
    return tuple(values)


_CRC = _table()


def checksum(packet: bytes) -> bytes:
    """The CRC32c of a packet whose own checksum counts as zero (appendix A), as it stands in the packet."""
    value = 0xFFFFFFFF
    for byte in packet[:8] + bytes(4) + packet[12:]:
        value = value >> 8 ^ _CRC[(value ^ byte) & 255]
    return struct.pack("<I", value ^ 0xFFFFFFFF)


def init(source: int, destination: int, tag: int) -> bytes:
    """The packet that asks for an association between two ports; `tag` (not 0) comes back with every answer."""
    body = _INIT.pack(tag, _WINDOW, _STREAMS, _STREAMS, tag)
    packet = _HEAD.pack(source, destination, 0, bytes(4)) + _CHUNK.pack(INIT, 0, _CHUNK.size + len(body)) + body
    return packet[:8] + checksum(packet) + packet[12:]


def answer_to(asked: bytes, packet: bytes) -> int | None:
    """INIT_ACK or ABORT where a packet answers an INIT of ours, None where it is something else."""
    if len(packet) < _HEAD.size + _CHUNK.size:
        return None
    source, destination, tag, _ = _HEAD.unpack_from(packet)
    own_source, own_destination, _, _ = _HEAD.unpack_from(asked)
    (own_tag,) = struct.unpack_from("!I", asked, _HEAD.size + _CHUNK.size)
    if (source, destination, tag) != (own_destination, own_source, own_tag):
        return None
    kind = packet[_HEAD.size]
    return kind if kind in (INIT_ACK, ABORT) else None
