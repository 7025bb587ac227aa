"""The lab's controllers at work on an endpoint of their own, with nodes that no machine stands behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gatewright.lab.api.resources import BY_PLURAL, Resource
from gatewright.lab.apiclient.working import run_controllers
from gatewright.lab.apiclient.writing import Writer
from gatewright.lab.controllers.catalogue import ControllerSettings, controllers
from gatewright.sources.kubeconfig import Where
from tests.cluster.endpoint import kubectl, process
from tests.cluster.fake_kubelets import PODS, Tree, kubelets, node

DEPLOYMENTS, REPLICA_SETS = BY_PLURAL["apps", "deployments"], BY_PLURAL["apps", "replicasets"]
REVISIONS = BY_PLURAL["apps", "controllerrevisions"]
STATEFUL_SETS, DAEMON_SETS = BY_PLURAL["apps", "statefulsets"], BY_PLURAL["apps", "daemonsets"]
JOBS, CRON_JOBS = BY_PLURAL["batch", "jobs"], BY_PLURAL["batch", "cronjobs"]


@dataclass(frozen=True)
class Lab:
    """An API with nodes and controllers."""

    kubeconfig: Path
    writer: Writer

    def kubectl(self, *arguments: str, **options: Any) -> str:
        return kubectl(self.kubeconfig, *arguments, **options)

    def apply(self, *trees: Tree) -> None:
        self.kubectl("create", "-f", "-", text="\n---\n".join(map(json.dumps, trees)))

    def get(self, resource: Resource, name: str, namespace: str = "default") -> Tree:
        return self.writer.get(resource, namespace if resource.namespaced else "", name)

    def pods(self, labels: str = "", namespace: str = "default") -> list[Tree]:
        return self.writer.list(PODS, namespace, **({"labelSelector": labels} if labels else {}))

    def alive(self, labels: str = "") -> list[Tree]:
        return [one for one in self.pods(labels) if not one["metadata"].get("deletionTimestamp")]


@contextmanager
def working(where: Where, settings: ControllerSettings) -> Iterator[None]:
    """The controllers, in a thread."""
    stop, ready = threading.Event(), threading.Event()
    arguments = (where, controllers(settings), stop, ready.set)
    thread = threading.Thread(target=run_controllers, args=arguments, daemon=True)
    thread.start()
    try:
        assert ready.wait(20)
        yield
    finally:
        stop.set()
        thread.join(10)
        assert not thread.is_alive()


@contextmanager
def lab(folder: Path, nodes: Sequence[Tree] | None = None, **settings: Any) -> Iterator[Lab]:
    """Everything: three nodes, unless others are given."""
    with process(folder) as api:
        where = Where(str(api.kubeconfig))
        given = ControllerSettings("a certificate", **settings)
        with working(where, given), kubelets(where, *(nodes or map(node, ("n1", "n2", "n3")))) as writer:
            yield Lab(api.kubeconfig, writer)


class Killable:
    """The controllers as a process, to be killed and started again."""

    def __init__(self, kubeconfig: Path) -> None:
        self._kubeconfig = kubeconfig
        self.start()

    def start(self) -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-m", "tests.cluster.lab_controllers", str(self._kubeconfig)]
        self.process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout
        assert self.process.stdout.readline() == "ready\n"

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate(timeout=10)


def main() -> None:
    """Run the controllers until the process is killed."""
    where = Where(sys.argv[1])
    run_controllers(
        where, controllers(ControllerSettings("a certificate")), threading.Event(), lambda: print("ready", flush=True)
    )


def workload(kind: str, name: str, image: str = "runs:1", **spec: Any) -> Tree:
    """A Deployment, StatefulSet or DaemonSet whose pods are labelled app=NAME; `pod` adds to their spec."""
    pod = spec.pop("pod", {})
    template = {
        "metadata": {"labels": {"app": name}},
        "spec": {"containers": [{"name": "main", "image": image}], **pod},
    }
    given = {"selector": {"matchLabels": {"app": name}}, "template": template, **spec}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name}, "spec": given}


def job(name: str, image: str = "ends:0", **spec: Any) -> Tree:
    """A Job."""
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": image}]}}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {"template": template, **spec},
    }


def bare_pod(name: str, image: str = "runs:1", labels: dict[str, str] | None = None, **spec: Any) -> Tree:
    """A pod of its own."""
    about = {"name": name, "labels": labels or {}}
    containers = spec.pop("containers", [{"name": "main", "image": image}])
    return {"apiVersion": "v1", "kind": "Pod", "metadata": about, "spec": {"containers": containers, **spec}}


if __name__ == "__main__":
    main()
