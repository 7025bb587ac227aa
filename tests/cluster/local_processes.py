"""A process of this machine with the ends of its pipes, or of its terminal, in an event loop: a container of a test.

Each is the first process of a session and a group of its own, so that ending the group ends what it started.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gatewright.kubeapi.channels import STDERR, STDOUT
from gatewright.lab.kubelet.containers import CannotStart, Reader
from gatewright.lab.kubelet.pipes import Pipe, ready

_END_OF_INPUT = b"\x04"


@dataclass(frozen=True, slots=True)
class Program:
    """What to run, and where. `prefix` is what enters a namespace first, such as nsenter and its options."""

    command: Sequence[str]
    directory: Path
    environment: Mapping[str, str]
    prefix: Sequence[str] = ()


class Process:
    """A running program: a `Conversation` that ends with it."""

    def __init__(self, program: Program, *, stdin: bool, terminal: bool) -> None:
        """Start it. Raises CannotStart."""
        _check(program)
        self._terminal = terminal
        self._given: Pipe | None = None
        self.outputs: dict[int, Reader] = {}
        ours, theirs = _terminal() if terminal else _pipes(stdin)
        try:
            self._process = _spawn(program, theirs, terminal)
        except OSError as error:
            for descriptor in ours:
                os.close(descriptor)
            raise CannotStart(f'exec: "{program.command[0]}": {error.strerror}') from error
        finally:
            for descriptor in set(theirs):
                os.close(descriptor)
        self._handle = os.pidfd_open(self._process.pid)
        self._pipes = [Pipe(descriptor) for descriptor in ours]
        if terminal:
            self.outputs = {STDOUT: self._pipes[0]}
            self._given = self._pipes[0]
        else:
            self.outputs = {STDOUT: self._pipes[0], STDERR: self._pipes[1]}
            self._given = self._pipes[2] if stdin else None

    async def write(self, data: bytes) -> None:
        """Give it input."""
        if self._given is not None:
            await self._given.write(data)

    def close_input(self) -> None:
        """Close its input; on a terminal, type what ends it."""
        if self._given is None:
            return
        if self._terminal:
            self._given.type(_END_OF_INPUT)
        else:
            self._given.close()

    def resize(self, columns: int, rows: int) -> None:
        """Set the size of its terminal."""
        if self._terminal:
            self._pipes[0].resize(columns, rows)

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    async def wait(self) -> int:
        """Its exit code, as a shell counts it."""
        loop = asyncio.get_running_loop()
        while self.running:
            await ready(self._handle, loop.add_reader, loop.remove_reader)
        code = self._process.returncode
        return code if code >= 0 else 128 - code

    def release(self) -> None:
        """End it and its group unless it has ended by itself; close its pipes."""
        if self.running:
            for kill in (os.killpg, os.kill):  # the group is its own only once `setsid` has run
                with contextlib.suppress(ProcessLookupError):
                    kill(self._process.pid, signal.SIGKILL)
            self._process.wait()
        for pipe in self._pipes:
            pipe.close()
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


def _check(program: Program) -> None:
    name, path = program.command[0], program.environment.get("PATH", os.defpath)
    if "\0" in "".join(program.command):
        raise CannotStart("exec: a command holds a NUL character")
    if not program.directory.is_dir():
        raise CannotStart(f"exec: the directory {program.directory} does not exist")
    if "/" in name:
        if not (program.directory / name).is_file():
            raise CannotStart(f'exec: "{name}": no such file or directory')
        if not os.access(program.directory / name, os.X_OK):
            raise CannotStart(f'exec: "{name}": permission denied')
    elif shutil.which(name, path=path) is None:
        raise CannotStart(f'exec: "{name}": executable file not found in $PATH')


def _pipes(stdin: bool) -> tuple[list[int], tuple[int, int, int]]:
    """(our ends: output, errors and perhaps input; the program's 0, 1 and 2)."""
    output, errors = os.pipe(), os.pipe()
    if not stdin:
        return [output[0], errors[0]], (os.open(os.devnull, os.O_RDONLY), output[1], errors[1])
    given = os.pipe()
    return [output[0], errors[0], given[1]], (given[0], output[1], errors[1])


def _terminal() -> tuple[list[int], tuple[int, int, int]]:
    near, far = os.openpty()
    return [near], (far, far, far)


def _spawn(program: Program, standard: tuple[int, int, int], terminal: bool) -> subprocess.Popen[bytes]:
    environment = dict(program.environment)
    command = [*program.prefix, *program.command]
    if terminal:
        environment.setdefault("TERM", "xterm")
        command = ["setsid", "--ctty", *command]  # makes the session, and the terminal its own
    return subprocess.Popen(
        command,
        stdin=standard[0],
        stdout=standard[1],
        stderr=standard[2],
        cwd=program.directory,
        env=environment,
        start_new_session=not terminal,
    )
