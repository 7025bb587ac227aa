"""What the kubelet asks of whoever runs the containers: a node's runtime, and in tests something simpler.

A container is found by its names and stands for one run of it: after a restart it is another one.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from gatewright.lab.errors import LabError


class Missing(LabError):
    """No such pod, container, run or log; the text is for the client's user."""


class CannotStart(LabError):
    """A program that cannot be started in a container; the text is for the client's user."""


class Conversation(Protocol):
    """A program that runs, and its streams. `release` is called once, whatever has happened."""

    @property
    def outputs(self) -> Mapping[int, Reader]:
        """What it prints, by channel (kubeapi.channels.STDOUT, STDERR)."""

    async def write(self, data: bytes) -> None:
        """Give it input; waits until it has taken it. Input that nobody reads any more is dropped."""

    def close_input(self) -> None:
        """Say that no more input comes."""

    def resize(self, columns: int, rows: int) -> None:
        """Give its terminal another size; without one this does nothing."""

    async def wait(self) -> int:
        """Its exit code, once it has ended."""

    def release(self) -> None:
        """End it, if it was started for this conversation and still runs; give back what was held."""


class Reader(Protocol):
    """One stream of output."""

    async def read(self) -> bytes:
        """Some of it; empty at its end."""


class Container(Protocol):
    """One run of a container."""

    def start(self, command: Sequence[str], *, stdin: bool, terminal: bool) -> Conversation:
        """Run a program beside the container's own. Raises CannotStart."""

    def attach(self, *, stdin: bool) -> Conversation:
        """Join the container's own program. Raises CannotStart."""

    def log(self, *, previous: bool) -> Path:
        """The log file of this run or the one before, in the format of logs.py. Raises Missing."""

    @property
    def running(self) -> bool:
        """Whether its program runs, and may print more."""


class Containers(Protocol):
    """The containers of a node."""

    def find(self, namespace: str, pod: str, container: str) -> Container:
        """The newest run of a container. Raises Missing."""

    async def connect(self, namespace: str, pod: str, port: int) -> socket.socket:
        """A connection to a TCP port on a pod's own loopback. Raises Missing, OSError."""
