"""A cluster on paper, for the conformance suite: objects in a dictionary, and packets that do what the engine says.

It performs operations as the API would, gives pods addresses and a place, and can be told to lie about some cells.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from gatewright.kubeapi.patch.merge import apply_merge_patch
from gatewright.probe import connect
from gatewright.probe.conformance import base
from gatewright.probe.conformance.model import Cell, Operation, Tree
from gatewright.probe.conformance.seen import Seen
from gatewright.probe.conformance.table import Attempt

OUTSIDE_ADDRESSES = {4: "203.0.113.10", 6: "2001:db8:113::10"}
Lie = Callable[[Attempt], str]
"""What is said of an attempt in place of the truth; empty: the truth."""


class PaperCluster:
    """Satisfies `running.Cluster`. `lie` may change what is measured; `log` lists what was done."""

    def __init__(self, nodes: int = 3, agents: str = "", lie: Lie = lambda attempt: "") -> None:
        self.agents = agents
        self.lie = lie
        self.log: list[str] = []
        self.measured = 0
        self._nodes = [f"node-{number}" for number in range(1, nodes + 1)]
        self._objects: dict[tuple[str, str, str], Tree] = {}
        self._given = Counter[str]()
        self.clean()

    def perform(self, operation: Operation) -> None:
        self.log.append(str(operation))
        key = (operation.kind, operation.namespace, operation.name)
        if operation.verb == "delete":
            del self._objects[key]
            return
        assert operation.body is not None
        if operation.verb == "create":
            assert key not in self._objects, f"{operation}: already exists"
            self._add(copy.deepcopy(operation.body))
        elif operation.verb == "update":
            assert key in self._objects, f"{operation}: not found"
            self._objects[key] = copy.deepcopy(operation.body)
        else:
            self._objects[key] = apply_merge_patch(self._objects[key], operation.body)

    def look(self) -> Seen:
        return Seen(tuple(copy.deepcopy(list(self._objects.values()))), OUTSIDE_ADDRESSES)

    def settle(self) -> None:
        pass

    def programmed(self, patience: float) -> None:
        self.log.append("programmed")

    def measure(self, attempts: Sequence[Attempt], timeout: float) -> list[str]:
        self.measured += 1
        truth = {"allowed": connect.OPEN, "denied": connect.DROPPED}
        return [self.lie(one) or truth.get(one.predicted, one.predicted) for one in attempts]

    def kill_agents(self) -> None:
        self.log.append("kill agents")

    def hold(self, cell: Cell, address: str) -> PaperConnection:
        return PaperConnection(self, cell)

    def alive(self, held: Sequence[PaperConnection]) -> list[bool]:
        keeps, seen = self.agents == "keep-connections", self.look()
        return [keeps or seen.predicted(one.cell) == "allowed" for one in held]

    def ended(self, pod: str) -> str:
        namespace, _, name = pod.partition("/")
        return str(self._objects["Pod", namespace, name]["status"]["phase"])

    def not_ready(self, pods: Iterable[str], seconds: float) -> list[str]:
        return []

    def program(self, name: str) -> list[str]:
        self.log.append(name)
        return []

    def clean(self) -> None:
        self.log.append("clean")
        self._objects = {}
        self._given.clear()
        for number, name in enumerate(self._nodes, start=1):
            addresses = [f"172.31.255.{10 + number}", f"fd00:10:31::{10 + number:x}"]
            self._add(
                {
                    "apiVersion": "v1",
                    "kind": "Node",
                    "metadata": {"name": name},
                    "status": {"addresses": [{"type": "InternalIP", "address": one} for one in addresses]},
                }
            )
        for tree in (*base.namespaces(), *base.pods(self._nodes), *base.services()):
            self._add(tree)

    def _add(self, tree: Tree) -> None:
        metadata = tree["metadata"]
        self._objects[tree["kind"], metadata.get("namespace", ""), metadata["name"]] = tree
        if tree["kind"] == "Namespace":
            metadata.setdefault("labels", {})["kubernetes.io/metadata.name"] = metadata["name"]
        elif tree["kind"] == "Service":
            number = self._next("services")
            tree["spec"]["clusterIPs"] = [f"10.96.0.{number}", f"fd00:10:96::{number:x}"]
            if tree["spec"].get("type") == "NodePort":
                tree["spec"]["ports"][0]["nodePort"] = 30080
        elif tree["kind"] == "Pod":
            tree["status"] = self._status(tree)

    def _next(self, of: str) -> int:
        """The next number of an address, from 2 on."""
        self._given[of] += 1
        return self._given[of] + 1

    def _status(self, pod: Tree) -> Tree:
        """As a kubelet would report it; a program that runs once does what the name of its pod says."""
        node = self._nodes.index(pod["spec"]["nodeName"]) + 1
        phase = "Running"
        if pod["spec"].get("restartPolicy") == "Never":
            phase = "Failed" if pod["metadata"]["name"] == "denied" else "Succeeded"
        host = [f"172.31.255.{10 + node}", f"fd00:10:31::{10 + node:x}"]
        addresses = host
        if not pod["spec"].get("hostNetwork"):
            number = self._next(pod["spec"]["nodeName"])
            addresses = [f"10.244.{node}.{number}", f"fd00:10:244:{node}::{number:x}"]
        return {
            "phase": phase,
            "hostIP": host[0],
            "hostIPs": [{"ip": one} for one in host],
            "podIP": addresses[0],
            "podIPs": [{"ip": one} for one in addresses],
        }


class PaperConnection:
    """A connection that lives as long as the engine would allow it to be opened."""

    def __init__(self, cluster: PaperCluster, cell: Cell) -> None:
        self._cluster = cluster
        self.cell = cell

    def close(self) -> None:
        self._cluster.log.append(f"close {self.cell}")
