"""The whole agent against an API server: from bytes on a socket to the kernel's commit, memory, and an idle minute.

The server is a process of its own in the node's network namespace; it lists 10,000 pods and 1,000 policies in pages
as a real one does, then tells fifty changes a second (those of `benchmarks.agent_changes`). The agent is the command.
What it took is read from its own metrics, and measured from outside, too: from the moment in which the server writes an
event to the one in which the kernel has what follows from it, so that nothing that waits anywhere is left out.

Run as root: `python -m benchmarks.agent_live`. `--pods N`, `--seconds N`, `--idle N`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

import msgspec

from benchmarks.agent_changes import A_SECOND, NODE, changes, spread
from benchmarks.clusters import NODE_OF_10K, NODE_PODS, Shape, objects
from benchmarks.wire import event, written
from gatewright.agent import client
from gatewright.kernel.change import Change
from gatewright.kernel.table import Program
from gatewright.kubeapi.updates import Update
from gatewright.objects.meta import Json, Object
from gatewright.sources.watch import Delivery
from tests.packets.netns import Namespace
from tests.unit.sources.apiserver import kubeconfig

PORT = 8001
PATHS = {
    "/api/v1/pods": "Pod",
    "/api/v1/namespaces": "Namespace",
    "/api/v1/nodes": "Node",
    "/apis/networking.k8s.io/v1/networkpolicies": "NetworkPolicy",
}
_RUN = "from benchmarks.agent_live import noting; noting()"
SENT, DONE = "sent", "done"
"""Files: when the server wrote each event, and when what a watch brought up to a version was done."""


class Sent(NamedTuple):
    """An event that the server wrote."""

    kind: str
    version: int
    at: float


class Done(NamedTuple):
    """All events of a kind up to a version are in the kernel, or needed nothing there."""

    kind: str
    version: int
    at: float
    committed: bool


PARTS = (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999))
_VERSION = re.compile(rb'"resourceVersion":"\d*"')
_BUCKET = re.compile(r'^gatewright_agent_event_to_kernel_seconds_bucket\{commit="(\w+)",le="([^"]+)"\} (\S+)$', re.M)


@dataclass
class Server:
    """What is listed, and who watches."""

    items: dict[str, list[bytes]]
    watching: dict[str, list[asyncio.StreamWriter]] = field(default_factory=lambda: defaultdict(list))

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, request after request."""
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                target = urlsplit(head.split(b" ", 2)[1].decode())
                query = {key: values[0] for key, values in parse_qs(target.query).items()}
                kind = PATHS.get(target.path)
                if kind is None:
                    self.whole(writer, 404, b"404 page not found\n")
                elif "sendInitialEvents" in query:
                    self.whole(writer, 400, b'{"kind":"Status","code":400,"message":"not enabled"}')
                elif "watch" in query:
                    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                    self.watching[kind].append(writer)
                else:
                    self.whole(writer, 200, self.page(kind, query))
                await writer.drain()

    def whole(self, writer: asyncio.StreamWriter, status: int, body: bytes) -> None:
        """An answer of known length."""
        writer.write(
            b"HTTP/1.1 %d -\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % (status, len(body))
        )
        writer.write(body)

    def page(self, kind: str, query: dict[str, str]) -> bytes:
        """One page of a list."""
        begin, limit = int(query.get("continue", 0)), int(query["limit"])
        items = self.items.get(kind, [])
        more = b',"continue":"%d"' % (begin + limit) if begin + limit < len(items) else b""
        return b'{"metadata":{"resourceVersion":"200000"%s},"items":[%s]}' % (
            more,
            b",".join(items[begin : begin + limit]),
        )

    def tell(self, kind: str, line: bytes) -> None:
        """One event, to all who watch."""
        self.watching[kind] = [writer for writer in self.watching[kind] if not writer.is_closing()]
        for writer in self.watching[kind]:
            writer.write(b"%x\r\n%s\n\r\n" % (len(line) + 1, line))


