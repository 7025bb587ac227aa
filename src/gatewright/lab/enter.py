"""Going into a lab from outside it: running a program in a pod, and running a function on the lab's node.

A process cannot name the processes of another PID namespace, so this goes in steps: into the lab's namespaces by the
process id the machine knows, into the pod's by the id the lab knows, into the container's by the id the pod knows. Each
join is one setns(2) with a pidfd, the user namespace first of all where the lab has one of its own.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import selectors
import signal
import struct
import sys
import termios
import tty
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

from gatewright.lab import linux
from gatewright.lab.errors import LabError

_LAB = linux.NEWPID | linux.NEWNS | linux.NEWNET | linux.NEWUTS | linux.NEWIPC
_NOT_FOUND, _NOT_EXECUTABLE = 127, 126


@dataclass(frozen=True, slots=True)
class Place:
    """Where a program is to run: the lab's process, the pod's in the lab, the container's in the pod."""

    lab: int
    pod: int
    container: int
    environment: Mapping[str, str]
    directory: str


def run_in_pod(place: Place, command: Sequence[str], *, stdin: bool, terminal: bool) -> int:
    """Run a program in a container, with its rights and environment. Returns the exit code, as a shell counts it."""
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        _step(lambda: _enter_lab(place.lab), lambda: _in_lab(place, command, stdin, terminal))
    if terminal:
        signal.signal(signal.SIGWINCH, lambda *_: _forward(child, signal.SIGWINCH))
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    return _wait(child)


def call_on_node(lab: int, function: Callable[[bytes], bytes], data: bytes) -> bytes:
    """Run a function in the lab's own namespaces, as the node, and return what it returned. Raises LabError."""
    told, tell = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        os.close(told)
        _step(lambda: _enter_lab(lab), lambda: _write_all(tell, function(data)))
    os.close(tell)
    answer = b""
    while part := os.read(told, 1 << 20):
        answer += part
    os.close(told)
    if _wait(child) != 0:
        raise LabError("the process that was sent into the lab failed; is the lab still up? see: gatewright lab list")
    return answer


def _write_all(descriptor: int, data: bytes) -> int:
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    return 0


def _step(enter: Callable[[], None], then: Callable[[], int]) -> NoReturn:
    """Join namespaces; fork, because a PID namespace takes only children; pass on how the child ended."""
    code = 1
    try:
        enter()
        child = os.fork()
        code = then() if child == 0 else _wait(child)
    except OSError as error:
        os.write(2, f"gatewright: cannot enter the lab: {error.strerror} ({error.filename}); is it up?\n".encode())
    except LabError as error:
        os.write(2, f"gatewright: {error}\n".encode())
    finally:
        os._exit(code)


def _enter_lab(pid: int) -> None:
    handle = os.pidfd_open(pid)
    foreign = not os.path.samestat(os.stat(f"/proc/{pid}/ns/user"), os.stat("/proc/self/ns/user"))
    linux.setns(handle, _LAB | (linux.NEWUSER if foreign else 0))
    os.close(handle)


def _in_lab(place: Place, command: Sequence[str], stdin: bool, terminal: bool) -> NoReturn:
    def enter() -> None:
        handle = os.pidfd_open(place.pod)
        linux.setns(handle, _LAB)
        os.close(handle)

    _step(enter, lambda: _in_pod(place, command, stdin, terminal))


def _in_pod(place: Place, command: Sequence[str], stdin: bool, terminal: bool) -> int:
    handle = os.pidfd_open(place.container)
    linux.setns(handle, linux.NEWNS)
    os.close(handle)
    if terminal:
        return _with_terminal(lambda: _execute(place, command))
    if not stdin:
        os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
    return _execute(place, command)


def _execute(place: Place, command: Sequence[str]) -> NoReturn:
    code = _NOT_FOUND
    try:
        with contextlib.suppress(OSError):
            os.chdir(place.directory)
        linux.keep_capabilities(linux.CONTAINER_CAPABILITIES)
        environment = dict(place.environment)
        if "TERM" in os.environ and os.isatty(0):
            environment["TERM"] = os.environ["TERM"]
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE, signal.SIGWINCH):
            signal.signal(number, signal.SIG_DFL)
        os.execvpe(command[0], list(command), environment)
    except FileNotFoundError:
        os.write(2, f'gatewright: exec "{command[0]}": no such program in the pod\n'.encode())
    except OSError as error:
        code = _NOT_EXECUTABLE
        os.write(2, f'gatewright: exec "{command[0]}": {error.strerror}\n'.encode())
    finally:
        os._exit(code)


def _with_terminal(execute: Callable[[], NoReturn]) -> int:
    """Run on a terminal of the pod's own, and carry bytes between it and the user's; returns the exit code."""
    outer = 0 if os.isatty(0) else None
    near, far = os.openpty()
    if outer is not None:
        _copy_size(outer, near)
    child = os.fork()
    if child == 0:
        os.close(near)
        os.setsid()
        fcntl.ioctl(far, termios.TIOCSCTTY, 0)
        for standard in (0, 1, 2):
            os.dup2(far, standard)
        execute()
    os.close(far)
    before = termios.tcgetattr(outer) if outer is not None else None
    try:
        if outer is not None:
            tty.setraw(outer)
            signal.signal(signal.SIGWINCH, lambda *_: _copy_size(outer, near))
        _carry(near)
    finally:
        if outer is not None and before is not None:
            termios.tcsetattr(outer, termios.TCSADRAIN, before)
    return _wait(child)


def _carry(near: int) -> None:
    with selectors.DefaultSelector() as selector:
        selector.register(near, selectors.EVENT_READ)
        with contextlib.suppress(PermissionError):  # /dev/null and files cannot be watched
            selector.register(0, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                try:
                    data = os.read(key.fd, 65536)
                except OSError:  # EIO: the last program on the terminal has ended
                    return
                if key.fd == near and not data:
                    return
                if not data:
                    selector.unregister(0)
                    os.write(near, b"\x04")
                else:
                    os.write(1 if key.fd == near else near, data)


def _copy_size(source: int, target: int) -> None:
    with contextlib.suppress(OSError):
        size = fcntl.ioctl(source, termios.TIOCGWINSZ, struct.pack("HHHH", 0, 0, 0, 0))
        fcntl.ioctl(target, termios.TIOCSWINSZ, size)


def _forward(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _wait(pid: int) -> int:
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code
