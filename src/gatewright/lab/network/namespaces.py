"""Network namespaces as descriptors: made without a process, entered, and left again.

A namespace lives as long as somebody holds a descriptor of it, is in it, or has a socket in it; so there is nothing to
remove, and whoever holds the descriptors takes the lab's whole network with it when it ends, however it ends.

Without root nobody has rights in the machine's own network namespace: a thread that leaves it cannot come back. So
`new_namespace` and `within` send a thread that is not needed afterwards, wherever the caller is, and `inside`, for
processes in a lab's namespaces, makes sure of the way back before it goes.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from gatewright.lab import linux
from gatewright.lab.errors import LabError

_T = TypeVar("_T")


def own_namespace() -> int:
    """A descriptor of the calling thread's network namespace."""
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def new_namespace() -> int:
    """A descriptor of a new network namespace, in which there is nothing but `lo`, down. Raises LabError."""

    def make() -> int:
        linux.unshare(linux.NEWNET)
        return own_namespace()

    try:
        return _in_thread(make)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            why = "this user has as many as the machine allows (sysctl user.max_net_namespaces)"
        elif error.errno == errno.EPERM:
            why = "no permission; run as root or in a user namespace"
        else:
            why = str(error.strerror)
        raise LabError(f"cannot make a network namespace: {why}") from error


def within(namespace: int, function: Callable[[], _T]) -> _T:
    """What the function returns in a network namespace, on a thread of its own; the caller stays where it is.

    `namespace` is a descriptor of the namespace or of a process in it (pidfd). Sockets that the function opens belong
    to the namespace for good. Raises what the function raises, and OSError where the namespace cannot be entered.
    """

    def enter() -> _T:
        linux.setns(namespace, linux.NEWNET)
        return function()

    return _in_thread(enter)


@contextmanager
def inside(namespace: int) -> Iterator[None]:
    """The calling thread in a network namespace (given as for `within`) for as long as the block lasts.

    Raises OSError (EPERM) before anything has happened where the thread could not come back.
    """
    own = own_namespace()
    try:
        linux.setns(own, linux.NEWNET)
        linux.setns(namespace, linux.NEWNET)
        try:
            yield
        finally:
            linux.setns(own, linux.NEWNET)
    finally:
        os.close(own)


def _in_thread(function: Callable[[], _T]) -> _T:
    results: list[_T] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            results.append(function())
        except BaseException as error:  # noqa: BLE001 - raised again in the calling thread
            errors.append(error)

    thread = threading.Thread(target=work, name="namespace")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]
