"""How long planning takes: 1,000 components with 5,000 flows, from the file's text to policies with their proof.

Each run is a process of its own; the best and the middle of five are printed, in seconds, step by step. Goal: 2 s for
everything between text in and text out. The model has ten namespaces, ports by number, range, name and protocol, one
component in ten open to anywhere, and addresses outside.
"""

from __future__ import annotations

import gc
import itertools
import random
import statistics
import subprocess
import sys
import time

COMPONENTS, FLOWS, NAMESPACES = 1_000, 5_000, 10
RUNS = 5
PORTS = (["80"], ["8080-8090"], ["http", "UDP/53"], ["SCTP/7000"], ["{name: admin, port: 9000}", "443"])
STEPS = ("read", "bind", "plan", "prove", "write")


def model(seed: int = 4) -> str:
    """The text of a model; the same seed gives the same."""
    choose = random.Random(seed)
    lines = ["apiVersion: gatewright/v1alpha1", "kind: Traffic", "components:"]
    for number in range(COMPONENTS):
        ports = ", ".join(choose.choice(PORTS))
        place = f"namespace: team-{number % NAMESPACES}"
        lines.append(f"  c{number}: {{labels: {{app: c{number}, part: x}}, {place}, ports: [{ports}]}}")
    lines += [
        "outside:",
        "  users: anywhere",
        "  office: [10.0.0.0/8, {cidr: 192.168.0.0/16, except: [192.168.9.0/24]}]",
    ]
    flows = {f"- users -> c{number}" for number in range(0, COMPONENTS, 10)}
    flows |= {f"- office -> c{number}" for number in range(5, COMPONENTS, 10)}
    while len(flows) < FLOWS:
        source, destination = choose.sample(range(COMPONENTS), 2)
        flows.add(f"- c{source} -> c{destination}")
    return "\n".join([*lines, "flows:", *sorted(flows), "never:", "- c1 -> users", ""])


def measure() -> dict[str, float]:
    """One run: seconds of each step, under the command line's own thresholds of the collector."""
    from gatewright.cli.main import COLLECT_RARELY
    from gatewright.engine.snapshot import Changes
    from gatewright.intent.bind import bind
    from gatewright.intent.include import load_model
    from gatewright.intent.plan import plan
    from gatewright.intent.proof import prove
    from gatewright.intent.stage import build_stage
    from gatewright.report.policies import to_yaml

    gc.set_threshold(*COLLECT_RARELY)
    text = model()
    marks = [time.perf_counter()]
    traffic = load_model("traffic.yaml", lambda _: text)
    marks.append(time.perf_counter())
    bound = bind(traffic)
    marks.append(time.perf_counter())
    made = plan(bound)
    marks.append(time.perf_counter())
    stage = build_stage(bound).with_changes(Changes(tuple(policy.object for policy in made.policies)))
    if prove(stage, exact=True).gaps:
        raise SystemExit("the plan differs from its model")
    marks.append(time.perf_counter())
    to_yaml(made.policies)
    marks.append(time.perf_counter())
    return dict(zip(STEPS, (after - before for before, after in itertools.pairwise(marks)), strict=True))


def main() -> None:
    """Measure and print."""
    if sys.argv[1:] == ["once"]:
        print(*measure().values())
        return
    command = [sys.executable, "-m", "benchmarks.plan", "once"]
    runs = [subprocess.run(command, check=True, capture_output=True, text=True).stdout.split() for _ in range(RUNS)]
    columns = [[float(run[place]) for run in runs] for place in range(len(STEPS))]
    columns.append([sum(map(float, run)) for run in runs])
    print(f"{COMPONENTS} components, {FLOWS} flows\n{'step':8} {'median s':>9} {'best s':>7}")
    for name, values in zip((*STEPS, "all"), columns, strict=True):
        print(f"{name:8} {statistics.median(values):9.2f} {min(values):7.2f}")


if __name__ == "__main__":
    main()
