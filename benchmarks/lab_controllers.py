"""The lab's controllers: a Deployment of 100 and of 1,000 pods, from its creation until every pod has a node.

    python -m benchmarks.lab_controllers

The endpoint is a process of its own, and so are the controllers. Beside the time stands what the API alone takes for
the same writes, one after the other by the same client, and what processor time the controllers used.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.api_server import processor
from gatewright.lab.api.resources import BY_PLURAL
from gatewright.lab.apiclient.following import Change, Follower
from gatewright.lab.apiclient.working import run_controllers
from gatewright.lab.apiclient.writing import Writer
from gatewright.lab.controllers.catalogue import ControllerSettings, controllers
from gatewright.sources.kubeconfig import Where

PODS, NODES, DEPLOYMENTS = BY_PLURAL["", "pods"], BY_PLURAL["", "nodes"], BY_PLURAL["apps", "deployments"]
NODE_COUNT = 5
IDLE = 10.0
"""Seconds over which the controllers are watched while nothing happens."""
TARGETS = {"100 pods: beside the API s": 0.5}
Tree = dict[str, Any]


def pod_spec() -> Tree:
    """What every pod runs."""
    return {"containers": [{"name": "main", "image": "registry/app:1", "ports": [{"containerPort": 8080}]}]}


def node(name: str) -> Tree:
    """A node with room."""
    room, ready = {"pods": "500"}, {"type": "Ready", "status": "True"}
    about = {"name": name, "labels": {"kubernetes.io/hostname": name}}
    return {"metadata": about, "status": {"capacity": room, "allocatable": room, "conditions": [ready]}}


def deployment(name: str, replicas: int) -> Tree:
    """So many pods."""
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": pod_spec()}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    return {"metadata": {"name": name}, "spec": spec}


@contextmanager
def started(*command: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """(a process, the first line that it prints)."""
    process = subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        yield process, process.stdout.readline()
    finally:
        process.terminate()
        process.wait(10)


class Bound:
    """Counts pods of a Deployment that have a node."""

    def __init__(self) -> None:
        self._names: set[str] = set()
        self._changed = threading.Condition()

    def __call__(self, changes: list[Change]) -> None:
        """Hear of pods."""
        with self._changed:
            for one in changes:
                if one.after is not None and one.after["spec"].get("nodeName"):
                    self._names.add(one.after["metadata"]["name"])
            self._changed.notify()

    def wait(self, prefix: str, count: int) -> None:
        """Wait until so many of a prefix are bound."""
        with self._changed:
            done = self._changed.wait_for(lambda: sum(one.startswith(prefix) for one in self._names) >= count, 120)
        assert done


def api_alone(writer: Writer, count: int) -> float:
    """Seconds that the writes for so many pods take without controllers: creation and binding."""
    begun = time.perf_counter()
    for number in range(count):
        name = f"alone-{count}-{number}"
        writer.create(PODS, "default", {"metadata": {"name": name}, "spec": {"schedulerName": "none", **pod_spec()}})
        target = {"apiVersion": "v1", "kind": "Node", "name": f"n{number % NODE_COUNT}"}
        body = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}, "target": target}
        writer.post(PODS, "default", name, "binding", body)
    return time.perf_counter() - begun


def memory(process: subprocess.Popen[str]) -> float:
    """Megabytes (PSS) of a process."""
    text = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
    return int(next(line for line in text.splitlines() if line.startswith("Pss:")).split()[1]) / 1024


def measure(kubeconfig: Path, process: subprocess.Popen[str]) -> dict[str, float]:
    """All figures."""
    where = Where(str(kubeconfig))
    writer, bound = Writer(where), Bound()
    for number in range(NODE_COUNT):
        writer.create(NODES, "", node(f"n{number}"))
    follower = Follower(where, (PODS,), bound)
    follower.start()
    assert follower.wait(10)
    found: dict[str, float] = {}
    for count in (100, 1000):
        alone = api_alone(writer, count)
        used, begun = processor(process), time.perf_counter()
        writer.create(DEPLOYMENTS, "default", deployment(f"pods{count}", count))
        bound.wait(f"pods{count}-", count)
        took = time.perf_counter() - begun
        found[f"{count} pods: all bound s"] = took
        found[f"{count} pods: the API alone s"] = alone
        found[f"{count} pods: beside the API s"] = took - alone
        found[f"{count} pods: processor s"] = processor(process) - used
    time.sleep(2)
    used = processor(process)
    time.sleep(IDLE)
    found["idle, % of a core"] = (processor(process) - used) / IDLE * 100
    found["MB with 2,200 pods"] = memory(process)
    follower.stop()
    return found


def main() -> None:
    """Print each figure beside what is asked of it; with a kubeconfig, be the controllers."""
    if sys.argv[1:]:
        settings = ControllerSettings("a certificate", node_grace=3600.0)
        where = Where(sys.argv[1])
        run_controllers(where, controllers(settings), threading.Event(), lambda: print("ready", flush=True))
        return
    with tempfile.TemporaryDirectory() as folder:
        kubeconfig = Path(folder) / "kubeconfig"
        with (
            started("-m", "gatewright", "lab", "api", "serve", "--data", folder),
            started("-m", "benchmarks.lab_controllers", str(kubeconfig)) as (process, _),
        ):
            figures = measure(kubeconfig, process)
    for name, value in figures.items():
        print(f"{name:30}{value:10.3f}" + (f"   asked {TARGETS[name]:g}" if name in TARGETS else ""))


if __name__ == "__main__":
    main()
