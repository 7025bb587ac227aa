"""Running programs in containers through the API server: what `kubectl exec` does, over a WebSocket.

The server takes the request as a WebSocket (`v5.channel.k8s.io`, or v4 of older servers) and passes it to the node's
kubelet; `kubeapi.channels` says what the messages mean. One connection a program, with a thread of whoever calls.
Credentials, certificates and the name to check are those of every other request.
"""

from __future__ import annotations

import base64
import contextlib
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from gatewright.errors import GatewrightError, line
from gatewright.kubeapi.channels import ERROR, STDERR, STDOUT, V4, V5
from gatewright.kubeapi.status import Status, said
from gatewright.sources.connection import HEADERS, told
from gatewright.sources.kubeconfig import ClusterUnavailable, Where
from gatewright.sources.session import Access, Session

CONNECTED_WITHIN = 10.0
"""Seconds for a connection and the server's agreement."""
_PIECE = 64 * 1024
LARGEST_REFUSAL = 64 * 1024
LEFT = -1
"""In place of the exit code of a program that was left."""
LOOKS_EVERY = 0.25
"""Seconds after which a silent program is left, where it shall be left."""


class CannotExecute(GatewrightError):
    """A program that could not be run in a container, and what the server says."""


@dataclass(frozen=True, slots=True)
class Place:
    """A container of a pod."""

    namespace: str
    pod: str
    container: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.pod}"


class Executor:
    """Runs programs in the containers of a cluster. `run` may be called by several threads."""

    def __init__(self, where: Where) -> None:
        try:
            import wsproto  # noqa: F401
        except ImportError as error:
            what = "running programs in pods needs wsproto: pip install 'gatewright[live]'"
            raise ClusterUnavailable(what) from error
        self._session = Session(where)

    def run(
        self,
        place: Place,
        command: Sequence[str],
        heard: Callable[[bytes], None],
        wanted: Callable[[], bool] = lambda: True,
    ) -> int:
        """Run a program, and tell its output as it comes; its exit code, LEFT where it was left.

        It is left, and so ended, as soon as it is not `wanted` any more. Raises CannotExecute, ClusterUnavailable.
        """
        access = self._session.access()
        with told(access.config, CONNECTED_WITHIN), contextlib.closing(_connected(access)) as connection:
            return _Program(connection, access, place).run(command, heard, wanted)


def _connected(access: Access) -> socket.socket:
    """A connection to the API server, TLS where its URL says so. Raises what `told` tells."""
    single = access.config.single
    if access.config.proxy:
        what = "exec goes to the server directly, and its context has a proxy-url"
        raise ClusterUnavailable(f"{access.config.name}: {what}; ask from where it is not needed")
    server = urlsplit(single.cluster.server)
    host = server.hostname or ""
    port = server.port or (443 if server.scheme == "https" else 80)
    connection = socket.create_connection((host, port), CONNECTED_WITHIN)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if server.scheme != "https":
        return connection
    from lightkube.config.client_adapter import verify_cluster

    context = verify_cluster(single.cluster, access.user, single.abs_file)
    try:
        return context.wrap_socket(connection, server_hostname=access.config.tls_server_name or host)
    except (OSError, ssl.SSLError):
        connection.close()
        raise


def _authorization(access: Access) -> list[tuple[bytes, bytes]]:
    user = access.user
    if user.token:
        return [(b"Authorization", f"Bearer {user.token}".encode())]
    if user.username and user.password:
        pair = base64.b64encode(f"{user.username}:{user.password}".encode())
        return [(b"Authorization", b"Basic " + pair)]
    return []