def noting() -> None:
    """The agent's process: the command, which notes when each event was in the kernel, or needed nothing there."""
    from gatewright.agent.desired import Desired
    from gatewright.agent.loop import Loop
    from gatewright.agent.node import Node
    from gatewright.cli.main import main
    from gatewright.sources.watch import _Watcher

    hand_on, take, bring_up = _Watcher._hand_on, Desired.take, Loop._bring_up
    change, exchange = Node.change, Node.exchange
    versions: dict[str, deque[str]] = defaultdict(deque)
    taken: list[tuple[str, int]] = []
    committed: list[float] = []
    notes: list[Done] = []

    def noted_hand_on(watcher: _Watcher, updates: list[Update], now: float) -> None:
        versions[watcher.kind].extend([watcher._reflector.resource_version] * len(updates))
        hand_on(watcher, updates, now)

    def noted_take(desired: Desired, delivery: Delivery) -> None:
        taken.append((delivery.kind, int(versions[delivery.kind].popleft() or 0)))
        take(desired, delivery)

    def noted_change(node: Node, what: Change) -> float:
        committed.append(change(node, what))
        return committed[-1]

    def noted_exchange(node: Node, program: Program) -> float:
        committed.append(exchange(node, program))
        return committed[-1]

    def noted_bring_up(loop: Loop) -> None:
        bring_up(loop)
        done = committed[-1] if committed else time.monotonic()
        notes.extend(Done(kind, version, done, bool(committed)) for kind, version in taken)
        taken.clear()
        committed.clear()

    setattr(_Watcher, hand_on.__name__, noted_hand_on)
    setattr(Desired, take.__name__, noted_take)
    setattr(Node, change.__name__, noted_change)
    setattr(Node, exchange.__name__, noted_exchange)
    setattr(Loop, bring_up.__name__, noted_bring_up)
    try:
        main()
    finally:
        Path(os.environ[DONE]).write_bytes(msgspec.msgpack.encode(notes))


def serve(made: list[Object], seconds: float, ready: Event, go: Event, done: Event, sent: Path) -> None:
    """The server's process."""
    items: dict[str, list[bytes]] = defaultdict(list)
    for one in made:
        items[one.kind].append(msgspec.json.encode(written(one)))
    items["Node"].append(json.dumps({"metadata": {"name": NODE, "resourceVersion": "1"}, "spec": {}}).encode())
    server = Server(dict(items))

    async def work() -> None:
        async with await asyncio.start_server(server.answer, "127.0.0.1", PORT, limit=1 << 20):
            ready.set()
            while not go.is_set():
                await asyncio.sleep(0.05)
            stream, start = changes(made, random.Random(7)), time.perf_counter()
            notes = []
            for number in range(int(seconds * A_SECOND)):
                _, what, item = next(stream)
                line = _at(event(what, item), 200_001 + number)
                notes.append(Sent(item.kind, 200_001 + number, time.monotonic()))
                server.tell(item.kind, line)
                await asyncio.sleep(max(0.0, start + (number + 1) / A_SECOND - time.perf_counter()))
            sent.write_bytes(msgspec.msgpack.encode(notes))
            done.set()
            await asyncio.sleep(3600)

    asyncio.run(work())


def _at(line: bytes, version: int) -> bytes:
    return _VERSION.sub(b'"resourceVersion":"%d"' % version, line, count=1)


def resident(pid: int) -> float:
    """Megabytes of a process that are in memory."""
    return int(Path(f"/proc/{pid}/status").read_text().partition("VmRSS:")[2].split()[0]) / 1e3


def processor(pid: int) -> float:
    """Seconds of processor time a process has had."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def quantile(metrics: str, part: float, *commits: str) -> str:
    """The bucket in which a part of the events lies, as a bound in milliseconds; `commits` says which events."""
    counts: dict[float, float] = defaultdict(float)
    for commit, bound, count in _BUCKET.findall(metrics):
        if commit in commits:
            counts[float(bound)] += float(count)
    total = counts[float("inf")]
    return next(f"<= {bound * 1e3:g} ms" for bound, count in sorted(counts.items()) if count >= part * total)


def waits(folder: Path) -> tuple[list[float], list[float]]:
    """Milliseconds from the server's write to the kernel: of all events, and of those that needed a commit."""
    sent = msgspec.msgpack.decode((folder / SENT).read_bytes(), type=list[Sent])
    done = msgspec.msgpack.decode((folder / DONE).read_bytes(), type=list[Done])
    every: list[float] = []
    committed: list[float] = []
    for one in sent:
        end = next(each for each in done if each.kind == one.kind and each.version >= one.version)
        every.append((end.at - one.at) * 1e3)
        if end.committed:
            committed.append(every[-1])
    return sorted(every), sorted(committed)


