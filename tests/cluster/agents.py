"""A node of network namespaces under a real agent: an API server that can be watched, the command, packets.

The server listens on the loopback link of the node's own namespace, so that the agent runs there as it does on a
machine: one process, one kernel, one address to ask. Everything ends with the block, also when a test fails.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from gatewright.agent import client
from tests.packets.netns import TCP, NodeNamespace, Probe, node
from tests.unit.kubeapi.store import Store
from tests.unit.sources.apiserver import kubeconfig
from tests.unit.sources.watchserver import WatchServer, watched

Json = dict[str, Any]
NODE = "node-1"
PODS, NAMESPACES, NODES = "/api/v1/pods", "/api/v1/namespaces", "/api/v1/nodes"
POLICIES = "/apis/networking.k8s.io/v1/networkpolicies"
CLUSTER_POLICIES = "/apis/policy.networking.k8s.io/v1alpha2/clusternetworkpolicies"
WITHIN = 20.0
"""Seconds within which the agent must have done what it is asked for."""
_RUN = "from gatewright.cli.main import main; main()"


@dataclass
class UnderAgent:
    """The node, and the agent's processes. The folder has the kubeconfig of the cluster."""

    where: NodeNamespace
    folder: Path
    options: tuple[str, ...] = ()
    processes: list[subprocess.Popen[str]] = field(default_factory=list)

    # --- the agent ------------------------------------------------------------------------------------------------

    @property
    def socket(self) -> Path:
        """Where the agent answers."""
        return self.folder / "agent.sock"

    def command(self, *words: str, code: int | None = 0) -> str:
        """Run a command of gatewright on the node; what it printed."""
        command = [sys.executable, "-c", _RUN, *words, "--socket", str(self.socket)]
        run = partial(subprocess.run, command, capture_output=True, text=True, timeout=30, check=False)
        done = self.where.namespace.run(run)
        assert code is None or done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def start(self, *more: str) -> subprocess.Popen[str]:
        """Start an agent."""
        words = ["agent", "run", "--node", NODE, "--kubeconfig", str(self.folder / "kubeconfig")]
        words += ["--socket", str(self.socket), "--metrics-address", "127.0.0.1:9469", *self.options, *more]
        log = (self.folder / "log").open("a")
        with log:
            process = self.where.namespace.run(
                lambda: subprocess.Popen([sys.executable, "-c", _RUN, *words], stderr=log, stdout=log, text=True)
            )
        self.processes.append(process)
        return process

    def process(self, *words: str) -> subprocess.Popen[str]:
        """A command that goes on, whose output can be read as it comes."""
        command = [sys.executable, "-c", _RUN, *words, "--socket", str(self.socket)]
        run = partial(subprocess.Popen, command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        process = self.where.namespace.run(run)
        self.processes.insert(0, process)
        return process

    @property
    def log(self) -> str:
        """What the agents have logged."""
        return (self.folder / "log").read_text()

    def flows(self) -> list[Json]:
        """The drops that the agent has told."""
        return [one for _, one in client.flows(self.socket, client.Wanted(), follow=False)]

    def status(self) -> Json:
        """What the agent says of itself; nothing while none answers."""
        try:
            return client.status(self.socket)
        except client.NoAgent:
            return {}

    def kill(self) -> None:
        """End the agent as a crash would."""
        process = self.processes.pop()
        process.send_signal(signal.SIGKILL)
        process.wait(10)

    def end(self) -> None:
        """Tell the agent to stop, and see that it does."""
        process = self.processes.pop()
        process.terminate()
        assert process.wait(10) == 0, self.log

    # --- packets --------------------------------------------------------------------------------------------------

    def reaches(self, source: int, destination: int, port: int = 80, protocol: int = TCP, family: int = 4) -> bool:
        """Whether a new connection gets through now."""
        probe = Probe(source, self.where.pods[destination].addresses[family], protocol, port)
        return self.where.passes([probe])[0]

    def becomes(self, expected: bool, source: int, destination: int, **probe: Any) -> None:
        """Within bounds connections get through, or do not, and it stays so."""
        self.until(
            lambda: self.reaches(source, destination, **probe) is expected,
            f"p{source} -> p{destination} {probe} {'open' if expected else 'closed'}",
        )
        assert self.reaches(source, destination, **probe) is expected

    def until(self, holds: Callable[[], bool], what: str, within: float = WITHIN) -> None:
        """Wait until it holds, within bounds."""
        deadline = time.monotonic() + within
        while not holds():
            assert time.monotonic() < deadline, f"not within {within:g} s: {what}\n{self.status()}\n{self.log}"
            time.sleep(0.02)

    def in_step(self) -> None:
        """Wait until the agent has everything in the kernel."""
        self.until(lambda: self.status().get("state") == "in step", "in step")


@dataclass
class AgentOnNode(UnderAgent):
    """With an API server whose objects a test changes, and whose faults it makes."""

    api: WatchServer = field(default_factory=WatchServer)

    # --- the cluster ----------------------------------------------------------------------------------------------

    def pod(self, number: int, *, labels: Json | None = None, node: str = NODE, **status: Any) -> None:
        """The pod p0, p1 ... with the addresses of that namespace; `app` is its name unless told otherwise."""
        addresses = [str(address) for address in self.where.pods[number].addresses.values()]
        made = {"phase": "Running", "podIP": addresses[0], "podIPs": [{"ip": one} for one in addresses], **status}
        spec = {"nodeName": node, "containers": [{"name": "c", "ports": [{"containerPort": 80, "name": "http"}]}]}
        metadata = {"labels": labels} if labels is not None else {"labels": {"app": f"p{number}"}}
        with self.api.change(PODS) as store:
            store.put(f"p{number}", metadata=metadata, spec=spec, status=made)

    def policy(self, name: str, **spec: Any) -> None:
        """A NetworkPolicy in the pods' namespace."""
        with self.api.change(POLICIES) as store:
            store.put(name, spec=spec)

    def no_policy(self, name: str) -> None:
        """It is gone."""
        with self.api.change(POLICIES) as store:
            store.delete(name)


@contextlib.contextmanager
def agent_on_node(folder: Path, pods: int = 3, *options: str, start: bool = True) -> Iterator[AgentOnNode]:
    """A node with pods p0, p1 ..., an API that knows them, and an agent that has them all in the kernel."""
    stores = {path: Store() for path in (PODS, NAMESPACES, NODES, POLICIES)}
    with contextlib.ExitStack() as stack:
        where = stack.enter_context(node(pods))
        api = WatchServer(stores)
        where.namespace.run(lambda: stack.enter_context(watched(api)))
        kubeconfig(folder / "kubeconfig", api.url)
        made = AgentOnNode(where, folder, options, api=api)
        stack.callback(end_all, made)
        with api.change(NODES) as store:
            store.put(NODE, "", spec={"podCIDRs": ["10.77.0.0/24", "fd77::/64"]}, status={})
        with api.change(NAMESPACES) as store:
            store.put("shop", "", spec={}, status={})
        for number in range(pods):
            made.pod(number)
        if start:
            made.start()
            made.in_step()
        yield made


def end_all(made: UnderAgent) -> None:
    """Kill whatever is left."""
    for process in made.processes:
        process.kill()
        process.wait(10)
