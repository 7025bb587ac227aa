"""How long `gatewright lab up` takes from the shell, Python's start included: 3 and 50 stand-in pods.

Run: `.venv/bin/python benchmarks/lab_up.py [--runs N]`. Prints the median and the extremes of each size in seconds.
Works as root and as a user who may make namespaces; takes its labs down.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

GATEWRIGHT = Path(sys.executable).with_name("gatewright")
SIZES = (3, 50)
LIMITS = {3: 2.0, 50: 5.0}
"""Seconds that a lab of this size may take at most."""


_POD = """---
apiVersion: v1
kind: Pod
metadata: {name: NAME, labels: {app: NAME}}
spec: {containers: [{name: main, image: none, ports: [{containerPort: 80}, {containerPort: 53, protocol: UDP}]}]}
"""
_SERVICE = """---
apiVersion: v1
kind: Service
metadata: {name: NAME}
spec: {selector: {app: NAME}, ports: [{port: 80}]}
"""
_POLICY = """---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: NAME}
spec: {podSelector: {matchLabels: {app: NAME}}, ingress: [{ports: [{port: 80}]}]}
"""


def manifests(count: int) -> str:
    """Pods that listen on a TCP and a UDP port, a Service for every tenth, and a policy for every fifth."""
    text = ""
    for number in range(count):
        parts = _POD + (_SERVICE if number % 10 == 0 else "") + (_POLICY if number % 5 == 0 else "")
        text += parts.replace("NAME", f"pod-{number}")
    return text


def measure(count: int, runs: int) -> list[float]:
    """Seconds of each run."""
    taken = []
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(manifests(count))
        file.flush()
        for _ in range(runs):
            started = time.perf_counter()
            subprocess.run(
                [GATEWRIGHT, "lab", "up", "--name", "benchmark", "-f", file.name], check=True, stdout=subprocess.DEVNULL
            )
            taken.append(time.perf_counter() - started)
            subprocess.run([GATEWRIGHT, "lab", "down", "--name", "benchmark"], check=True, stdout=subprocess.DEVNULL)
    return taken


def main() -> int:
    """Measure every size; exit code 1 when a median is above its limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    slow = False
    for count in SIZES:
        taken = measure(count, runs)
        median = statistics.median(taken)
        slow |= median > LIMITS[count]
        print(f"lab up, {count} pods: median {median:.2f} s, {min(taken):.2f} to {max(taken):.2f} s, {runs} runs")
    return int(slow)


if __name__ == "__main__":
    sys.exit(main())
