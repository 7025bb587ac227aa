"""SPDY/3.1 frames, the server's half, as far as `kubectl port-forward` uses them inside of a WebSocket.

kubectl tunnels the SPDY connection that it spoke before: each forwarded connection is a pair of streams, one for data
and one for errors, opened by the client with compressed headers. The state machine takes bytes and gives events, and
bytes to send back; it opens no stream of its own (SPDY protocol draft 3.1). The clients' library,
github.com/moby/spdystream, has no flow control: a server that never waits for a window is what they expect.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

PROTOCOL = "SPDY/3.1+portforward.k8s.io"
_VERSION = 3
_SYN_STREAM, _SYN_REPLY, _RST_STREAM, _PING, _GOAWAY = 1, 2, 3, 6, 7
_FIN = 1
LARGEST_FRAME = 1 << 20
LARGEST_HEADERS = 64 * 1024

_WORDS = (
    *("options", "head", "post", "put", "delete", "trace", "accept", "accept-charset", "accept-encoding"),
    *("accept-language", "accept-ranges", "age", "allow", "authorization", "cache-control", "connection"),
    *("content-base", "content-encoding", "content-language", "content-length", "content-location", "content-md5"),
    *("content-range", "content-type", "date", "etag", "expect", "expires", "from", "host", "if-match"),
    *("if-modified-since", "if-none-match", "if-range", "if-unmodified-since", "last-modified", "location"),
    *("max-forwards", "pragma", "proxy-authenticate", "proxy-authorization", "range", "referer", "retry-after"),
    *("server", "te", "trailer", "transfer-encoding", "upgrade", "user-agent", "vary", "via", "warning"),
    *("www-authenticate", "method", "get", "status", "200 OK", "version", "HTTP/1.1", "url", "public"),
    *("set-cookie", "keep-alive", "origin"),
)
_REST = (
    b"100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505203 Non-Authoritative "
    b"Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden404 Not Found500 "
    b"Internal Server Error501 Not Implemented503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec "
    b"00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,application/xml,"
    b"application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8"
    b"charset=iso-8859-1,utf-,*,enq=0."
)
DICTIONARY = b"".join(struct.pack(">I", len(word)) + word.encode() for word in _WORDS) + _REST
"""What both ends' header compression begins with (draft 3.1, section 2.6.10.1)."""


class SpdyError(ValueError):
    """Bytes that are no SPDY this end can speak."""


@dataclass(frozen=True, slots=True)
class Opened:
    """The client opened a stream."""

    stream: int
    headers: dict[str, str]


@dataclass(frozen=True, slots=True)
class Data:
    """Bytes of a stream; `end`: the client sends no more on it."""

    stream: int
    data: bytes
    end: bool


@dataclass(frozen=True, slots=True)
class Reset:
    """The client gave a stream up."""

    stream: int


@dataclass(frozen=True, slots=True)
class Pinged:
    """The client asks whether this end is there; `answer` is what to send back."""

    answer: bytes


Event = Opened | Data | Reset | Pinged


class Server:
    """One connection: feed it bytes, send what its methods return."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._inflate = zlib.decompressobj(zdict=DICTIONARY)
        self._deflate = zlib.compressobj(zdict=DICTIONARY)

    def feed(self, data: bytes) -> Iterator[Event]:
        """What the bytes complete. Raises SpdyError."""
        self._buffer += data
        while len(self._buffer) >= 8:
            first, second = struct.unpack(">II", self._buffer[:8])
            flags, length = second >> 24, second & 0xFFFFFF
            if length > LARGEST_FRAME:
                raise SpdyError(f"a frame of {length} bytes")
            if len(self._buffer) < 8 + length:
                return
            payload = bytes(self._buffer[8 : 8 + length])
            del self._buffer[: 8 + length]
            if not first >> 31:
                yield Data(first & 0x7FFFFFFF, payload, bool(flags & _FIN))
            elif (event := self._control(first, flags, payload)) is not None:
                yield event

    def _control(self, first: int, flags: int, payload: bytes) -> Event | None:
        if (first >> 16) & 0x7FFF != _VERSION:
            raise SpdyError("another version of SPDY")
        kind = first & 0xFFFF
        if kind == _SYN_STREAM:
            return self._opened(payload)
        if kind == _RST_STREAM and len(payload) >= 4:
            return Reset(struct.unpack(">I", payload[:4])[0] & 0x7FFFFFFF)
        if kind == _PING and len(payload) == 4:
            return Pinged(_control(_PING, 0, payload))
        return None  # settings, windows and the end of the connection ask for nothing here

    def _opened(self, payload: bytes) -> Opened:
        if len(payload) < 10:
            raise SpdyError("a stream is opened by too few bytes")
        return Opened(struct.unpack(">I", payload[:4])[0] & 0x7FFFFFFF, self._headers(payload[10:]))

    def _headers(self, data: bytes) -> dict[str, str]:
        try:
            block = self._inflate.decompress(data, LARGEST_HEADERS)
        except zlib.error as error:
            raise SpdyError("headers that cannot be read") from error
        if self._inflate.unconsumed_tail:
            raise SpdyError("headers that are too large")
        headers: dict[str, str] = {}
        position = 4
        while position < len(block):
            name, position = _text(block, position)
            value, position = _text(block, position)
            headers[name] = value
        return headers

    def reply(self, stream: int) -> bytes:
        """Accept a stream."""
        block = self._deflate.compress(struct.pack(">I", 0)) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
        return _control(_SYN_REPLY, 0, struct.pack(">I", stream) + block)

    def data(self, stream: int, data: bytes, *, end: bool = False) -> bytes:
        """Send on a stream; `end`: this end sends no more on it."""
        return struct.pack(">II", stream, (_FIN if end else 0) << 24 | len(data)) + data


def _text(block: bytes, position: int) -> tuple[str, int]:
    if position + 4 > len(block):
        raise SpdyError("headers that end too early")
    (size,) = struct.unpack(">I", block[position : position + 4])
    end = position + 4 + size
    if end > len(block):
        raise SpdyError("headers that end too early")
    return block[position + 4 : end].decode("latin-1"), end


def _control(kind: int, flags: int, payload: bytes) -> bytes:
    return struct.pack(">HHI", 0x8000 | _VERSION, kind, flags << 24 | len(payload)) + payload
