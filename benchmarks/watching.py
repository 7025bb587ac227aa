"""What following a cluster takes: time to decode, and memory with the rules of every pod made from it.

A process of its own plays the API server: it writes pods as one tells them, four kilobytes each with their volumes,
conditions and field managers, as pages of 500 or as a streaming list. The measured process reads them with the state
machine that the node agent uses, makes the snapshot and compiles it. Sockets are left out; what the client library
takes in memory is in.

Goals: 10,000 pods decoded within 0.4 s; at 100,000 pods the agent within 250 MB.
"""

from __future__ import annotations

import gc
import json
import resource
import statistics
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from typing import IO

from benchmarks.clusters import LARGEST, NODE_OF_10K, Shape, objects
from benchmarks.wire import written
from gatewright.cli.main import COLLECT_RARELY
from gatewright.engine.compile import compile_snapshot
from gatewright.engine.snapshot import Snapshot
from gatewright.kubeapi.reflector import PAGE, Reflector
from gatewright.objects.core import Pod
from gatewright.objects.meta import Json, Object
from gatewright.objects.watched import Reader

SHAPES = {"10k": NODE_OF_10K, "largest": LARGEST}
KINDS = (("", "Namespace"), ("", "Pod"), ("networking.k8s.io", "NetworkPolicy"))
MODES = ("pages", "stream")
CHUNK = 64 * 1024
"""Bytes of a chunk of a streaming list, as a TLS connection gives them at most at once."""
EVENTS = 2000


def produce(shape: Shape, mode: str, to: IO[bytes]) -> None:
    """Write every answer of the server, each with its length: the lists of each kind, then changes of pods."""
    made = objects(shape)
    for _, kind in KINDS:
        items = [item for item in made if item.kind == kind]
        for body in _pages(items) if mode == "pages" else _chunks(items):
            _send(to, body)
        _send(to, b"")
    pods = [item for item in made if isinstance(item, Pod)]
    for number in range(EVENTS):
        event = {"type": "MODIFIED", "object": _served(pods[number % len(pods)], 9_000_000 + number)}
        _send(to, json.dumps(event, separators=(",", ":")).encode() + b"\n")
    _send(to, b"")


def _served(item: Object, version: int) -> Json:
    """The object with what is its own alone, so that nothing seems to be shared that is not."""
    made = written(item)
    made["metadata"] |= {"resourceVersion": str(version), "uid": f"b3c8a7f0-58c1-4d3b-9d0e-{version:012x}"}
    if isinstance(item, Pod):
        workload = zlib.crc32(f"{item.namespace}/{item.labels['app']}".encode())
        number = int(item.spec.node_name[-4:])
        host = f"192.168.{number // 250}.{number % 250 + 1}"
        made["metadata"]["labels"] = {**item.labels, "pod-template-hash": f"{workload:010x}"}
        made["status"] |= {"hostIP": host, "hostIPs": [{"ip": host}]}
    return made


def _pages(items: list[Object]) -> Iterator[bytes]:
    for begin in range(0, len(items), PAGE):
        part = [_served(item, begin + number) for number, item in enumerate(items[begin : begin + PAGE])]
        following = {"continue": str(begin + PAGE)} if begin + PAGE < len(items) else {}
        page = {"kind": "List", "metadata": {"resourceVersion": "8000000", **following}, "items": part}
        yield json.dumps(page, separators=(",", ":")).encode()


def _chunks(items: list[Object]) -> Iterator[bytes]:
    data = bytearray()
    for number, item in enumerate(items):
        data += json.dumps({"type": "ADDED", "object": _served(item, number)}, separators=(",", ":")).encode() + b"\n"
        while len(data) >= CHUNK:
            yield bytes(data[:CHUNK])
            del data[:CHUNK]
    end = {"resourceVersion": "8000000", "annotations": {"k8s.io/initial-events-end": "true"}}
    yield bytes(data) + json.dumps({"type": "BOOKMARK", "object": {"metadata": end}}).encode() + b"\n"


def _send(to: IO[bytes], body: bytes) -> None:
    to.write(struct.pack("<I", len(body)) + body)


def _bodies(source: IO[bytes]) -> Iterator[bytes]:
    while length := struct.unpack("<I", source.read(4))[0]:
        yield source.read(length)


def measure(shape: str, mode: str) -> dict[str, float]:
    """Seconds of the processor (the server's process would get in the way of a clock) and megabytes of each step."""
    import httpx2  # noqa: F401 - the client is in the agent's memory
    import lightkube.config.client_adapter  # noqa: F401

    import gatewright.sources.watch  # noqa: F401

    gc.set_threshold(*COLLECT_RARELY)
    found = {"empty": _resident()}
    command = [sys.executable, "-m", "benchmarks.watching", "produce", shape, mode]
    known: list[Object] = []
    machines = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, bufsize=1 << 20) as server:
        assert server.stdout is not None
        for group, kind in KINDS:
            machine = Reflector(Reader(group, kind), lambda: 0.5, optional=False, streaming=mode == "stream")
            machines.append(machine)
            found[f"decode {kind}"] = _list(machine, _bodies(server.stdout), known.append)
            assert machine.complete
        found["objects"] = _resident()
        begin = time.process_time()
        snapshot = Snapshot.of(known)
        found["snapshot s"] = time.process_time() - begin
        known.clear()
        begin = time.process_time()
        compiled = compile_snapshot(snapshot)
        found["compile s"] = time.process_time() - begin
        found["with rules"] = _resident()
        found["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        gc.collect()
        gc.freeze()
        times = sorted(_event(machines[1], body) for body in _bodies(server.stdout))
    assert compiled.endpoints
    found["event p50"], found["event p99"] = statistics.median(times), times[len(times) * 99 // 100]
    return found


def _list(machine: Reflector, bodies: Iterator[bytes], keep: Callable[[Object], None]) -> float:
    """Seconds that the state machine took for the list."""
    took = 0.0
    for number, body in enumerate(bodies):
        begin = time.process_time()
        if "watch" not in machine.request().query or number == 0:
            machine.answered(200, None, 0.0)
        updates = machine.received(body, 0.0)
        if "limit" in machine.request().query:
            updates = machine.ended(0.0)
        took += time.process_time() - begin
        for update in updates:
            for item in update.changes.put:
                keep(item)
    machine.answered(200, None, 0.0)
    return took


def _event(machine: Reflector, body: bytes) -> float:
    """Milliseconds from bytes to the change."""
    begin = time.perf_counter()
    [update] = machine.received(body, 0.0)
    took = time.perf_counter() - begin
    assert len(update.changes.put) == 1
    return took * 1e3


def _resident() -> float:
    """Megabytes of this process now."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 1024 / 1024


def main() -> None:
    """Measure each shape both ways, each in a process of its own, and print."""
    if sys.argv[1:2] == ["produce"]:
        produce(SHAPES[sys.argv[2]], sys.argv[3], sys.stdout.buffer)
        return
    if sys.argv[1:]:
        print(json.dumps(measure(sys.argv[1], sys.argv[2])))
        return
    for shape in SHAPES:
        for mode in MODES:
            command = [sys.executable, "-m", "benchmarks.watching", shape, mode]
            found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            print(f"{shape} {mode}: " + ", ".join(f"{name} {value:.3g}" for name, value in found.items()))


if __name__ == "__main__":
    main()
