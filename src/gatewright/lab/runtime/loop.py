"""The runtime's one event loop: descriptors that are ready, times that have come, children that have ended."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import os
import selectors
import signal
import socket
import time
import traceback
from collections.abc import Callable

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


class Timer:
    """Something that is to happen at a time, unless it is cancelled."""

    def __init__(self, due: float, action: Callable[[], object]) -> None:
        self.due, self._action = due, action
        self.cancelled = False

    def cancel(self) -> None:
        """Let it not happen."""
        self.cancelled = True

    def fire(self) -> None:
        """Do it."""
        self._action()


class Loop:
    """An event loop of the main thread; children are reaped by it and nobody else."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self._children: dict[int, tuple[Callable[[int], None], bool]] = {}
        self._stopped = False
        woken, wake = socket.socketpair(type=socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        self._ends = (woken, wake)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
        self.watch(woken.fileno(), self._wake)

    def watch(self, descriptor: int, action: Callable[[], object], events: int = READ) -> None:
        """Call when a descriptor is ready; replaces what was to be called before."""
        try:
            self._selector.modify(descriptor, events, action)
        except KeyError:
            self._selector.register(descriptor, events, action)

    def forget(self, descriptor: int) -> None:
        """Watch a descriptor no more."""
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(descriptor)

    def after(self, seconds: float, action: Callable[[], object]) -> Timer:
        """Call once, so much later."""
        timer = Timer(time.monotonic() + seconds, action)
        heapq.heappush(self._timers, (timer.due, next(self._order), timer))
        return timer

    def expect(self, pid: int, ended: Callable[[int], None], *, group: bool) -> None:
        """Call with the exit code (a signal's is 128 and its number) when a child has ended.

        With `group` what is left of its process group ends with it.
        """
        self._children[pid] = (ended, group)

    def stop(self) -> None:
        """End `run` after this turn."""
        self._stopped = True

    def run(self) -> None:
        """Until `stop`."""
        while not self._stopped:
            for key, _ in self._selector.select(self._timeout()):
                if self._selector.get_map().get(key.fd) is key:  # not forgotten by what was called before
                    self._call(key.fd, key.data)
            self._fire()

    def _timeout(self) -> float | None:
        while self._timers and self._timers[0][2].cancelled:
            heapq.heappop(self._timers)
        return max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else None

    def _fire(self) -> None:
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            timer = heapq.heappop(self._timers)[2]
            if not timer.cancelled:
                self._call(-1, timer.fire)

    def _call(self, descriptor: int, action: Callable[[], object]) -> None:
        """A mistake about one pod must not end all others: it is written down, and its descriptor watched no more."""
        try:
            action()
        except Exception:  # noqa: BLE001
            traceback.print_exc()
            if descriptor not in (-1, self._ends[0].fileno()):
                self.forget(descriptor)

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._ends[0].recv(4096)
        self._reap()

    def _reap(self) -> None:
        while True:
            try:
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if found is None:
                return
            pid = found.si_pid
            ended, group = self._children.pop(pid, (None, False))
            if group:  # before its number is free again
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(pid, signal.SIGKILL)
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            if ended is not None:
                ended(code if code >= 0 else 128 - code)
