"""What a node's agent needs for one change of the cluster: from the watch event's bytes to the kernel's commit.

A generated cluster (10,000 pods, 1,000 policies, 110 pods on the node) is loaded, then changed fifty times a second for
a minute: pods created, addressed, relabelled and deleted anywhere in the cluster (every fourth on the node),
policies created, rewritten and deleted (every fourth in a namespace that has pods on the node). Each event is a line as
an API server writes it. It is decoded, compiled, turned into a change of the node's program and committed, in a network
namespace of its own, by a process that holds nothing else. Of a hundred policies two have a peer of two thirds of all
pods; some of these select pods of the node, which is what makes the node's program large, and most changes concern it.

Run as root, or rootless: `unshare -Urn python -m benchmarks.agent_changes`. `--pods N` takes another size,
`--seconds N` another length (0: the first load only), `--collector default` leaves Python's cyclic garbage collector
as it is.
"""

from __future__ import annotations

import argparse
import gc
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TypeVar

import msgspec

from benchmarks.clusters import NODE_OF_10K, NODE_PODS, objects
from benchmarks.wire import event, page
from gatewright.cli.main import COLLECT_RARELY
from gatewright.engine.compile import Compiled, compile_snapshot
from gatewright.engine.model import Endpoint
from gatewright.engine.snapshot import Changes, Snapshot
from gatewright.kernel.apply import apply_change
from gatewright.kernel.apply import replace as replace_table
from gatewright.kernel.nft import NodeNft
from gatewright.kernel.node import NodeProgram
from gatewright.kernel.readback import read_back
from gatewright.kernel.spares import Keep
from gatewright.objects.core import Pod, PodStatus
from gatewright.objects.meta import Object
from gatewright.objects.policy import NetworkPolicy
from gatewright.objects.watched import Event, Reader
from tests.packets.netns import Namespace

T = TypeVar("T")
NODE = "node-0000"
A_SECOND = 50
PAGE = 500
"""Objects a page, as clients ask for them."""
GROUPS = {"Namespace": "", "Pod": "", "NetworkPolicy": "networking.k8s.io"}
Step = tuple[str, str, Object]
"""(kind of change, type of the event, object)."""


class Line(msgspec.Struct):
    """One event: the kind of change, the kind of its object, and its bytes."""

    change: str
    kind: str
    data: bytes


def is_here(one: Endpoint) -> bool:
    """Whose rules the node needs."""
    return one.node == NODE and not one.host_network


# --- the cluster ------------------------------------------------------------------------------------------------------


