"""What a node's agent needs for one change of the cluster: from the watch event's bytes to the kernel's commit.

A generated cluster (10,000 pods, 1,000 policies, 110 pods on the node) is loaded, then changed fifty times a second for
a minute: pods created, addressed, relabelled and deleted anywhere in the cluster (every fourth on the node),
policies created, rewritten and deleted (every fourth in a namespace that has pods on the node). Each event is a line as
an API server writes it. It is decoded, compiled, turned into a change of the node's program and committed, in a network
namespace of its own.

Run as root, or rootless: `unshare -Urn python -m benchmarks.agent_changes`. `--pods N` takes another size,
`--seconds N` another length, `--load` stops after the first load.
"""

from __future__ import annotations

import argparse
import gc
import random
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import msgspec

from benchmarks.clusters import NODE_OF_10K, NODE_PODS, Shape, objects
from benchmarks.wire import event, page
from gatewright.engine.compile import Compiled, compile_snapshot
from gatewright.engine.model import Endpoint
from gatewright.engine.snapshot import Changes, Snapshot
from gatewright.kernel.apply import apply_change, read_back
from gatewright.kernel.apply import replace as replace_table
from gatewright.kernel.nft import Nft, NodeNft
from gatewright.kernel.node import NodeProgram
from gatewright.objects.core import Namespace, Pod, PodStatus
from gatewright.objects.meta import Object
from gatewright.objects.policy import NetworkPolicy
from gatewright.objects.watched import Event, Reader
from tests.packets.netns import Namespace as NetworkNamespace

T = TypeVar("T")
NODE = "node-0000"
A_SECOND = 50
READERS = (("", "Namespace", Namespace), ("", "Pod", Pod), ("networking.k8s.io", "NetworkPolicy", NetworkPolicy))
KINDS = {"Pod": "", "NetworkPolicy": "networking.k8s.io"}
Step = tuple[str, str, Object]
"""(name of the kind of change, event type, object)."""


def is_here(one: Endpoint) -> bool:
    """Whose rules the node needs."""
    return one.node == NODE and not one.host_network


def changes(made: list[Object], chance: random.Random) -> Iterator[Step]:
    """Changes without end; each is undone by one that follows, so the cluster stays as large as it is."""
    pods = [item for item in made if isinstance(item, Pod)]
    here = [pod for pod in pods if pod.spec.node_name == NODE]
    policies = [item for item in made if isinstance(item, NetworkPolicy)]
    near = {pod.namespace for pod in here}
    policies_near = [one for one in policies if one.namespace in near]
    while True:
        close = chance.random() < 0.25
        pod, model = chance.choice(here if close else pods), chance.choice(pods)
        if chance.random() < 0.75:
            waiting = msgspec.structs.replace(pod, status=PodStatus(phase="Pending"))
            labels = msgspec.structs.replace(pod.metadata, labels=model.metadata.labels)
            yield "pod deleted", "DELETED", pod
            yield "pod created", "ADDED", waiting
            yield "pod addressed", "MODIFIED", pod
            yield "pod relabelled", "MODIFIED", msgspec.structs.replace(pod, metadata=labels)
            yield "pod relabelled", "MODIFIED", pod
        else:
            one, other = chance.choice(policies_near if close else policies), chance.choice(policies)
            yield "policy deleted", "DELETED", one
            yield "policy created", "ADDED", one
            yield "policy rewritten", "MODIFIED", msgspec.structs.replace(one, spec=other.spec)
            yield "policy rewritten", "MODIFIED", one


@dataclass
class Agent:
    """The speed path of an agent: events in, transactions out."""

    compiled: Compiled
    node: NodeProgram
    nft: Nft
    readers: dict[str, Reader] = field(
        default_factory=lambda: {name: Reader(group, name) for name, group in KINDS.items()}
    )
    parts: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    commits: int = 0

    def take(self, kind: str, line: bytes) -> None:
        """One event."""
        started = time.perf_counter()
        changed = _changes(self.readers[kind].event(line))
        decoded = time.perf_counter()
        update = self.compiled.apply(changed)
        self.compiled = update.compiled
        compiled = time.perf_counter()
        self.node, change = self.node.after(update)
        programmed = time.perf_counter()
        if change:
            apply_change(self.nft, change)
            self.commits += 1
        marks = (started, decoded, compiled, programmed, time.perf_counter())
        for part, first, last in zip(("decode", "compile", "program", "commit"), marks, marks[1:], strict=False):
            self.parts[part].append((last - first) * 1e3)


