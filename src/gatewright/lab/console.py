"""A program in a pod on the user's own terminal: `lab exec`, with the pod's node asked directly.

Unlike `kubectl exec` it needs neither API nor kubelet: it works while one of them is down.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import struct
import sys
import termios
import tty
from collections.abc import Iterator, Sequence
from pathlib import Path

from gatewright.kubeapi.channels import STDERR, STDOUT
from gatewright.lab.kubelet.containers import CannotStart, Conversation, Reader
from gatewright.lab.runtime.client import Runtime

_STDIN = 0
_PIECE = 65536
_CANNOT_START = 126
_INTERRUPTED = 130


async def execute(
    runtime: Path, pod: str, container: str, command: Sequence[str], *, stdin: bool, terminal: bool
) -> int:
    """Run a program in a container of a pod (`namespace/name`) of this runtime; its exit code. Raises LabError."""
    namespace, _, name = pod.partition("/")
    connected = await Runtime.connect(runtime)
    try:
        found = connected.containers.find(namespace, name or namespace, container)
        conversation = found.start(command, stdin=stdin, terminal=terminal)
        try:
            with _raw(terminal and os.isatty(_STDIN)):
                return await _converse(conversation, stdin, terminal)
        finally:
            conversation.release()
    except CannotStart as error:
        os.write(2, f"gatewright: {error}\n".encode())
        return _CANNOT_START
    finally:
        await connected.close()


async def _converse(conversation: Conversation, stdin: bool, terminal: bool) -> int:
    loop = asyncio.get_running_loop()
    interrupted = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, interrupted.set)
    if terminal:
        _tell_size(conversation)
        loop.add_signal_handler(signal.SIGWINCH, _tell_size, conversation)
    outputs = [
        asyncio.ensure_future(_copy(reader, {STDOUT: 1, STDERR: 2}[channel]))
        for channel, reader in conversation.outputs.items()
    ]
    inputs = asyncio.ensure_future(_feed(conversation)) if stdin else None
    ending = asyncio.ensure_future(conversation.wait())
    leaving = asyncio.ensure_future(interrupted.wait())
    try:
        await asyncio.wait((ending, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not ending.done():
            return _INTERRUPTED
        code = ending.result()
        await asyncio.gather(*outputs)
        return code
    finally:
        tasks = [*outputs, leaving, ending, *filter(None, (inputs,))]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _copy(reader: Reader, descriptor: int) -> None:
    while data := await reader.read():
        while data:
            data = data[os.write(descriptor, data) :]


async def _feed(conversation: Conversation) -> None:
    """Standard input to the program, until either ends."""
    while data := await _read_input():
        await conversation.write(data)
    conversation.close_input()


async def _read_input() -> bytes:
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    try:
        loop.add_reader(_STDIN, readable.set)
    except PermissionError:  # files and /dev/null cannot be watched, and never keep one waiting
        return os.read(_STDIN, _PIECE)
    try:
        await readable.wait()
        return os.read(_STDIN, _PIECE)
    finally:
        loop.remove_reader(_STDIN)


@contextlib.contextmanager
def _raw(wanted: bool) -> Iterator[None]:
    """The user's terminal passes everything on while the block runs."""
    before = termios.tcgetattr(_STDIN) if wanted else None
    try:
        if wanted:
            tty.setraw(_STDIN)
        yield
    finally:
        if before is not None:
            termios.tcsetattr(_STDIN, termios.TCSADRAIN, before)


def _tell_size(conversation: Conversation) -> None:
    with contextlib.suppress(OSError):
        size = fcntl.ioctl(sys.stdin.fileno(), termios.TIOCGWINSZ, struct.pack("HHHH", 0, 0, 0, 0))
        rows, columns, _, _ = struct.unpack("HHHH", size)
        conversation.resize(columns, rows)
