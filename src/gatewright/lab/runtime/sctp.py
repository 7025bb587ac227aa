"""SCTP where the kernel has none: the answer to a packet, as a function of the packet. RFC 9260.

Only INIT is answered: by INIT ACK on a port that somebody declared (the state cookie is the line that says who
answers), by ABORT on any other. No association ever stands: a peer that goes on hears nothing, and gives up.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

PROTOCOL = 132
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


def _init_ack(line: bytes, tag: int) -> bytes:
    cookie = struct.pack("!HH", COOKIE, 4 + len(line)) + line + bytes(-len(line) % 4)
    return _chunk(INIT_ACK, _INIT.pack(tag, _WINDOW, _STREAMS, _STREAMS, tag) + cookie)


def _chunk(kind: int, body: bytes) -> bytes:
    return _CHUNK.pack(kind, 0, _CHUNK.size + len(body)) + body
