"""A node for tests: programs run on this machine, logs are what a test says, ports are those of loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from gatewright.lab.api.node import Execution, LogOptions, NodeError, NoSuchLog

Tree = dict[str, Any]


class LocalNode:
    """Every pod is this machine."""

    async def execute(self, execution: Execution) -> int:
        """Run a program here."""
        pipe = asyncio.subprocess.PIPE
        try:
            running = await asyncio.create_subprocess_exec(*execution.command, stdin=pipe, stdout=pipe, stderr=pipe)
        except FileNotFoundError:
            raise NodeError(f"{execution.command[0]}: no such program in container {execution.container}") from None
        assert running.stdin
        assert running.stdout
        assert running.stderr
        feeding = asyncio.ensure_future(self._feed(execution, running.stdin))
        try:
            await asyncio.gather(
                self._copy(running.stdout, execution.stdout), self._copy(running.stderr, execution.stderr)
            )
            return await running.wait()
        finally:
            feeding.cancel()
            if running.returncode is None:
                running.kill()
                await running.wait()

    async def _feed(self, execution: Execution, writer: asyncio.StreamWriter) -> None:
        if execution.stdin is not None:
            async for piece in execution.stdin:
                writer.write(piece)
                await writer.drain()
        writer.close()

    async def _copy(self, reader: asyncio.StreamReader, write: Any) -> None:
        while data := await reader.read(65536):
            await write(data)

    async def logs(self, pod: Tree, container: str, options: LogOptions) -> AsyncIterator[bytes]:
        """Three lines, and with `follow` two more a little later."""
        if options.previous:
            raise NoSuchLog(f'previous terminated container "{container}" in pod "{pod["metadata"]["name"]}" not found')
        lines = [f"{container} line {number}\n".encode() for number in range(3)]
        yield b"".join(lines[-options.tail :] if options.tail else lines)
        for number in range(3, 5) if options.follow else ():
            await asyncio.sleep(0.05)
            yield f"{container} line {number}\n".encode()

    async def connect(self, pod: Tree, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to the port here."""
        return await asyncio.open_connection("127.0.0.1", port)
