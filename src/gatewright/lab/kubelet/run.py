"""A node's kubelet as a component of the lab: the loop it runs in, and its connection to the runtime."""

from __future__ import annotations

import asyncio
import contextlib
import threading

from gatewright.lab.kubelet.kubelet import KubeletSettings, keep_node
from gatewright.lab.runtime.client import Runtime


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
    await keep_node(settings, await Runtime.connect(settings.socket), ended)
