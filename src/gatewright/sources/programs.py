"""Running a program whose output is read (manifests, credentials), within bounds of size and time.

The input of such a program (a chart, a kustomization) may be anybody's. Whatever it does, the run ends: after `seconds`
or `most` bytes of output the program and everything it started are killed, and the caller gets one error.
"""

from __future__ import annotations

import contextlib
import os
import re
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from typing import IO

from gatewright.errors import GatewrightError

LONGEST = 60.0
"""Seconds a program may take: the largest published charts render within two."""
MOST_SAID = 64 * 1024
"""Bytes of a program's complaints that are kept."""
_CHUNK = 1 << 16
_LOG_PREFIX = re.compile(r'^(error: |[EF]\d{4} [\d:.]+ +\d+ [\w.]+:\d+\] ("command failed" err=)?)')
"""What kubectl writes before an error: the time, its own source line."""


class ProgramFailed(GatewrightError):
    """A program that did not start, did not end well, took too long or wrote too much. The text says which."""


def run(
    command: Sequence[str], most: int, seconds: float = LONGEST, environment: Mapping[str, str] | None = None
) -> bytes:
    """What the command writes to standard output; it has the environment of this process or the one given.

    Raises ProgramFailed.
    """
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            env=environment,
        )
    except OSError as error:
        raise ProgramFailed(f"{command[0]} does not start: {error.strerror or error}") from error
    with process:
        try:
            output, said = _collect(process, command[0], most, time.monotonic() + seconds, seconds)
        finally:
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
    if process.returncode:
        raise ProgramFailed(f"{command[0]} says: {complaint(said)}")
    return output


def _collect(
    process: subprocess.Popen[bytes], name: str, most: int, deadline: float, seconds: float
) -> tuple[bytes, bytes]:
    """(standard output, standard error) until the program has closed both and ended."""
    assert process.stdout is not None
    assert process.stderr is not None
    output, said = bytearray(), bytearray()
    kept: dict[IO[bytes], bytearray] = {process.stdout: output, process.stderr: said}
    with selectors.DefaultSelector() as selector:
        for stream in kept:
            selector.register(stream, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(max(0.0, deadline - time.monotonic()))
            if not ready:
                raise ProgramFailed(f"{name} did not end within {seconds:g} seconds")
            for key, _ in ready:
                stream = process.stdout if key.fileobj is process.stdout else process.stderr
                data = os.read(stream.fileno(), _CHUNK)
                if not data:
                    selector.unregister(stream)
                elif stream is process.stdout:
                    output += data
                else:
                    said += data[: MOST_SAID - len(said)]
            if len(output) > most:
                raise ProgramFailed(f"{name} writes more than {most // (1024 * 1024)} MB")
    try:
        process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired as error:
        raise ProgramFailed(f"{name} did not end within {seconds:g} seconds") from error
    return bytes(output), bytes(said)


def complaint(said: bytes) -> str:
    """The one line of a program's complaints that says what is wrong: its first error, else its last line."""
    text = said.decode("utf-8", "replace")
    lines = ["".join(c for c in line if c.isprintable()).strip() for line in text.splitlines()]
    lines = [line for line in lines if line] or ["nothing"]
    found = next((line for line in lines if line.lower().startswith("error")), lines[-1])
    found = _LOG_PREFIX.sub("", found).strip('"')
    return found if len(found) <= 500 else f"{found[:500]}..."
