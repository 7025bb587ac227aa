"""How fast a node's runtime makes and removes stand-in pods, and what they weigh: 35 and 100 pods side by side.

Run: `.venv/bin/python -m benchmarks.lab_runtime [--pods N ...]`. Makes a node of its own, as root or as a user who may
make namespaces, and takes it away. Times are wall-clock time and processor time of everything on the node; memory is
the proportional set size (PSS) of all its processes, less what the empty runtime had.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from gatewright.lab.runtime.client import Runtime
from gatewright.lab.runtime.model import ContainerSetup, PodSetup, Port
from tests.packets.runtimes import NodeOfRuntime, runtime_of

SIZES = (35, 100)
MOST_PROCESSOR_TIME = 1.5
"""Seconds of processor time that 35 pods may take."""
PORTS = (Port(80), Port(53, "UDP"))


@dataclass(frozen=True)
class Usage:
    """What all processes of a node have used and hold: processor seconds, kilobytes."""

    processor: float
    memory: int


def usage() -> Usage:
    """Of all processes that are seen here, ended children included; to be run on the node."""
    ticks = memory = 0
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        fields = Path("/proc", entry, "stat").read_text().rpartition(")")[2].split()
        ticks += sum(map(int, fields[11:15]))
        rollup = Path("/proc", entry, "smaps_rollup").read_text().splitlines()
        memory += sum(int(line.split()[1]) for line in rollup if line.startswith("Pss:"))
    return Usage(ticks / os.sysconf("SC_CLK_TCK"), memory)


async def measure(node: NodeOfRuntime, count: int) -> float:
    """Make, weigh and remove so many pods; the processor time that it took to make them."""
    runtime = await Runtime.connect(node.path)

    async def pod(number: int) -> None:
        uid = f"uid-{count}-{number}"
        address = f"10.244.{number // 250}.{number % 250 + 1}"
        setup = PodSetup(
            uid, "default", f"pod-{number}", f"pod-{number}", addresses=(address, f"fd00:10:244::{number + 1:x}"),
            link=f"pod{count * 1000 + number}", files={"etc/hosts": "127.0.0.1\tlocalhost\n"},
        )  # fmt: skip
        await runtime.create_pod(setup)
        await runtime.start_container(uid, ContainerSetup("main", ports=PORTS))

    before = node.run(usage)
    begun = time.perf_counter()
    await asyncio.gather(*(pod(number) for number in range(count)))
    made = time.perf_counter() - begun
    after = node.run(usage)
    begun = time.perf_counter()
    await asyncio.gather(*(runtime.remove_pod(f"uid-{count}-{number}") for number in range(count)))
    removed = time.perf_counter() - begun
    await runtime.close()
    processor = after.processor - before.processor
    each = (after.memory - before.memory) / count
    print(
        f"{count} pods: {made:.2f} s ({count / made:.0f} a second), {processor:.2f} s of processor time, "
        f"{each:.0f} kB of PSS each; removed in {removed:.2f} s"
    )
    return processor


def main() -> int:
    """Measure every size; exit code 1 when 35 pods take too long."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pods", type=int, nargs="*", default=SIZES)
    sizes = parser.parse_args().pods
    slow = False
    user = "root" if os.geteuid() == 0 else "user"
    with runtime_of(user) as node:
        for count in sizes:
            processor = asyncio.run(measure(node, count))
            slow |= count <= 35 and processor > MOST_PROCESSOR_TIME
    return int(slow)


if __name__ == "__main__":
    sys.exit(main())
