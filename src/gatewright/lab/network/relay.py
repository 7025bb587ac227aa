"""TCP connections carried from one network namespace into another that no packet reaches.

A lab's nodes can stand under an API server elsewhere (`--api`): to them it is the fabric's router, as ever, and a relay
in the machine's own network carries their connections on. The other way round such a server comes to the nodes'
kubelets through a port of the machine's loopback. A socket belongs to the namespace in which it was opened, so one
process does both without entering anything. It reads nothing of what it carries: TLS is between the two ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import struct
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

from gatewright.lab.errors import LabError
from gatewright.lab.network.namespaces import within

_log = logging.getLogger(__name__)

MOST_CONNECTIONS = 400
"""At a time; more wait until one ends. Two descriptors each: below the usual limit of 1,024."""
_CONNECT_WITHIN = 10.0
_CHUNK = 65536
_BACKLOG = 128
_RETRY = 0.2
"""Seconds until connections are taken again when one could not be (no descriptor left)."""
_KEEPALIVE = (60, 10, 6)
"""Seconds without a word until the other end is asked, seconds between questions, questions."""
_RESET = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class Way:
    """Connections to `listener` are carried to `host` and `port`, from a namespace (None: the process' own)."""

    listener: socket.socket
    host: str
    port: int
    namespace: int | None = None


def listen(address: str, port: int, namespace: int | None = None) -> socket.socket:
    """A listening socket at an address (no name) of a namespace (None: the process' own). Raises LabError."""

    def make() -> socket.socket:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        return socket.create_server((address, port), family=family, backlog=_BACKLOG)

    try:
        return make() if namespace is None else within(namespace, make)
    except OSError as error:
        raise LabError(f"cannot listen at {address} port {port}: {error.strerror}") from error


def run_relay(ways: Iterable[Way], stop: threading.Event) -> None:
    """Carry connections until `stop` is set."""
    asyncio.run(_run(ways, stop))


async def _run(ways: Iterable[Way], stop: threading.Event) -> None:
    task = asyncio.create_task(carry(ways))
    await asyncio.to_thread(stop.wait)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def carry(ways: Iterable[Way]) -> None:
    """Carry connections until cancelled; those under way end then, and the listeners are closed."""
    free = asyncio.Semaphore(MOST_CONNECTIONS)
    async with asyncio.TaskGroup() as group:
        for way in ways:
            group.create_task(_accept(way, free, group))


async def _accept(way: Way, free: asyncio.Semaphore, group: asyncio.TaskGroup) -> None:
    loop = asyncio.get_running_loop()
    way.listener.setblocking(False)
    with way.listener:
        while True:
            await free.acquire()
            try:
                near, _ = await loop.sock_accept(way.listener)
            except OSError as error:
                free.release()
                _log.warning("no connection can be taken: %s", error.strerror)
                await asyncio.sleep(_RETRY)
                continue
            group.create_task(_relay(way, near)).add_done_callback(lambda _: free.release())


async def _relay(way: Way, near: socket.socket) -> None:
    with near:
        try:
            async with asyncio.timeout(_CONNECT_WITHIN):
                far = await _dial(way)
        except (OSError, TimeoutError) as error:
            _log.warning("cannot reach %s port %d: %s", way.host, way.port, str(error) or "no answer")
            _reset(near)
            return
        with far:
            _tune(near)
            _tune(far)
            whole = False
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(_one_way(near, far))
                    group.create_task(_one_way(far, near))
                whole = True
            except* OSError as errors:
                _log.debug("%s port %d: %s", way.host, way.port, errors.exceptions[0])
            finally:
                if not whole:  # one end has broken off: so do both
                    _reset(near)
                    _reset(far)


async def _dial(way: Way) -> socket.socket:
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(way.host, way.port, type=socket.SOCK_STREAM)
    failure: OSError | None = None
    for family, kind, protocol, _, address in found:
        make = partial(socket.socket, family, kind, protocol)
        far = make() if way.namespace is None else within(way.namespace, make)
        far.setblocking(False)
        try:
            await loop.sock_connect(far, address)
        except OSError as error:
            far.close()
            failure = error
        except BaseException:
            far.close()
            raise
        else:
            return far
    assert failure is not None, "a name that is found has an address"
    raise failure


async def _one_way(source: socket.socket, target: socket.socket) -> None:
    """Until the source has said all; then the target hears that, and may go on speaking."""
    loop = asyncio.get_running_loop()
    buffer = memoryview(bytearray(_CHUNK))
    while count := await loop.sock_recv_into(source, buffer):
        await loop.sock_sendall(target, buffer[:count])
    target.shutdown(socket.SHUT_WR)


def _tune(end: socket.socket) -> None:
    """Nothing waits to be sent with more; and a peer that has gone without a word is noticed."""
    idle, interval, count = _KEEPALIVE
    end.setblocking(False)
    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    end.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, idle)
    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, interval)
    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, count)


def _reset(end: socket.socket) -> None:
    """When it is closed its peer is told that the connection failed, not that all has been said."""
    with contextlib.suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