def _changes(read: Event) -> Changes:
    item = read.item
    if item is None or item.object is None:
        raise ValueError("the generated events can all be read")
    return Changes(gone=(item.key,)) if read.type == "DELETED" else Changes((item.object,))


def load(shape: Shape, nft: Nft) -> tuple[Agent, list[Object]]:
    """The agent after its first load, and the objects of the cluster. Prints what each part took."""
    made = [spread(item, -(-shape.pods // NODE_PODS)) for item in objects(shape)]
    pages = {name: page([item for item in made if isinstance(item, kind)]) for _, name, kind in READERS}
    print(f"the lists are {sum(map(len, pages.values())) / 1e6:.0f} MB of JSON")
    gc.collect()
    gc.disable()
    before = resident()
    started = time.perf_counter()

    def decode() -> list[Object]:
        found = [Reader(group, name).page(pages.pop(name)) for group, name, _ in READERS]
        return [item.object for one in found for item in one.items if item.object is not None]

    decoded = timed("decode", decode)
    compiled = timed("compile", lambda: compile_snapshot(Snapshot.of(decoded, pod_cidrs=("10.0.0.0/8",)), is_here))
    node, program = timed("program", lambda: NodeProgram.of(compiled))
    timed("commit", lambda: replace_table(nft, program))
    print(f"first load: {(time.perf_counter() - started) * 1e3:.0f} ms; {program.element_count} elements,", end=" ")
    print(f"{len(program.sets)} sets, {len(program.chains)} chains; {resident() - before:.0f} MB more resident")
    gc.enable()
    return Agent(compiled, node, nft), made


def spread(item: Object, nodes: int) -> Object:
    """A pod on the node that its number says: so a node has pods of every namespace."""
    if not isinstance(item, Pod):
        return item
    number = int(item.name.rpartition("-")[2]) % nodes
    return msgspec.structs.replace(item, spec=msgspec.structs.replace(item.spec, node_name=f"node-{number:04}"))


def timed(name: str, action: Callable[[], T]) -> T:
    """What the action returns; prints what it took."""
    started = time.perf_counter()
    result = action()
    print(f"  {name:8} {(time.perf_counter() - started) * 1e3:8.1f} ms")
    return result


def resident() -> float:
    """Megabytes of this process that are in memory."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1e3


def run(agent: Agent, made: list[Object], seconds: float) -> dict[str, list[float]]:
    """Milliseconds of each event, by kind of change."""
    found: dict[str, list[float]] = defaultdict(list)
    stream = changes(made, random.Random(7))
    start = time.perf_counter()
    for number in range(int(seconds * A_SECOND)):
        name, what, item = next(stream)
        line = event(what, item)
        time.sleep(max(0.0, start + number / A_SECOND - time.perf_counter()))
        began = time.perf_counter()
        agent.take(item.kind, line)
        found[name].append((time.perf_counter() - began) * 1e3)
    return found


def table(title: str, found: dict[str, list[float]]) -> None:
    """Print medians and the rest."""
    print(f"{title:20}{'events':>8}{'p50 ms':>9}{'p99 ms':>9}{'max ms':>9}")
    rows = {**dict(sorted(found.items())), "all": [one for each in found.values() for one in each]}
    for name, times in rows.items():
        p99 = statistics.quantiles(times, n=100)[98]
        print(f"{name:20}{len(times):8}{statistics.median(times):9.2f}{p99:9.2f}{max(times):9.2f}")


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pods", type=int, default=NODE_OF_10K.pods)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--load", action="store_true", help="stop after the first load")
    options = parser.parse_args()
    scale = options.pods / NODE_OF_10K.pods
    shape = replace(
        NODE_OF_10K,
        pods=options.pods,
        namespaces=int(100 * scale) or 1,
        policies=int(NODE_OF_10K.policies * scale),
        wide_peers=int(20 * scale),
    )

    def work() -> None:
        agent, made = load(shape, NodeNft())
        if options.load:
            return
        gc.collect()
        gc.freeze()
        found = run(agent, made, options.seconds)
        table("change", found)
        table("part", agent.parts)
        print(
            f"{agent.commits} transactions; the kernel holds the program: {read_back(agent.nft) == agent.node.program}"
        )

    NetworkNamespace().run(work)


if __name__ == "__main__":
    main()