class _Program:
    """One program in one container, over one WebSocket."""

    def __init__(self, connection: socket.socket, access: Access, place: Place) -> None:
        from wsproto import ConnectionType, WSConnection

        self._connection, self._access, self._place = connection, access, place
        self._wire = WSConnection(ConnectionType.CLIENT)
        self._message = bytearray()
        self._ended: int | None = None

    def run(self, command: Sequence[str], heard: Callable[[bytes], None], wanted: Callable[[], bool]) -> int:
        self._negotiate(command)
        self._connection.settimeout(LOOKS_EVERY)
        while self._ended is None:
            if not wanted():
                return LEFT
            for channel, data in self._messages():
                if channel == STDOUT:
                    if data:  # an empty message opens the channel
                        heard(data)
                elif channel == ERROR:
                    self._ended = self._code(data)
                elif channel != STDERR:
                    raise self._broken(f"a message on channel {channel}")
        return self._ended

    def _negotiate(self, command: Sequence[str]) -> None:
        from wsproto.events import AcceptConnection, RejectConnection, RejectData, Request

        server = urlsplit(self._access.config.single.cluster.server)
        query = [("container", self._place.container), ("stdout", "true"), ("stderr", "true")]
        query += [("command", word) for word in command]
        path = f"/api/v1/namespaces/{quote(self._place.namespace)}/pods/{quote(self._place.pod)}/exec"
        target = f"{server.path.rstrip('/')}{path}?{urlencode(query)}"
        extra = [*_authorization(self._access), (b"User-Agent", HEADERS["User-Agent"].encode())]
        request = Request(host=server.netloc, target=target, subprotocols=[V5, V4], extra_headers=extra)
        self._connection.sendall(self._wire.send(request))
        deadline, code, body = time.monotonic() + CONNECTED_WITHIN, 0, b""
        for event in self._events():
            if isinstance(event, AcceptConnection):
                if event.subprotocol not in (V5, V4):
                    raise self._broken(f"it speaks {event.subprotocol or 'no protocol'} instead of {V5} or {V4}")
                return
            if isinstance(event, RejectConnection):
                code = event.status_code
            if isinstance(event, RejectData):
                body += event.data
            rejected = isinstance(event, RejectConnection) and not event.has_body
            if rejected or (isinstance(event, RejectData) and (event.body_finished or len(body) > LARGEST_REFUSAL)):
                raise CannotExecute(f"{self._place}: exec: {line(said(body, code).message)} ({code})")
            if time.monotonic() > deadline:
                break
        raise self._broken("no answer to exec")

    def _messages(self) -> Iterator[tuple[int, bytes]]:
        """(channel, data) of whole messages; ends where nothing has come for a while."""
        from wsproto.events import BytesMessage, CloseConnection, Ping, TextMessage

        try:
            for event in self._events():
                if isinstance(event, BytesMessage | TextMessage):
                    self._message += event.data.encode() if isinstance(event, TextMessage) else event.data
                    if event.message_finished and self._message:
                        whole, self._message = bytes(self._message), bytearray()
                        yield whole[0], whole[1:]
                        if whole[0] == ERROR:
                            return
                elif isinstance(event, Ping):
                    self._connection.sendall(self._wire.send(event.response()))
                elif isinstance(event, CloseConnection):
                    raise self._broken(f"the connection was closed: {event.reason or int(event.code)}")
        except TimeoutError:
            return

    def _events(self) -> Iterator[object]:
        from wsproto.utilities import ProtocolError

        while True:
            yield from self._wire.events()
            data = self._connection.recv(_PIECE)
            if not data:
                raise self._broken("the connection ended before the program did")
            try:
                self._wire.receive_data(data)
            except ProtocolError as error:
                raise self._broken(f"an answer that is no WebSocket: {line(error)}") from error

    def _code(self, data: bytes) -> int:
        """The exit code that a Status tells. Raises CannotExecute where the program did not run."""
        try:
            status = msgspec.json.decode(data, type=Status)
        except msgspec.MsgspecError as error:
            raise self._broken("an end that is no Status") from error
        if status.status == "Success":
            return 0
        causes = status.details.causes if status.details else ()
        for cause in causes:
            if cause.reason == "ExitCode" and cause.message.isdecimal():
                return int(cause.message)
        raise CannotExecute(f"{self._place}: exec: {line(status.message)}")

    def _broken(self, what: str) -> CannotExecute:
        return CannotExecute(f"{self._place}: exec: {what}")
