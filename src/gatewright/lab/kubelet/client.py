"""The endpoint's way to a kubelet: one request over TLS, whose answer streams or becomes a WebSocket.

Written on sans-IO parsers and asyncio's streams, so that a slow reader at one end makes the other end wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import httptools
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Message,
    Ping,
    RejectConnection,
    RejectData,
    Request,
    TextMessage,
)
from wsproto.utilities import ProtocolError

from gatewright.lab.asgi import Gone
from gatewright.lab.web import LARGEST_MESSAGE

_PATIENCE = 10.0
"""Seconds for a kubelet to accept a connection and to answer."""
_PIECE = 64 * 1024
LARGEST_REFUSAL = 64 * 1024


class Refused(Exception):
    """The kubelet refuses; its words."""

    def __init__(self, code: int, words: str) -> None:
        self.code, self.words = code, words
        super().__init__(words)


@dataclass(frozen=True, slots=True)
class Kubelet:
    """Where a kubelet is, and what to show it. Every method raises OSError when it cannot be reached."""

    host: str
    port: int
    context: ssl.SSLContext

    @property
    def address(self) -> str:
        """As Go writes it: `10.0.0.1:10250`, `[::1]:10250`."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    async def get(self, path: str) -> Answer:
        """The answer to a GET; it is there once the kubelet has begun to answer. Raises Refused."""
        reader, writer = await self._connected()
        answer = Answer(reader, writer)
        try:
            head = f"GET {path} HTTP/1.1\r\nHost: {self.address}\r\nConnection: close\r\n\r\n"
            writer.write(head.encode("ascii"))
            async with asyncio.timeout(_PATIENCE):
                code = await answer.status()
                if code != 200:
                    body = b"".join([piece async for piece in answer.body()])
                    raise Refused(code, body[:LARGEST_REFUSAL].decode(errors="replace").strip())
        except BaseException:
            answer.close()
            raise
        return answer

    async def open(self, path: str, protocols: Sequence[str]) -> Connection:
        """A WebSocket. Raises Refused."""
        reader, writer = await self._connected()
        connection = Connection(reader, writer)
        try:
            async with asyncio.timeout(_PATIENCE):
                await connection.negotiate(Request(host=self.address, target=path, subprotocols=list(protocols)))
        except BaseException:
            writer.transport.abort()
            raise
        return connection

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        async with asyncio.timeout(_PATIENCE):
            return await asyncio.open_connection(self.host, self.port, ssl=self.context, limit=_PIECE)


class Answer:
    """One HTTP answer: callbacks of the parser on the one side, a status and pieces on the other."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._parser = httptools.HttpResponseParser(self)
        self._pieces: list[bytes] = []
        self._begun = self._done = False

    def on_headers_complete(self) -> None:
        """The parser has read the head."""
        self._begun = True

    def on_body(self, data: bytes) -> None:
        """The parser has read a piece."""
        self._pieces.append(data)

    def on_message_complete(self) -> None:
        """The parser has read all."""
        self._done = True

    def close(self) -> None:
        """Let go; whoever reads the body comes to its end."""
        self._done = True
        self._writer.transport.abort()

    async def status(self) -> int:
        """The status code."""
        while not self._begun:
            await self._read()
        code: int = self._parser.get_status_code()
        return code

    async def body(self) -> AsyncIterator[bytes]:
        """Its body as it comes; the connection ends with it. Raises OSError."""
        try:
            while True:
                pieces, self._pieces = self._pieces, []
                for piece in pieces:
                    yield piece
                if self._done:
                    return
                await self._read()
        finally:
            self.close()

    async def _read(self) -> None:
        data = await self._reader.read(_PIECE)
        if self._done:
            return
        if not data:
            raise ConnectionResetError("the kubelet closed the connection")
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            raise ConnectionError("the kubelet's answer is no HTTP") from error


class Connection:
    """A WebSocket to a kubelet."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.protocol = ""
        self.code, self.reason = 1006, ""
        """How the kubelet closed it, once it has."""
        self._reader, self._writer = reader, writer
        self._wire = WSConnection(ConnectionType.CLIENT)

    async def negotiate(self, request: Request) -> None:
        """Agree on a subprotocol. Raises Refused, Gone."""
        self._writer.write(self._wire.send(request))
        code, body = 0, b""
        async for event in self._events():
            if isinstance(event, AcceptConnection):
                self.protocol = event.subprotocol or ""
                return
            if isinstance(event, RejectConnection):
                code = event.status_code
                if not event.has_body:
                    raise Refused(code, "")
            if isinstance(event, RejectData):
                body += event.data
                if event.body_finished or len(body) > LARGEST_REFUSAL:
                    raise Refused(code, body[:LARGEST_REFUSAL].decode(errors="replace").strip())

    async def receive(self) -> bytes:
        """The next message. Raises Gone."""
        message = bytearray()
        async for event in self._events():
            if isinstance(event, BytesMessage | TextMessage):
                message += event.data.encode() if isinstance(event, TextMessage) else event.data
                if len(message) > LARGEST_MESSAGE + 1:
                    raise Gone
                if event.message_finished:
                    return bytes(message)
            elif isinstance(event, CloseConnection):
                self.code, self.reason = int(event.code), event.reason or ""
                with contextlib.suppress(ProtocolError):
                    self._writer.write(self._wire.send(event.response()))
                raise Gone
            elif isinstance(event, Ping):
                self._writer.write(self._wire.send(event.response()))
        raise Gone

    async def _events(self) -> AsyncIterator[Event]:
        """What comes. What is left over stays in the parser for the next call. Raises Gone."""
        try:
            while True:
                for event in self._wire.events():
                    yield event
                data = await self._reader.read(_PIECE)
                if not data:
                    raise Gone
                self._wire.receive_data(data)
        except (OSError, ProtocolError) as error:
            raise Gone from error

    async def send(self, data: bytes) -> None:
        """Send a message, and wait while the kubelet takes none. Raises Gone."""
        try:
            self._writer.write(self._wire.send(Message(data=data)))
            await self._writer.drain()
        except (OSError, ProtocolError) as error:
            raise Gone from error

    def close(self) -> None:
        """Let go at once; the kubelet ends what it runs for this."""
        self._writer.transport.abort()
