"""A node's kubelet as a component of the lab: the loop it runs in, and its connection to the runtime."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading

from gatewright.lab.kubelet.kubelet import KubeletSettings, keep_node
from gatewright.lab.runtime.client import Runtime, RuntimeFailure

_PATIENCE = 0.1
"""Seconds between two attempts to reach the runtime when the node begins."""
_log = logging.getLogger(__name__)


def run_kubelet(settings: KubeletSettings, stop: threading.Event) -> None:
    """Be a node's kubelet until `stop` is set. Raises LabError when it cannot begin."""
    asyncio.run(_until(settings, stop))


async def _until(settings: KubeletSettings, stop: threading.Event) -> None:
    loop, ended = asyncio.get_running_loop(), asyncio.Event()

    def wait() -> None:
        stop.wait()
        with contextlib.suppress(RuntimeError):  # the loop has ended by itself
            loop.call_soon_threadsafe(ended.set)

    threading.Thread(target=wait, name="stop", daemon=True).start()
    runtime = await _connected(settings, ended)
    if runtime is not None:
        try:
            await keep_node(settings, runtime, ended)
        finally:
            await runtime.close()


async def _connected(settings: KubeletSettings, ended: asyncio.Event) -> Runtime | None:
    """The runtime once it answers, None where the end comes first."""
    told = False
    while not ended.is_set():
        try:
            return await Runtime.connect(settings.socket)
        except RuntimeFailure as error:
            if not told:
                _log.info("waiting for the runtime: %s", error)
                told = True
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_PATIENCE):
                    await ended.wait()
    return None
