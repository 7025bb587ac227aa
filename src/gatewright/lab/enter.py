"""Going into a lab from outside it, to run a function there.

A process cannot name the processes of another PID namespace; in the lab's namespaces it can, and goes on from there
into the network of a node or of a pod. The join is one setns(2) with a pidfd, the user namespace first of all where the
lab has one of its own.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import NoReturn

from gatewright.lab import linux
from gatewright.lab.errors import LabError

_LAB = linux.NEWPID | linux.NEWNS | linux.NEWNET | linux.NEWUTS | linux.NEWIPC
_NOT_FOUND, _NOT_EXECUTABLE = 127, 126


def call_on_node(lab: int, function: Callable[[bytes], bytes], data: bytes) -> bytes:
    """Run a function in the lab's own namespaces and return what it returned. Raises LabError."""
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


def _wait(pid: int) -> int:
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code