def get(path: str) -> str:
    """What the agent's port answers."""
    return subprocess.check_output(["curl", "-s", f"http://127.0.0.1:9469{path}"], text=True, timeout=10)


@contextlib.contextmanager
def running(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The agent, until the block ends."""
    words = ["agent", "run", "--node", NODE, "--kubeconfig", str(folder / "kubeconfig")]
    words += ["--socket", str(folder / "socket"), "--metrics-address", "127.0.0.1:9469"]
    process = subprocess.Popen([sys.executable, "-c", _RUN, *words], env={**os.environ, DONE: str(folder / DONE)})
    try:
        yield process
    finally:
        process.terminate()
        process.wait(10)


def status(folder: Path) -> Json:
    """What the agent says of itself."""
    try:
        return client.status(folder / "socket")
    except client.NoAgent:
        return {}


def wait(agent: subprocess.Popen[bytes], holds: Callable[[], bool]) -> None:
    """Until it holds. Raises RuntimeError where the agent has ended."""
    while not holds():
        if agent.poll() is not None:
            raise RuntimeError(f"the agent ended with {agent.returncode}")
        time.sleep(0.005)


def measure(shape: Shape, seconds: float, idle: float) -> None:
    """In the node's namespace: everything."""
    made = [spread(item, -(-shape.pods // NODE_PODS)) for item in objects(shape)]
    ready, go, done = (multiprocessing.get_context("fork").Event() for _ in range(3))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        server = multiprocessing.get_context("fork").Process(
            target=serve, args=(made, seconds, ready, go, done, folder / SENT), daemon=True
        )
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        server.start()
        ready.wait(60)
        kubeconfig(folder / "kubeconfig", f"http://127.0.0.1:{PORT}")
        started = time.perf_counter()
        with running(folder) as agent:
            wait(agent, lambda: bool(status(folder)))
            up = time.perf_counter()
            wait(agent, lambda: status(folder).get("state") == "in step")
            loaded = time.perf_counter()
            print(
                f"process to socket {up - started:.2f} s, then everything listed and in the kernel {loaded - up:.2f} s"
            )
            time.sleep(2)
            print(f"resident after the first load: {resident(agent.pid):.0f} MB")
            before = processor(agent.pid)
            time.sleep(idle)
            print(f"idle: {(processor(agent.pid) - before) / idle * 100:.2f} % of a core over {idle:g} s")
            before = processor(agent.pid)
            go.set()
            done.wait(seconds + 30)
            time.sleep(1)
            print(f"{A_SECOND} changes a second: {(processor(agent.pid) - before) / seconds * 100:.1f} % of a core")
            metrics, now = get("/metrics"), status(folder)
            for label, part in PARTS:
                every, committed = quantile(metrics, part, "yes", "no"), quantile(metrics, part, "yes")
                print(f"event to kernel, {label}: {every}; of those that needed a commit {committed}")
            held = now["programmed"]
            print(f"{held['transactions']} transactions, {held['elements']} elements, {held['failures']} failures")
            print(f"state: {now['state']}; resident at the end: {resident(agent.pid):.0f} MB")
        for label, times in zip(("every event", "those that needed a commit"), waits(folder), strict=True):
            found = [f"{name} {times[int(part * len(times))]:.2f}" for name, part in PARTS]
            print(f"server's write to kernel, ms, {label}: {', '.join(found)}, max {times[-1]:.2f} of {len(times)}")
        server.kill()


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pods", type=int, default=NODE_OF_10K.pods)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--idle", type=float, default=30)
    options = parser.parse_args()
    scale = options.pods / NODE_OF_10K.pods
    shape = replace(
        NODE_OF_10K,
        pods=options.pods,
        namespaces=int(100 * scale) or 1,
        policies=int(NODE_OF_10K.policies * scale),
        wide_peers=int(20 * scale),
    )
    Namespace().run(lambda: measure(shape, options.seconds, options.idle))


if __name__ == "__main__":
    main()
