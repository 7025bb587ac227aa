"""Whatever happens in whatever order, in the end every pod is as the API has it: random histories of a node."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.endpoint import Endpoint, endpoint
from tests.cluster.nodes import PODS, Node, container, node, ready, until

pytestmark = [pytest.mark.cluster, pytest.mark.slow]
NAMES = ("a", "b", "c", "d")
STEPS = 60


class History:
    """Does things at random to a node."""

    def __init__(self, here: Node, seed: int) -> None:
        self.here, self.chance = here, random.Random(seed)
        self.done: list[str] = []

    def step(self) -> None:
        name = self.chance.choice(NAMES)
        what = self.chance.choice(
            (
                self.create,
                self.create,
                self.create,
                self.delete,
                self.kill,
                self.crash,
                self.die,
                self.restart,
                self.mark,
            )
        )
        self.done.append(f"{what.__name__} {name}")
        what(name)

    def create(self, name: str) -> None:
        containers: list[dict[str, Any]] = [{"name": "main", "image": "i", "ports": [{"containerPort": 8080}]}]
        initial = [{"name": "first", "image": "i", "command": ["exit", "0", str(self.chance.choice((0, 0.05)))]}]
        if self.chance.random() < 0.3:
            containers[0]["command"] = ["stubborn"]
            del containers[0]["ports"]
        spec = {"nodeName": "node-1", "containers": containers, "terminationGracePeriodSeconds": 1}
        if self.chance.random() < 0.3:
            spec["initContainers"] = initial
        self.here.api.request("POST", PODS, {"metadata": {"name": name}, "spec": spec})

    def delete(self, name: str) -> None:
        self.here.api.request("DELETE", f"{PODS}/{name}", {})

    def kill(self, name: str) -> None:
        self.here.api.request("DELETE", f"{PODS}/{name}", {"gracePeriodSeconds": 0})

    def crash(self, name: str) -> None:
        def end() -> None:
            for pod in self.here.runner.table.values():
                if pod.setup.name == name and "main" in pod.containers:
                    self.here.runner.end(name, "main", 1)
                    return

        self.here.do(end)

    def die(self, name: str) -> None:
        def end() -> None:
            for uid, pod in self.here.runner.table.items():
                if pod.setup.name == name and not pod.dead:
                    self.here.runner.die(uid)
                    return

        self.here.do(end)

    def restart(self, name: str) -> None:
        self.here.stop()
        if self.chance.random() < 0.5:
            self.chance.choice((self.create, self.delete, self.crash))(name)
        self.here.start()

    def mark(self, name: str) -> None:
        labels = {"metadata": {"labels": {"x": str(self.chance.randrange(100))}}}
        self.here.api.request("PATCH", f"{PODS}/{name}", labels, "application/merge-patch+json")


def settled(here: Node) -> bool:
    items = here.api.request("GET", PODS).json()["items"]
    table = {uid: pod for uid, pod in here.runner.table.items() if not pod.dead}
    if {one["metadata"]["uid"] for one in items} != set(table) or len(table) != len(here.runner.table):
        return False
    for one in items:
        pod = table[one["metadata"]["uid"]]
        run = pod.containers.get("main")
        if one["metadata"].get("deletionTimestamp") or run is None or not run.running or not ready(one):
            return False
        if container(one, "main")["restartCount"] != run.setup.run or one["status"]["podIP"] != pod.setup.addresses[0]:
            return False
    addresses = [one["status"]["podIP"] for one in items]
    return len(set(addresses)) == len(addresses)


@pytest.mark.parametrize("seed", range(3))
def test_histories(api: Endpoint, tmp_path: Path, seed: int) -> None:
    with node(api, tmp_path) as here:
        history = History(here, seed)
        for _ in range(STEPS):
            history.step()
            time.sleep(history.chance.choice((0, 0, 0.01, 0.1)))
        try:
            until(lambda: settled(here), 40)
        except AssertionError:
            items = here.api.request("GET", PODS).json()["items"]
            told = {one["metadata"]["name"]: [one["metadata"]["uid"], one["status"]] for one in items}
            table = {uid: pod.setup.name for uid, pod in here.runner.table.items()}
            pytest.fail(f"{history.done}\n{here.runner.told[-30:]}\n{table}\n{json.dumps(told, indent=1)}")


@pytest.fixture
def api(tmp_path: Path) -> Any:
    with endpoint(tmp_path / "api") as found:
        yield found