def write(folder: Path, pods: int, count: int) -> None:
    """The lists of the cluster in pages, and that many events."""
    scale = pods / NODE_OF_10K.pods
    shape = replace(
        NODE_OF_10K,
        pods=pods,
        namespaces=max(1, int(NODE_OF_10K.namespaces * scale)),
        policies=int(NODE_OF_10K.policies * scale),
        wide_peers=int(NODE_OF_10K.policies * scale / 50),
    )
    made = [spread(item, -(-pods // NODE_PODS)) for item in objects(shape)]
    for kind in GROUPS:
        for number, items in enumerate(_paged([item for item in made if item.kind == kind])):
            (folder / f"{kind}-{number:06}").write_bytes(page(items))
    steps = islice(changes(made, random.Random(7)), count)
    lines = [Line(change, item.kind, event(what, item)) for change, what, item in steps]
    (folder / "events").write_bytes(msgspec.msgpack.encode(lines))


def _paged(items: list[Object]) -> Iterator[list[Object]]:
    return (items[first : first + PAGE] for first in range(0, len(items), PAGE))


def spread(item: Object, nodes: int) -> Object:
    """A pod on the node that its number says: so a node has pods of every namespace."""
    if not isinstance(item, Pod):
        return item
    number = int(item.name.rpartition("-")[2]) % nodes
    return msgspec.structs.replace(item, spec=msgspec.structs.replace(item.spec, node_name=f"node-{number:04}"))


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


# --- the agent --------------------------------------------------------------------------------------------------------


@dataclass
class Agent:
    """The speed path of an agent: events in, transactions out."""

    compiled: Compiled
    node: NodeProgram
    nft: NodeNft
    readers: dict[str, Reader] = field(
        default_factory=lambda: {kind: Reader(own, kind) for kind, own in GROUPS.items()}
    )
    parts: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    commits: int = 0

    def take(self, line: Line) -> None:
        """One event."""
        started = time.perf_counter()
        changed = _changes(self.readers[line.kind].event(line.data))
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


def load(folder: Path, nft: NodeNft) -> Agent:
    """The agent after its first load. Prints what each part took."""
    data = {kind: [path.read_bytes() for path in sorted(folder.glob(f"{kind}-*"))] for kind in GROUPS}
    print(f"the lists are {sum(len(one) for pages in data.values() for one in pages) / 1e6:.0f} MB of JSON")
    started = time.perf_counter()
    compiled = timed("decode, compile", lambda: compile_snapshot(_snapshot(data), is_here))
    node, program = timed("program", lambda: NodeProgram.of(compiled, keep=Keep()))
    timed("commit", lambda: replace_table(nft, program))
    print(f"first load: {(time.perf_counter() - started) * 1e3:.0f} ms; {program.element_count} elements,", end=" ")
    print(f"{len(program.sets)} sets, {len(program.chains)} chains")
    return Agent(compiled, node, nft)


def _snapshot(data: dict[str, list[bytes]]) -> Snapshot:
    """The objects of the lists; each page is let go when it is read."""
    found: list[Object] = []
    for kind, pages in data.items():
        reader = Reader(GROUPS[kind], kind)
        while pages:
            found += [item.object for item in reader.page(pages.pop(0)).items if item.object is not None]
    return Snapshot.of(found, pod_cidrs=("10.0.0.0/8",))


def timed(name: str, action: Callable[[], T]) -> T:
    """What the action returns; prints what it took."""
    started = time.perf_counter()
    result = action()
    print(f"  {name:16}{(time.perf_counter() - started) * 1e3:8.1f} ms, {resident():5.0f} MB resident")
    return result


def resident() -> float:
    """Megabytes of this process that are in memory."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1e3


def run(agent: Agent, lines: list[Line]) -> dict[str, list[float]]:
    """Milliseconds of each event, by kind of change."""
    found: dict[str, list[float]] = defaultdict(list)
    start = time.perf_counter()
    agent.parts.clear()
    for number, line in enumerate(lines):
        time.sleep(max(0.0, start + number / A_SECOND - time.perf_counter()))
        began, worked = time.perf_counter(), time.thread_time()
        agent.take(line)
        found[line.change].append((time.perf_counter() - began) * 1e3)
        agent.parts["all, processor time"].append((time.thread_time() - worked) * 1e3)
    return found


def table(title: str, found: dict[str, list[float]]) -> None:
    """Print medians and the rest."""
    print(f"{title:20}{'events':>8}{'p50 ms':>9}{'p99 ms':>9}{'max ms':>9}")
    for name, times in found.items():
        p99 = statistics.quantiles(times, n=100)[98]
        print(f"{name:20}{len(times):8}{statistics.median(times):9.2f}{p99:9.2f}{max(times):9.2f}")


def measure(folder: Path, *, rarely: bool) -> None:
    """What the agent's process does."""
    if rarely:
        gc.set_threshold(*COLLECT_RARELY)
    with NodeNft() as nft:
        agent = load(folder, nft)
        lines = msgspec.msgpack.decode((folder / "events").read_bytes(), type=list[Line])
        print(f"the events take {sum(len(line.data) for line in lines) / 1e6:.0f} MB of what is resident")
        if not lines:
            return
        if rarely:
            gc.collect()
            gc.freeze()
        found = run(agent, lines)
        table("change", {**dict(sorted(found.items())), "all": [one for each in found.values() for one in each]})
        table("part", agent.parts)
        print(f"{agent.commits} transactions, {resident():.0f} MB resident;", end=" ")
        held = read_back(nft) == agent.node.program
        print(f"the kernel holds the program: {held}; {resident():.0f} MB resident after reading it back")


def main() -> None:
    """Generate, then measure in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pods", type=int, default=NODE_OF_10K.pods)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--collector", choices=("rarely", "default"), default="rarely")
    parser.add_argument("--agent", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.agent:
        Namespace().run(lambda: measure(options.agent, rarely=options.collector == "rarely"))
        return
    try:
        Namespace().close()
    except OSError as error:
        print(f"network namespaces cannot be made here ({error}): run as root or under `unshare -Urn`")
        return
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), options.pods, int(options.seconds * A_SECOND))
        command = [sys.executable, "-m", "benchmarks.agent_changes", "--agent", folder]
        subprocess.run([*command, "--collector", options.collector], check=True)


if __name__ == "__main__":
    main()
