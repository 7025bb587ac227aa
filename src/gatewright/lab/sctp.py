"""SCTP by hand, where the kernel has none: what asks for an association, and what answers. Pure; RFC 9260.

A stand-in answers INIT alone: by INIT ACK on a port that somebody declared (the state cookie is the line that says who
answers), by ABORT on any other. A probe asks by INIT, and hears INIT ACK where a server would take the association,
ABORT where nobody listens: either has got through. No association ever stands, and nobody is bound to anything.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

PROTOCOL = 132
"""Its number in an IP packet."""
INIT, INIT_ACK, ABORT = 1, 2, 6
COOKIE = 7
_HEAD = struct.Struct("!HHI")
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


def answer(packet: bytes, lines: Mapping[int, bytes], tag: int) -> bytes | None:
    """What to send back; `lines` are what the declared ports say, `tag` is a random number but 0. None: nothing."""
    if len(packet) < 12 + _CHUNK.size + _INIT.size or packet[8:12] != checksum(packet):
        return None
    source, destination, verification = _HEAD.unpack_from(packet)
    kind, _, length = _CHUNK.unpack_from(packet, 12)
    peer, *_ = _INIT.unpack_from(packet, 16)
    if kind != INIT or length < _CHUNK.size + _INIT.size or verification != 0 or peer == 0:
        return None
    line = lines.get(destination)
    chunk = _chunk(ABORT, b"") if line is None else _init_ack(line, tag)
    reply = _HEAD.pack(destination, source, peer) + bytes(4) + chunk
    return reply[:8] + checksum(reply) + reply[12:]


def init(source: int, destination: int, tag: int) -> bytes:
    """The packet that asks for an association between two ports; `tag` (not 0) comes back with every answer."""
    chunk = _chunk(INIT, _INIT.pack(tag, _WINDOW, _STREAMS, _STREAMS, tag))
    packet = _HEAD.pack(source, destination, 0) + bytes(4) + chunk
    return packet[:8] + checksum(packet) + packet[12:]


def answer_to(asked: bytes, packet: bytes) -> int | None:
    """INIT_ACK or ABORT where a packet answers an INIT of ours, None where it is something else."""
    if len(packet) < 12 + _CHUNK.size:
        return None
    source, destination, tag = _HEAD.unpack_from(packet)
    own_source, own_destination, _ = _HEAD.unpack_from(asked)
    (own_tag,) = struct.unpack_from("!I", asked, 12 + _CHUNK.size)
    if (source, destination, tag) != (own_destination, own_source, own_tag):
        return None
    kind = packet[12]
    return kind if kind in (INIT_ACK, ABORT) else None


def _init_ack(line: bytes, tag: int) -> bytes:
    cookie = struct.pack("!HH", COOKIE, 4 + len(line)) + line + bytes(-len(line) % 4)
    return _chunk(INIT_ACK, _INIT.pack(tag, _WINDOW, _STREAMS, _STREAMS, tag) + cookie)


def _chunk(kind: int, body: bytes) -> bytes:
    return _CHUNK.pack(kind, 0, _CHUNK.size + len(body)) + body
