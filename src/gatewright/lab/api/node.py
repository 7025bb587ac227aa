"""What the endpoint asks of whoever runs the pods: programs in containers, what containers printed, ports of pods.

An endpoint without a node answers 501. Nodes are given to it by the program that runs both.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

Tree = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Execution:
    """A program to run in a container, and its streams.

    `stdin` gives pieces and ends when the client closes it; it is None where the client sends none. `stdout` and
    `stderr` take pieces and wait while the client reads slowly. With a terminal, `sizes` tells (columns, rows) as they
    change, and `stderr` is not used.
    """

    pod: Tree
    container: str
    command: tuple[str, ...]
    tty: bool
    stdin: AsyncIterator[bytes] | None
    stdout: Callable[[bytes], Awaitable[None]]
    stderr: Callable[[bytes], Awaitable[None]]
    sizes: asyncio.Queue[tuple[int, int]] = field(default_factory=lambda: asyncio.Queue(8))


@dataclass(frozen=True, slots=True)
class LogOptions:
    """core/v1 PodLogOptions: which lines, and whether to go on as long as the container prints."""

    follow: bool = False
    previous: bool = False
    timestamps: bool = False
    tail: int | None = None
    since: int | None = None
    limit: int | None = None


class NoSuchLog(Exception):
    """The container has not printed anything yet, or has no previous run. The text says which."""


class NodeError(Exception):
    """What was asked cannot be done; the text is for the client's user."""


class Node(Protocol):
    """Runs pods. Every method may be called at any time, for pods that are bound to a node."""

    async def execute(self, execution: Execution) -> int:
        """Run a program to its end; its exit code. Raises NodeError. Cancelled when the client leaves."""

    def logs(self, pod: Tree, container: str, options: LogOptions) -> AsyncIterator[bytes]:
        """What a container printed. Raises NoSuchLog before the first piece."""

    async def connect(self, pod: Tree, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to a port in the pod's network. Raises NodeError."""
