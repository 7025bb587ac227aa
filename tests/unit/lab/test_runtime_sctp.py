"""SCTP without the kernel: what is answered, with which tags and checksums, and what is not."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewright.lab import sctp

LINES = {7000: b"default/web c 7000 SCTP\n"}
TAG = 0x01020304


def packet(chunk: bytes, *, port: int = 7000, verification: int = 0) -> bytes:
    raw = struct.pack("!HHI", 40000, port, verification) + bytes(4) + chunk
    return raw[:8] + sctp.checksum(raw) + raw[12:]


def init(tag: int = 99, kind: int = sctp.INIT) -> bytes:
    return struct.pack("!BBHIIHHI", kind, 0, 20, tag, 65535, 1, 1, 5)


def test_the_checksum_is_crc32c() -> None:
    """The check value of CRC32c: 0xE3069283 for "123456789"; here of what stands around a checksum of zero."""
    value = 0xFFFFFFFF
    for byte in b"123456789":
        value = value >> 8 ^ sctp._CRC[(value ^ byte) & 255]
    assert value ^ 0xFFFFFFFF == 0xE3069283


def test_init_on_a_declared_port_is_acknowledged() -> None:
    reply = sctp.answer(packet(init()), LINES, TAG)
    assert reply is not None
    assert struct.unpack_from("!HHI", reply) == (7000, 40000, 99)
    assert reply[8:12] == sctp.checksum(reply)
    kind, _, length, tag, window, out, into, _ = struct.unpack_from("!BBHIIHHI", reply, 12)
    assert (kind, tag) == (sctp.INIT_ACK, TAG)
    assert window >= 1500
    assert out > 0 < into
    parameter, size = struct.unpack_from("!HH", reply, 32)
    assert parameter == sctp.COOKIE
    assert reply[36 : 32 + size] == LINES[7000]
    assert len(reply) == 12 + length == 12 + 20 + (size + 3) // 4 * 4


def test_init_on_another_port_is_aborted() -> None:
    reply = sctp.answer(packet(init(), port=7001), LINES, TAG)
    assert reply is not None
    assert struct.unpack_from("!HHIIBBH", reply)[4:] == (sctp.ABORT, 0, 4)
    assert struct.unpack_from("!HHI", reply) == (7001, 40000, 99)
    assert reply[8:12] == sctp.checksum(reply)


@pytest.mark.parametrize(
    "wrong",
    [
        packet(init(), verification=5),
        packet(init(tag=0)),
        packet(init(kind=sctp.ABORT)),
        packet(init(kind=sctp.INIT_ACK)),
        packet(init())[:-1],
        packet(struct.pack("!BBHIIHHI", sctp.INIT, 0, 4, 99, 65535, 1, 1, 5)),
        packet(init())[:8] + bytes(4) + packet(init())[12:],
        b"",
    ],
    ids=["tag", "no tag", "abort", "init ack", "cut off", "length", "checksum", "empty"],
)
def test_what_is_no_init_is_not_answered(wrong: bytes) -> None:
    assert sctp.answer(wrong, LINES, TAG) is None


@given(st.binary(max_size=64), st.booleans())
def test_no_packet_breaks_it(data: bytes, sealed: bool) -> None:
    if sealed and len(data) >= 12:
        data = data[:8] + sctp.checksum(data) + data[12:]
    reply = sctp.answer(data, LINES, TAG)
    assert reply is None or reply[8:12] == sctp.checksum(reply)
