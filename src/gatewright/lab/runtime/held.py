"""What the runtime holds of a pod and its containers, and whoever has asked for it."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from gatewright.engine.addresses import IPAddress
from gatewright.lab.runtime.launch import Launch
from gatewright.lab.runtime.loop import Timer
from gatewright.lab.runtime.model import ContainerSetup, ContainerState, PodSetup, PodState
from gatewright.lab.runtime.output import Output
from gatewright.lab.runtime.standins import Answering


class PodNetwork(Protocol):
    """What connects pods to their node (lab/network)."""

    def attach(self, link: str, pid: int, addresses: Iterable[IPAddress]) -> None:
        """Connect the network of a process by a link of this name. Raises OSError, LabError."""

    def detach(self, *links: str) -> None:
        """Take links away, many as fast as one; none is no error."""


class Reply(Protocol):
    """Whoever asked for something."""

    def done(self, container: ContainerState | None = None, descriptors: Iterable[int] = ()) -> None:
        """It is done. The descriptors are sent, and closed here."""

    def failed(self, why: str) -> None:
        """It cannot be done."""

    def ended(self, code: int, why: str = "") -> None:
        """What was started has ended."""

    def hold(self, release: Callable[[], None]) -> None:
        """Something runs for the asker: to be released when that one leaves."""

    def let_go(self) -> None:
        """It does not depend on the asker any more."""


class Nobody:
    """A reply to one who does not listen."""

    def done(self, container: ContainerState | None = None, descriptors: Iterable[int] = ()) -> None:
        """Nothing."""

    def failed(self, why: str) -> None:
        """Nothing."""


@dataclass(slots=True)
class Run:
    """One run of a container. `launch` is its process while there is one, `answering` its stand-in."""

    setup: ContainerSetup
    state: ContainerState
    output: Output
    launch: Launch | None = None
    answering: Answering | None = None
    input: int = -1
    terminal: int = -1
    stopping: list[Reply] = field(default_factory=list)
    killing: Timer | None = None

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self.state.state == "running"


@dataclass(slots=True)
class Pod:
    """One pod. `children` counts the processes that the runtime has forked into it and not reaped yet."""

    setup: PodSetup
    folder: Path
    launch: Launch
    up: bool = False
    dead: bool = False
    failed: str = ""
    children: int = 0
    closing: int = 0
    runs: dict[str, Run] = field(default_factory=dict)
    removing: list[Reply] | None = None
    detached: bool = False
    killed: float = 0.0

    @property
    def name(self) -> str:
        """`namespace/name`, as errors call it."""
        return f"{self.setup.namespace}/{self.setup.name}"

    @property
    def network(self) -> str:
        """What its network is called among the stand-ins."""
        return "node" if self.setup.host_network else self.setup.uid

    @property
    def state(self) -> PodState:
        """What the kubelet is told."""
        setup = self.setup
        return PodState(
            setup.uid,
            setup.namespace,
            setup.name,
            0 if self.dead else self.launch.pid,
            setup.host_network,
            setup.link,
            setup.addresses,
            setup.labels,
            tuple(run.state for run in self.runs.values()),
        )


def pipes(stdin: bool) -> tuple[tuple[int, ...], tuple[int, int, int]]:
    """(our ends: output, errors and perhaps input; the program's 0, 1 and 2)."""
    output, errors = os.pipe(), os.pipe()
    if not stdin:
        return (output[0], errors[0]), (os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC), output[1], errors[1])
    given = os.pipe()
    return (output[0], errors[0], given[1]), (given[0], output[1], errors[1])


def close(descriptors: Iterable[int]) -> None:
    """Close all."""
    for descriptor in descriptors:
        os.close(descriptor)


def send_signal(launch: Launch, number: int) -> None:
    """Send a signal to a child; one that has ended is none the wiser."""
    if launch.handle >= 0:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(launch.handle, number)


def end_group(launch: Launch) -> None:
    """End a child and its process group."""
    if launch.handle < 0:  # it has ended by itself, and what it has left behind may stay
        return
    with contextlib.suppress(ProcessLookupError):  # the group is its own only once `setsid` has run
        os.killpg(launch.pid, signal.SIGKILL)
    send_signal(launch, signal.SIGKILL)


def reason(error: Exception) -> str:
    """An error in few words."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)
