"""A node for tests: a kubelet in a thread of this process, whose containers are processes of this machine.

with kubelet(api, tmp_path) as node:        # registers the Node
    node.pod("web", {"c": ["sh", "-c", "echo hello; sleep 60"]})
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from gatewright.lab.kubelet.server import Running, running
from tests.cluster.endpoint import WAIT, Endpoint
from tests.cluster.local_containers import LocalContainer, LocalContainers, Place

T = TypeVar("T")
NAMESPACE = "default"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"


@dataclass(frozen=True)
class Node:
    """A node that runs: its name, its kubelet, and the pods that a test wants on it."""

    name: str
    api: Endpoint
    folder: Path
    containers: LocalContainers
    loop: asyncio.AbstractEventLoop
    served: Running

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Do something in the kubelet's thread."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(WAIT)

    def start(self, pod: str, container: str, command: list[str], **options: Any) -> LocalContainer:
        """Start a container, or start it again."""
        place = Place(self.folder, {"PATH": os.environ["PATH"]}, options.pop("network", None))
        return self.call(self.containers.run((NAMESPACE, pod, container), place, command, **options))

    def pod(self, name: str, commands: dict[str, list[str]], **options: Any) -> None:
        """A pod on this node, with containers that run; keyword arguments are those of LocalContainers.run."""
        terminal, stdin = bool(options.get("terminal")), bool(options.get("stdin"))
        containers = [{"name": one, "image": "i", "stdin": stdin, "tty": terminal} for one in commands]
        create_pod(self.api, name, containers, self.name)
        for container, command in commands.items():
            self.start(name, container, command, **options)


def create_pod(api: Endpoint, name: str, containers: list[dict[str, Any]], node: str) -> None:
    """A pod that says that it runs."""
    pod = {"metadata": {"name": name}, "spec": {"containers": containers, **({"nodeName": node} if node else {})}}
    created = api.request("POST", PODS, pod)
    assert created.status == 201, created.body
    status = {"status": {"phase": "Running"}}
    patched = api.request("PATCH", f"{PODS}/{name}/status", status, "application/merge-patch+json")
    assert patched.status == 200, patched.body


def create_node(api: Endpoint, name: str, status: dict[str, Any]) -> None:
    """A Node with a status."""
    api.request("POST", "/api/v1/nodes", {"metadata": {"name": name}})
    answer = api.request("PATCH", f"/api/v1/nodes/{name}/status", {"status": status}, "application/merge-patch+json")
    assert answer.status == 200, answer.body


@contextlib.contextmanager
def kubelet(api: Endpoint, folder: Path, name: str = "here") -> Iterator[Node]:
    """A node's kubelet for an endpoint; it and its containers are gone when the block ends."""
    assert api.authority
    keys = api.authority.parent
    loop, stop, there = asyncio.new_event_loop(), asyncio.Event(), threading.Event()
    started: list[tuple[LocalContainers, Running]] = []
    failed: list[BaseException] = []

    async def main() -> None:
        containers = LocalContainers(folder / "logs")
        async with running(containers, keys) as served:
            started.append((containers, served))
            there.set()
            await stop.wait()
        await containers.close()

    def run() -> None:
        try:
            loop.run_until_complete(main())
        except BaseException as error:  # noqa: BLE001 - told to the test's thread
            failed.append(error)
        finally:
            there.set()
            loop.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    there.wait(WAIT)
    if failed:
        raise failed[0]
    containers, served = started[0]
    try:
        create_node(api, name, served.node_status)
        yield Node(name, api, folder, containers, loop, served)
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(WAIT)
        assert not thread.is_alive()
    if failed:
        raise failed[0]
