"""A lab as the cluster of the suite: objects through its API, packets out of its pods, its agents killed by its client.

`own_lab` is a lab that stands for the suite alone; `of_lab` uses one that is up.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterable, Iterator, Sequence
from functools import partial

from gatewright.errors import GatewrightError
from gatewright.lab import client, reaching, settling
from gatewright.lab.network.plan import DEFAULT_POD_CIDRS, Plan
from gatewright.lab.supervisor.settings import LabSettings, numbered
from gatewright.probe.conformance.api_operations import api_operations
from gatewright.probe.conformance.model import KEEP_CONNECTIONS, OUTSIDE, START_CLOSED, Cell, Operation
from gatewright.probe.conformance.objects import Objects
from gatewright.probe.conformance.seen import Seen, by_family
from gatewright.probe.conformance.table import Attempt
from gatewright.probe.conformance.worker import Worker, alive
from gatewright.sources.kubeconfig import Where

NODES = 3
_START_WITHIN = 60.0
_ANSWER_WITHIN = 1.0
_LOOK = 0.02


class LabCluster:
    """Satisfies `running.Cluster` for a lab that is up."""

    def __init__(self, name: str, agents: str = "") -> None:
        """Makes the model in the lab. `agents` says how its agents are set. Raises GatewrightError."""
        self.agents = agents
        self._name = name
        self._where = Where(str(reaching.kubeconfig(name)))
        self._worker = Worker(partial(client.on_node, name))
        self._objects = Objects(self._where, by_family(reaching.machines(name)["outsideAddresses"]))
        self._pids: dict[str, int] = {}
        self._known_pods: frozenset[str] | None = None
        try:
            self._objects.start()
        except BaseException:
            self.close()
            raise

    def close(self, *, tidy: bool = True) -> None:
        """Let go of the lab; `tidy`: take the model away, too."""
        try:
            self._objects.close(tidy=tidy)
        finally:
            self._worker.close()

    def perform(self, operation: Operation) -> None:
        """Make one call of the API; what is deleted is gone afterwards."""
        self._objects.perform(operation)

    def look(self) -> Seen:
        """The objects as they are now."""
        return self._objects.look()

    def settle(self) -> None:
        """Wait until every pod that is to run is ready."""
        self._objects.settle()

    def programmed(self, patience: float) -> None:
        """Wait, so long at most, until every agent says that the newest objects are in its kernel."""
        until = time.monotonic() + patience
        while settling.behind(self._name, self._objects.newest()) and time.monotonic() < until:
            time.sleep(_LOOK)

    def measure(self, attempts: Sequence[Attempt], timeout: float) -> list[str]:
        """What became of each attempt: a word of `connect`, with the detail where it could not be tried."""
        targets = [
            {
                "source": self._pid(one.cell.source),
                "address": one.address,
                "protocol": one.cell.protocol.value,
                "port": one.port,
                "answers": one.answers,
            }
            for one in attempts
        ]
        answers = self._worker.measure({"timeout": timeout, "attempts": 1, "targets": targets})
        return [f"{one['result']}: {one['detail']}" if one["result"] == "error" else one["result"] for one in answers]

    def kill_agents(self) -> None:
        """Kill the agent of every node."""
        for node in reaching.machines(self._name)["nodes"]:
            client.kill(self._name, f"{node['name']}/agent")

    def hold(self, cell: Cell, address: str) -> socket.socket:
        """Open a connection and keep it."""
        return self._worker.hold(self._pid(cell.source), address, cell.port)

    def alive(self, held: Sequence[socket.socket]) -> list[bool]:
        """Which of the connections still carry data."""
        return alive(held, _ANSWER_WITHIN)

    def ended(self, pod: str) -> str:
        """Wait until a pod has ended; its phase."""
        return self._objects.ended(pod)

    def not_ready(self, pods: Iterable[str], seconds: float) -> list[str]:
        """The pods of these that are not ready at some moment of the next seconds."""
        return self._objects.not_ready(pods, seconds)

    def program(self, name: str) -> list[str]:
        """Run something that is no table; what is wrong."""
        if name != "api-operations":
            raise GatewrightError(f"the suite has no program {name}")
        return api_operations(self._where)

    def clean(self) -> None:
        """Bring everything back to the nine pods of the model."""
        self._objects.clean()

    def _pid(self, name: str) -> int:
        """The process that holds the network of a pod, or of the outside host."""
        pods = self._objects.pod_uids()
        if pods != self._known_pods or name not in self._pids:
            self._pids, self._known_pods = client.pids(self._name), pods
        if name not in self._pids:
            where = "the host outside" if name == OUTSIDE else f"pod {name}"
            raise GatewrightError(f"{where} has no process in the lab; see: gatewright lab status")
        return self._pids[name]


@contextlib.contextmanager
def of_lab(name: str) -> Iterator[LabCluster]:
    """A lab that is up, with its agents as they are by default."""
    cluster = LabCluster(name)
    try:
        yield cluster
    finally:
        cluster.close()


@contextlib.contextmanager
def own_lab(agents: str = "", nodes: int = NODES) -> Iterator[LabCluster]:
    """A lab of this process' own with its agents set in one way; it is taken down afterwards."""
    name = f"conformance-{os.getpid()}"
    settings = LabSettings(
        nodes=numbered(nodes),
        plan=Plan.of(DEFAULT_POD_CIDRS, nodes),
        start_closed=agents == START_CLOSED,
        keep_connections=agents == KEEP_CONNECTIONS,
    )
    client.up(settings, name)
    try:
        settling.wait(name, _START_WITHIN)
        cluster = LabCluster(name, agents)
        try:
            yield cluster
        finally:
            cluster.close(tidy=False)
    finally:
        client.down(name)
