"""exec and attach: a program's streams on the one side, the channels of a WebSocket on the other.

Nothing is buffered here but the piece in hand: a program that prints faster than its client reads waits, as does a
client that sends faster than the program reads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from gatewright.kubeapi import channels
from gatewright.kubeapi.channels import ChannelError
from gatewright.lab.asgi import Gone, WebSocket
from gatewright.lab.errors import LabError
from gatewright.lab.kubelet.containers import Conversation, Reader

LINGER = 1.0
"""Seconds that output may still come from others when the program itself has ended."""
STALLED = 0.5
"""Seconds between two questions whether a client is still there whose input nobody takes."""


async def converse(websocket: WebSocket, protocol: str, conversation: Conversation, wanted: frozenset[int]) -> None:
    """Carry everything until the program ends or the client leaves; the last message says how it ended."""
    talking = asyncio.gather(
        *(
            _copy(reader, websocket, channel if channel in wanted else None)
            for channel, reader in conversation.outputs.items()
        )
    )
    listening = asyncio.ensure_future(_listen(websocket, protocol, conversation))
    ending = asyncio.ensure_future(_ended(conversation, talking))
    try:
        await websocket.send(channels.message(channels.STDOUT))  # some clients wait for a first message
        await asyncio.wait((listening, ending), return_when=asyncio.FIRST_COMPLETED)
        if ending.done():
            await websocket.send(ending.result())
            await websocket.close()
        else:
            await _refuse(listening, websocket)
    except Gone:
        return
    finally:
        await _cancel(listening, ending, talking)
        conversation.release()


async def _ended(conversation: Conversation, talking: asyncio.Future[Any]) -> bytes:
    code = asyncio.ensure_future(conversation.wait())
    try:
        await asyncio.wait((code, talking), return_when=asyncio.FIRST_COMPLETED)
        if talking.done():
            talking.result()
        status = channels.ended(await code)
        await asyncio.wait((talking,), timeout=LINGER)
        if talking.done():
            talking.result()
    except LabError as error:
        return channels.failed(str(error))
    finally:
        await _cancel(code)
    return status


async def _copy(reader: Reader, websocket: WebSocket, channel: int | None) -> None:
    while data := await reader.read():
        if channel is not None:
            await websocket.send(channels.message(channel, data))


async def _listen(websocket: WebSocket, protocol: str, conversation: Conversation) -> None:
    """Pass on what the client says until it leaves. Raises Gone, ChannelError."""
    while True:
        said = channels.event(await websocket.receive(), protocol)
        if isinstance(said, channels.Input):
            await while_there(conversation.write(said.data), websocket, channels.message(channels.STDOUT))
        elif isinstance(said, channels.Closed):
            conversation.close_input()
        elif isinstance(said, channels.Resized):
            conversation.resize(said.columns, said.rows)


async def while_there(work: Coroutine[Any, Any, None], websocket: WebSocket, question: bytes) -> None:
    """Do what may take long, and meanwhile send something harmless now and then. Raises Gone.

    Nothing is read from the client meanwhile, so that its going would only be noticed by sending.
    """
    task = asyncio.ensure_future(work)
    try:
        while not (await asyncio.wait((task,), timeout=STALLED))[0]:
            await websocket.send(question)
        task.result()
    finally:
        await _cancel(task)


async def _refuse(listening: asyncio.Future[None], websocket: WebSocket) -> None:
    try:
        listening.result()
    except ChannelError as error:
        await websocket.close(1002, str(error))


async def _cancel(*tasks: asyncio.Future[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
