"""How long the doctor and the probe take in a lab of three nodes with 100 stand-in pods.

Run: `.venv/bin/python -m benchmarks.doctor [--runs N]`. Prints the median and the extremes of each command in seconds,
the start of Python included: by evidence, by packets, and all pairs of 100 pods on one port, from inside and from
stand-ins. Works as root and as a user who may make namespaces; takes its lab down.
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
PODS = 100
LAB = "bench-doctor"
COMMANDS = {
    "doctor, by evidence": (("doctor",), None),
    "doctor --verify, three nodes": (("doctor", "--verify", "--yes"), 15.0),
    "probe, 9,900 connections from inside": (("probe", "--addresses", "--port", "80", "-o", "json"), 20.0),
    "probe, 9,900 connections from stand-ins": (
        ("probe", "--addresses", "--port", "80", "-o", "json", "--through", "stand-ins", "--yes"),
        None,
    ),
}
"""The words of each command, and the seconds that it may take at most."""
MANIFESTS = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: PODS
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: c, image: none, ports: [{containerPort: 80}]}]}
"""


def run(*words: str) -> float:
    """Seconds of one run."""
    started = time.perf_counter()
    subprocess.run([str(GATEWRIGHT), *words], check=True, capture_output=True)
    return time.perf_counter() - started


def main(arguments: list[str]) -> int:
    """Start the lab, measure, take it down."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    runs = parser.parse_args(arguments).runs
    with tempfile.TemporaryDirectory() as folder:
        file, config = Path(folder, "pods.yaml"), Path(folder, "config")
        file.write_text(MANIFESTS.replace("PODS", str(PODS)))
        try:
            run("lab", "up", "--name", LAB, "--nodes", "3", "-f", str(file), "--kubeconfig", str(config))
            slow = [name for name in COMMANDS if not _measure(name, runs, config)]
        finally:
            run("lab", "down", "--name", LAB)
    for name in slow:
        print(f"{name} took longer than its limit", file=sys.stderr)
    return 1 if slow else 0


def _measure(name: str, runs: int, config: Path) -> bool:
    """Print the figures of one command; whether it kept its limit."""
    words, limit = COMMANDS[name]
    taken = [run(*words, "--kubeconfig", str(config)) for _ in range(runs)]
    median = statistics.median(taken)
    goal = f", goal {limit:g} s" if limit else ""
    print(f"{name}: median {median:.1f} s ({min(taken):.1f} to {max(taken):.1f}){goal}")
    return limit is None or median <= limit


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
