"""How long `gatewright lab up` takes from the shell, and what an idle lab costs; as root and without.

Run: `.venv/bin/python -m benchmarks.lab_up [--nodes 3] [--pods 100] [--runs 5] [--users root,user]`. Times begin
before Python starts and end when every pod is ready, every agent in step and the command back. Memory is the sum of PSS
of all processes of the lab (shared pages counted once), CPU what they use while nobody asks anything.
Takes its labs down.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

from tests.packets.labs import Lab, lab_of

_DEPLOYMENT = """---
apiVersion: apps/v1
kind: Deployment
metadata: {name: NAME}
spec:
  replicas: COUNT
  selector: {matchLabels: {app: NAME}}
  template:
    metadata: {labels: {app: NAME}}
    spec: {containers: [{name: main, image: none, ports: [{containerPort: 80}, {containerPort: 53, protocol: UDP}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: NAME}
spec: {selector: {app: NAME}, ports: [{port: 80}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: NAME}
spec: {podSelector: {matchLabels: {app: NAME}}, ingress: [{ports: [{port: 80}]}]}
"""
_OF_EACH = 10
"""Pods of one Deployment, which has a Service and a policy."""


def manifests(count: int) -> str:
    """So many stand-in pods, in Deployments with a Service and a NetworkPolicy each."""
    sizes = [_OF_EACH] * (count // _OF_EACH) + ([count % _OF_EACH] if count % _OF_EACH else [])
    return "".join(
        _DEPLOYMENT.replace("NAME", f"app-{number}").replace("COUNT", str(size)) for number, size in enumerate(sizes)
    )


def family(first: int) -> list[int]:
    """A process and all that descend from it."""
    parents: dict[int, int] = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(process.name)] = int((process / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    found = {first}
    while grown := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= grown
    return sorted(found)


def memory(pids: list[int]) -> float:
    """The PSS of processes in MB."""
    total = 0
    for pid in pids:
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        total += int(re.findall(r"^Pss:\s+(\d+)", text, re.MULTILINE)[0])
    return total / 1024


def cpu(pids: list[int]) -> float:
    """Seconds of CPU that processes have used."""
    ticks = 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def measure(lab: Lab, asked: argparse.Namespace) -> Iterator[float]:
    """Seconds of each run; the last one says what it costs to do nothing."""
    file = str(lab.file(manifests(asked.pods)))
    for run in range(asked.runs):
        started = time.perf_counter()
        lab.run("up", "--nodes", str(asked.nodes), "-f", file, "--timeout", "300", timeout=320)
        yield time.perf_counter() - started
        if run == asked.runs - 1:
            time.sleep(3)
            pids = family(lab.pid)
            before, began = cpu(pids), time.perf_counter()
            time.sleep(asked.idle)
            used = (cpu(pids) - before) / (time.perf_counter() - began)
            print(f"  idle: {memory(pids):.0f} MB in {len(pids)} processes, {used:.2%} of a core")
        lab.run("down")


def main() -> None:
    """Measure as each user."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--pods", type=int, default=100)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--idle", type=float, default=20.0, help="seconds of doing nothing")
    parser.add_argument("--users", default="root,user")
    asked = parser.parse_args()
    for user in asked.users.split(","):
        with lab_of(user) as lab:
            taken = list(measure(lab, asked))
        spread = f"{min(taken):.2f} to {max(taken):.2f} s, {asked.runs} runs"
        print(f"{user}: {asked.nodes} nodes, {asked.pods} pods: median {statistics.median(taken):.2f} s, {spread}")


if __name__ == "__main__":
    main()
