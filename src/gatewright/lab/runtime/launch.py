"""Forking: a child in a new PID namespace or in a pod's, what it tells before it executes, and how it ends."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from gatewright.lab import linux
from gatewright.lab.runtime.loop import Loop

Child = Callable[[socket.socket], object]
"""What the forked child does with its end of the socket; it never returns."""


class Namespaces:
    """The runtime's own namespaces, to come back to."""

    def __init__(self) -> None:
        self._process = os.pidfd_open(os.getpid())
        self._network = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    @contextlib.contextmanager
    def children_in(self, sandbox: int | None) -> Iterator[None]:
        """Children forked meanwhile are in a pod's PID namespace, or are the first of a new one (None)."""
        if sandbox is None:
            linux.unshare(linux.NEWPID)
        else:
            linux.setns(sandbox, linux.NEWPID)
        try:
            yield
        finally:
            _come_back(self._process, linux.NEWPID)

    @contextlib.contextmanager
    def network_of(self, sandbox: int) -> Iterator[None]:
        """Sockets made meanwhile are in a pod's network."""
        linux.setns(sandbox, linux.NEWNET)
        try:
            yield
        finally:
            _come_back(self._network, linux.NEWNET)


def _come_back(descriptor: int, kind: int) -> None:
    """Whoever cannot come back must not go on: it would do everything else in a pod's namespace."""
    try:
        linux.setns(descriptor, kind)
    except OSError as error:
        raise SystemExit(f"the runtime cannot come back from a pod's namespaces: {error.strerror}") from error


@dataclass(slots=True)
class Told:
    """What a child has said so far: `failed` when it could not become what it should."""

    words: dict[str, Any] = field(default_factory=dict)
    descriptors: list[int] = field(default_factory=list)
    failed: str = ""
    over: bool = False


class Launch:
    """A forked child: `heard` is called for each message, `started` once it has executed or failed, `ended` after."""

    def __init__(
        self,
        loop: Loop,
        child: Child,
        *,
        group: bool = False,
        heard: Callable[[dict[str, Any]], None] = lambda _: None,
        started: Callable[[Told], None] = lambda _: None,
        ended: Callable[[int], None] = lambda _: None,
    ) -> None:
        """Fork. Raises OSError. With `group`, what is left of its process group ends with it."""
        self._loop, self._heard, self._started, self._ended = loop, heard, started, ended
        self._told = Told()
        near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        try:
            self.pid = os.fork()
            if self.pid == 0:
                try:
                    child(far)
                finally:
                    os._exit(1)
            self.handle = os.pidfd_open(self.pid)
        except OSError:
            near.close()
            raise
        finally:
            far.close()
        near.setblocking(False)
        self._near = near
        loop.watch(near.fileno(), self._listen)
        loop.expect(self.pid, self._over, group=group)

    def close(self) -> None:
        """Give the handle back."""
        if self.handle >= 0:
            os.close(self.handle)
            self.handle = -1

    def _listen(self) -> None:
        while not self._told.over:
            try:
                data, descriptors, _, _ = socket.recv_fds(self._near, 65536, 1, socket.MSG_CMSG_CLOEXEC)
            except BlockingIOError:
                return
            except OSError:
                data, descriptors = b"", []
            self._told.descriptors += descriptors
            if data:
                self._take(json.loads(data))
            else:
                self._finish()

    def _take(self, words: dict[str, Any]) -> None:
        self._told.words |= words
        self._told.failed = words.get("failed", self._told.failed)
        self._heard(words)

    def _finish(self) -> None:
        self._told.over = True
        self._loop.forget(self._near.fileno())
        self._near.close()
        self._started(self._told)

    def _over(self, code: int) -> None:
        if not self._told.over:
            self._listen()
        if not self._told.over:  # somebody else holds the socket still
            self._finish()
        self._ended(code)
