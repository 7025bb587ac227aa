"""The components' processes: forked into their namespaces, logged, and started again when they end by themselves.

Forked, never executed: everything is imported once, and what a component does not change it shares with the others. The
process that forks has one thread.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import logging
import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from gatewright.errors import GatewrightError
from gatewright.lab import linux

LARGEST_LOG = 4 << 20
"""Bytes of a component's log from which on it is cut."""
_KEPT_LOG = 1 << 20
"""Bytes of it that are kept then, in a file beside it."""
_FIRST_BACK_OFF, _LONGEST_BACK_OFF, _STABLE = 0.1, 10.0, 30.0
_END_WITHIN = 5.0


@dataclass(slots=True, eq=False)
class Child:
    """One component. `run` is called in its own process, in the network namespace `network`.

    One with `after` does something once: it may end well, and is started again when that other one is.
    """

    name: str
    run: Callable[[], None]
    network: int
    log: Path
    pid: int = 0
    wanted: bool = False
    restarts: int = 0
    since: float = 0.0
    due: float | None = None
    after: Child | None = None
    keep: tuple[int, ...] = ()
    """Descriptors that it inherits."""
    _back_off: float = field(default=_FIRST_BACK_OFF, repr=False)

    def start(self) -> None:
        """Start the process."""
        self.wanted, self.due, self.since = True, None, time.monotonic()
        try:
            self.pid = os.fork()
        except OSError:
            self._start_later()
            raise
        if self.pid == 0:
            _become(self)

    def ended(self, code: int) -> None:
        """The process has ended; when it is to be started again, if it is still wanted."""
        self.pid = 0
        if not self.wanted or (self.after is not None and code == 0):
            return
        if time.monotonic() - self.since > _STABLE:
            self._back_off = _FIRST_BACK_OFF
        self._start_later()
        self.restarts += 1

    def _start_later(self) -> None:
        self.due = time.monotonic() + self._back_off
        self._back_off = min(2 * self._back_off, _LONGEST_BACK_OFF)

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send the process a signal, if it is there."""
        if self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


class Children:
    """All components of a lab."""

    def __init__(self) -> None:
        self._children: list[Child] = []

    def __iter__(self) -> Iterator[Child]:
        return iter(self._children)

    def start(self, child: Child) -> None:
        """Start a component, and keep it running from now on. Raises OSError where the machine has no room for it."""
        self._children.append(child)
        child.start()

    def remove(self, children: Iterable[Child], *, kill: bool = True) -> None:
        """End components for good, and wait until they are gone: at once, or by asking first."""
        leaving = list(children)
        for child in leaving:
            child.wanted, child.due = False, None
            child.kill(signal.SIGKILL if kill else signal.SIGTERM)
        deadline = time.monotonic() + _END_WITHIN
        for child in leaving:
            _wait(child, deadline)
            self._children.remove(child)

    def reap(self) -> list[Child]:
        """Take note of every process that has ended; the components among them."""
        ended: list[Child] = []
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return ended
            if pid == 0:
                return ended
            for child in self._children:
                if child.pid == pid:
                    child.ended(os.waitstatus_to_exitcode(status))
                    ended.append(child)

    def next_due(self) -> float | None:
        """When the next component is to be started again (time.monotonic)."""
        return min((child.due for child in self._children if child.due is not None), default=None)

    def restart_due(self) -> None:
        """Start again what is due; what the machine has no room for, later."""
        now = time.monotonic()
        for child in self._children:
            if child.due is not None and child.due <= now:
                with contextlib.suppress(OSError):
                    child.start()
                    for other in self._children:
                        if other.after is child and other.wanted and not other.pid:
                            other.start()

    def cut_logs(self) -> None:
        """Cut the logs that have grown too large; the ends of them are kept."""
        for child in self._children:
            with contextlib.suppress(OSError):
                _cut(child.log)


def _cut(log: Path) -> None:
    """The file stays the same one: who writes to it appends, wherever its end is."""
    if log.stat().st_size <= LARGEST_LOG:
        return
    with log.open("r+b") as file:
        file.seek(-_KEPT_LOG, os.SEEK_END)
        with contextlib.suppress(OSError):  # the disk may be full, and then it is the more urgent to cut
            log.with_suffix(".log.1").write_bytes(file.read(_KEPT_LOG))
        file.truncate(0)


def _wait(child: Child, deadline: float) -> None:
    while child.pid:
        pid, _ = os.waitpid(child.pid, os.WNOHANG)
        if pid:
            child.pid = 0
        elif time.monotonic() > deadline:
            child.kill()
            os.waitpid(child.pid, 0)
            child.pid = 0
        else:
            time.sleep(0.002)


def _become(child: Child) -> NoReturn:
    code = 1
    try:
        _forget_the_supervisor(child)
        linux.setns(child.network, linux.NEWNET)
        os.close(child.network)
        child.run()
        code = 0
    except GatewrightError as error:
        sys.stderr.write(f"{error}\n")
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:  # noqa: BLE001  (a child must never return into its parent's code)
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError):
            sys.stderr.flush()
        os._exit(code)


def _forget_the_supervisor(child: Child) -> None:
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    os.setsid()
    linux.set_process_name(f"lab-{child.name.rpartition('/')[2]}")
    log = os.open(child.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    for standard in (1, 2):
        os.dup2(log, standard)
    faulthandler.enable(2)
    last = 2
    for descriptor in sorted({child.network, *child.keep}):
        os.closerange(last + 1, descriptor)
        last = descriptor
    os.closerange(last + 1, 65536)
    random.seed()
    gc.enable()
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True
    )
    for chatty in ("httpx", "httpx2", "httpcore", "httpcore2"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
