"""The server's half of SPDY, against a client's half written here."""

from __future__ import annotations

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewright.kubeapi.spdy import DICTIONARY, LARGEST_FRAME, PING, Data, Opened, Pinged, Reset, Server, SpdyError


class Client:
    """Writes the frames of a client."""

    def __init__(self) -> None:
        self.deflate = zlib.compressobj(zdict=DICTIONARY)

    def open(self, stream: int, **headers: str) -> bytes:
        return control(1, struct.pack(">IIH", stream, 0, 0) + self.packed(headers))

    def headers(self, stream: int, **headers: str) -> bytes:
        return control(8, struct.pack(">I", stream) + self.packed(headers))

    def packed(self, headers: dict[str, str]) -> bytes:
        block = struct.pack(">I", len(headers))
        for name, value in headers.items():
            block += struct.pack(">I", len(name)) + name.encode() + struct.pack(">I", len(value)) + value.encode()
        return self.deflate.compress(block) + self.deflate.flush(zlib.Z_SYNC_FLUSH)


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


def test_the_answer_to_ones_own_ping_asks_for_nothing() -> None:
    assert list(Server().feed(PING)) == []


def test_headers_between_streams_keep_the_compression_in_step() -> None:
    client, server = Client(), Server()
    later = client.headers(1, note="x")
    assert list(server.feed(later + client.open(1, streamtype="data"))) == [Opened(1, {"streamtype": "data"})]


@pytest.mark.parametrize("streams", [(2,), (0,), (3, 1), (1, 1)])
def test_streams_are_numbered_upwards_by_odd_numbers(streams: tuple[int, ...]) -> None:
    client, server = Client(), Server()
    sent = b"".join(client.open(stream, streamtype="data") for stream in streams)
    with pytest.raises(SpdyError, match="not the client's next"):
        list(server.feed(sent))


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
