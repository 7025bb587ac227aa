"""Nodes for tests: kubelets in one thread of this process, whose pods are run by a `FakeRunner`.

    with node(api, tmp_path) as made:
        made.create({"metadata": {"name": "web"}, "spec": {...}})
        made.wait_for("web", ready)

Pods have addresses of loopback (127.77.N.0/24), so that probes really ask them.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from gatewright.lab.kubelet.kubelet import KubeletSettings, keep_node
from gatewright.sources.kubeconfig import Where
from tests.cluster.endpoint import WAIT, Endpoint
from tests.cluster.runners import FakePod, FakeRunner

T = TypeVar("T")
Tree = dict[str, Any]
NODE = "node-1"
PODS = "/api/v1/namespaces/default/pods"
MERGE = "application/merge-patch+json"


@dataclass
class ApiPods:
    """The pods of a node, as a client of the API makes and sees them."""

    api: Endpoint

    def create(self, name: str, containers: list[Tree], **spec: Any) -> Tree:
        metadata = {"name": name, **spec.pop("metadata", {})}
        for container in (*containers, *spec.get("initContainers", ())):
            container.setdefault("image", "i")
        tree = {"metadata": metadata, "spec": {"nodeName": NODE, "containers": containers, **spec}}
        answer = self.api.request("POST", PODS, tree)
        assert answer.status == 201, answer.body
        created: Tree = answer.json()
        return created

    def delete(self, name: str, grace: int | None = None) -> None:
        body = {} if grace is None else {"gracePeriodSeconds": grace}
        assert self.api.request("DELETE", f"{PODS}/{name}", body).status == 200

    def get(self, name: str) -> Tree | None:
        answer = self.api.request("GET", f"{PODS}/{name}")
        tree: Tree = answer.json()
        return tree if answer.status == 200 else None

    def wait_for(self, name: str, what: Callable[[Tree], Any], within: float = 10.0) -> Tree:
        deadline = time.monotonic() + within
        while True:
            found = self.get(name)
            if found is not None and what(found):
                return found
            assert time.monotonic() < deadline, found and found.get("status")
            time.sleep(0.02)

    def wait_gone(self, name: str, within: float = 10.0) -> None:
        until(lambda: self.get(name) is None, within)

    def events(self, name: str) -> list[tuple[str, str]]:
        """(reason, message) of the Events about a pod."""
        items = self.api.request("GET", "/api/v1/namespaces/default/events").json()["items"]
        return [(one["reason"], one["message"]) for one in items if one["involvedObject"]["name"] == name]


@dataclass
class Node(ApiPods):
    """A node under test. `stop` and `start` restart its kubelet; the pods of the runner stay."""

    settings: KubeletSettings
    runner: FakeRunner
    loop: asyncio.AbstractEventLoop
    task: asyncio.Task[None] | None = None

    def start(self) -> None:
        async def begin() -> None:
            self.task = asyncio.ensure_future(keep_node(self.settings, self.runner, asyncio.Event()))

        self.call(begin())

    def stop(self) -> None:
        """As abruptly as a task can be ended."""

        async def end() -> None:
            assert self.task
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)
            self.runner.hang_up()

        self.call(end())

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(WAIT)

    def do(self, work: Callable[[], T]) -> T:
        """Call something in the loop's thread."""

        async def done() -> T:
            return work()

        return self.call(done())

    def pod(self, name: str) -> FakePod:
        return next(pod for pod in self.runner.table.values() if pod.setup.name == name)


def until(what: Callable[[], Any], within: float = 10.0) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + within
    while not what():
        assert time.monotonic() < deadline, "it does not come true"
        time.sleep(0.02)


def condition(tree: Tree, kind: str) -> Tree:
    found: Tree = next((one for one in tree["status"].get("conditions", ()) if one["type"] == kind), {})
    return found


def ready(tree: Tree) -> bool:
    return condition(tree, "Ready").get("status") == "True"


def container(tree: Tree, name: str) -> Tree:
    status = tree["status"]
    every = [*status.get("containerStatuses", ()), *status.get("initContainerStatuses", ())]
    found: Tree = next((one for one in every if one["name"] == name), {})
    return found


@contextlib.contextmanager
def node(api: Endpoint, folder: Path, **settings: Any) -> Iterator[Node]:
    """A node; it and its pods are gone when the block ends."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    where = Where(str(api.kubeconfig))
    made = KubeletSettings(NODE, ("127.0.0.1",), where, folder / "none", folder / "node", port=0, **settings)
    found = Node(api, made, FakeRunner(), loop)
    found.start()
    try:
        until(lambda: api.request("GET", f"/api/v1/nodes/{NODE}").status == 200)
        ranges = {"spec": {"podCIDR": "127.77.1.0/24", "podCIDRs": ["127.77.1.0/24"]}}
        assert api.request("PATCH", f"/api/v1/nodes/{NODE}", ranges, MERGE).status == 200
        yield found
    finally:
        found.stop()
        found.call(found.runner.close())
        loop.call_soon_threadsafe(loop.stop)
        thread.join(WAIT)
        loop.close()
