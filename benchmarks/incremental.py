"""Answers after one change: what it takes until every verdict that the change affects is there again.

A change is one object put or gone on a generated cluster: a policy written, rewritten or deleted; a pod created without
an address, given one, relabelled or deleted. Each is followed by the connectivity of everything, and undone. Times are
milliseconds over many changes, drawn with a seed; the goal is 10 ms at 100,000 pods. The range of pod addresses is
known; `--no-range` leaves it out: then a pod without an address may lie in every ipBlock, and touches each of them.
"""

from __future__ import annotations

import gc
import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator

import msgspec

from benchmarks.clusters import SHAPES, objects
from gatewright.cli.main import COLLECT_RARELY
from gatewright.engine.compile import compile_snapshot
from gatewright.engine.connectivity import connectivity
from gatewright.engine.snapshot import Changes, Snapshot
from gatewright.objects.core import Pod, PodStatus
from gatewright.objects.meta import Object
from gatewright.objects.policy import NetworkPolicy

ROUNDS = 100
KINDS = (
    "policy deleted",
    "policy created",
    "policy rewritten",
    "pod deleted",
    "pod created",
    "pod addressed",
    "pod relabelled",
)


def changes(made: list[Object], chance: random.Random) -> Iterator[tuple[str, Changes]]:
    """One of each kind, in an order in which each undoes the one before."""
    policies = [item for item in made if isinstance(item, NetworkPolicy)]
    pods = [item for item in made if isinstance(item, Pod)]
    one, other = chance.sample(policies, 2)
    yield "policy deleted", Changes(gone=(one.key,))
    yield "policy created", Changes((one,))
    yield "policy rewritten", Changes((msgspec.structs.replace(one, spec=other.spec),))
    yield "undo", Changes((one,))
    pod, model = chance.sample(pods, 2)
    labels = msgspec.structs.replace(pod.metadata, labels=model.metadata.labels)
    yield "pod deleted", Changes(gone=(pod.key,))
    yield "pod created", Changes((msgspec.structs.replace(pod, status=PodStatus(phase="Pending")),))
    yield "pod addressed", Changes((pod,))
    yield "pod relabelled", Changes((msgspec.structs.replace(pod, metadata=labels),))
    yield "undo", Changes((pod,))


def measure(shape: str) -> dict[str, list[float]]:
    """Milliseconds of each change, by kind."""
    gc.set_threshold(*COLLECT_RARELY)
    made = objects(SHAPES[shape])
    compiled = compile_snapshot(Snapshot.of(made, pod_cidrs=() if "--no-range" in sys.argv else ("10.0.0.0/8",)))
    answer = connectivity(compiled, 4)
    chance = random.Random(3)
    found: dict[str, list[float]] = {kind: [] for kind in KINDS}
    gc.collect()
    gc.freeze()
    for _ in range(ROUNDS):
        for kind, change in changes(made, chance):
            begin = time.perf_counter()
            update = compiled.apply(change)
            answer = answer.after(update)
            took = time.perf_counter() - begin
            compiled = update.compiled
            found.setdefault(kind, []).append(took * 1e3)
    return {kind: found[kind] for kind in KINDS}


def main() -> None:
    """Measure each shape in a process of its own, and print."""
    options = sys.argv[1:]
    if options and options[0] in SHAPES:
        print(json.dumps(measure(options[0])))
        return
    print(f"{'shape':10}{'change':20}{'median ms':>12}{'99 %':>10}{'worst':>10}")
    for shape in SHAPES:
        command = [sys.executable, "-m", "benchmarks.incremental", shape, *options]
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        for kind, times in found.items():
            high = statistics.quantiles(times, n=100)[98]
            print(f"{shape:10}{kind:20}{statistics.median(times):12.2f}{high:10.2f}{max(times):10.2f}")


if __name__ == "__main__":
    main()
