"""The server's half of SPDY, against a client's half written here."""

from __future__ import annotations

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewright.kubeapi.spdy import DICTIONARY, LARGEST_FRAME, Data, Opened, Pinged, Reset, Server, SpdyError


class Client:
    """Writes the frames of a client."""

    def __init__(self) -> None:
        self.deflate = zlib.compressobj(zdict=DICTIONARY)

    def open(self, stream: int, **headers: str) -> bytes:
        block = struct.pack(">I", len(headers))
        for name, value in headers.items():
            block += struct.pack(">I", len(name)) + name.encode() + struct.pack(">I", len(value)) + value.encode()
        packed = self.deflate.compress(block) + self.deflate.flush(zlib.Z_SYNC_FLUSH)
        return control(1, struct.pack(">IIH", stream, 0, 0) + packed)


def control(kind: int, payload: bytes, version: int = 3) -> bytes:
    return struct.pack(">HHI", 0x8000 | version, kind, len(payload)) + payload


def test_streams_open_carry_data_and_end_however_the_bytes_are_cut() -> None:
    client = Client()
    sent = client.open(1, streamtype="error", port="80") + client.open(3, streamtype="data", port="80", requestid="0")
    sent += Server().data(3, b"hello") + Server().data(3, b"", end=True) + control(3, struct.pack(">II", 1, 5))
    wanted = [
        Opened(1, {"streamtype": "error", "port": "80"}),
        Opened(3, {"streamtype": "data", "port": "80", "requestid": "0"}),
        Data(3, b"hello", False),
        Data(3, b"", True),
        Reset(1),
    ]
    for size in (1, 7, 1000):
        server = Server()
        pieces = [sent[begin : begin + size] for begin in range(0, len(sent), size)]
        assert [event for piece in pieces for event in server.feed(piece)] == wanted


def test_a_reply_names_the_stream_and_can_be_inflated() -> None:
    server = Server()
    inflate = zlib.decompressobj(zdict=DICTIONARY)
    for stream in (1, 3):
        frame = server.reply(stream)
        assert frame[:4] == struct.pack(">HH", 0x8003, 2)
        assert struct.unpack(">I", frame[8:12]) == (stream,)
        assert inflate.decompress(frame[12:]) == struct.pack(">I", 0)


def test_a_ping_is_answered_with_itself() -> None:
    ping = control(6, struct.pack(">I", 7))
    assert list(Server().feed(ping)) == [Pinged(ping)]


def test_settings_windows_and_goodbyes_ask_for_nothing() -> None:
    frames = control(4, b"\0" * 12) + control(9, b"\0" * 8) + control(7, b"\0" * 8)
    assert list(Server().feed(frames)) == []


@pytest.mark.parametrize(
    "sent",
    [
        control(1, b"\0" * 4),
        control(1, b"\0" * 10 + b"no zlib"),
        control(6, b"\0" * 4, version=2),
        struct.pack(">II", 1, LARGEST_FRAME + 1),
        Client().open(1, bomb="x" * 1_000_000),
    ],
)
def test_what_is_no_spdy_is_an_error(sent: bytes) -> None:
    with pytest.raises(SpdyError):
        list(Server().feed(sent))


@given(st.lists(st.binary(max_size=60), max_size=5))
def test_random_bytes_give_events_or_an_error(pieces: list[bytes]) -> None:
    server = Server()
    try:
        for piece in pieces:
            list(server.feed(piece))
    except SpdyError:
        return
