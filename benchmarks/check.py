"""How long a check with many failures takes: every one of them with its cause and the change that mends it.

The model is that of `benchmarks/plan.py`, 1,000 components with 5,000 flows. Its policies are spoiled: of some a rule
is lost, so that a flow is blocked; into some one is put that lets the whole namespace in. Each run is a process of its
own; the best and the middle of three are printed, in seconds, step by step. Goal: 10 ms a failure.
"""

from __future__ import annotations

import copy
import gc
import itertools
import random
import statistics
import subprocess
import sys
import time
from typing import Any

from benchmarks.plan import COMPONENTS, FLOWS, model

LOST, ADDED = 200, 100
RUNS = 3
STEPS = ("prove", "failures and mends")
ANYBODY = {"from": [{"podSelector": {}}], "ports": [{"protocol": "TCP", "port": 7777}]}


def spoiled(documents: list[dict[str, Any]], lost: int, added: int, seed: int = 4) -> list[dict[str, Any]]:
    """The policies with rules lost and added, each in a policy of its own."""
    chosen = random.Random(seed).sample([one for one in documents if one["spec"].get("egress")], lost + added)
    for one in chosen[:lost]:
        one["spec"]["egress"].pop()
    for one in chosen[lost:]:
        one["spec"].setdefault("ingress", []).append(copy.deepcopy(ANYBODY))
    return documents


def measure(lost: int, added: int) -> list[float]:
    """One run: seconds of each step, then how many failures there are, and how many of them have a mend."""
    from gatewright.cli.main import COLLECT_RARELY
    from gatewright.engine.snapshot import Changes
    from gatewright.intent.bind import bind
    from gatewright.intent.check import failures
    from gatewright.intent.include import load_model
    from gatewright.intent.plan import plan
    from gatewright.intent.proof import prove
    from gatewright.intent.stage import build_stage
    from gatewright.objects.read import decode

    gc.set_threshold(*COLLECT_RARELY)
    text = model()
    bound = bind(load_model("traffic.yaml", lambda _: text))
    documents = spoiled([copy.deepcopy(one.document) for one in plan(bound).policies], lost, added)
    policies = tuple(item for one in documents if (item := decode(one)) is not None)
    stage = build_stage(bound).with_changes(Changes(policies))
    marks = [time.perf_counter()]
    proof = prove(stage, exact=True)
    marks.append(time.perf_counter())
    found = failures(proof)
    marks.append(time.perf_counter())
    steps = [after - before for before, after in itertools.pairwise(marks)]
    return [*steps, len(found), sum(one.mend is not None for one in found)]


def main() -> None:
    """Measure and print."""
    if sys.argv[1:2] == ["once"]:
        print(*measure(*map(int, sys.argv[2:])))
        return
    print(f"{COMPONENTS} components, {FLOWS} flows")
    for lost, added in ((0, 0), (LOST // 10, ADDED // 10), (LOST, ADDED)):
        command = [sys.executable, "-m", "benchmarks.check", "once", str(lost), str(added)]
        runs = [subprocess.run(command, check=True, capture_output=True, text=True).stdout.split() for _ in range(RUNS)]
        columns = [[float(run[place]) for run in runs] for place in range(len(STEPS))]
        print(f"{runs[0][2]} failures, {runs[0][3]} with a mend\n{'':20} {'median s':>9} {'best s':>7}")
        for name, values in zip(STEPS, columns, strict=True):
            print(f"{name:20} {statistics.median(values):9.2f} {min(values):7.2f}")


if __name__ == "__main__":
    main()
