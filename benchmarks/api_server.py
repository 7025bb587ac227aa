"""The lab's endpoint under load: how soon it is ready, writes and watchers together, a long list, memory at rest.

    python -m benchmarks.api_server

The endpoint is a process of its own, started by the command that users type. Writers and watchers are another process,
on the same machine, over TLS; so the figures hold the cost of both ends.
"""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

WATCHERS = 50
WRITERS = 16
WRITES = 3_000
PODS = 10_000
CMS = "/api/v1/namespaces/default/configmaps"
PODS_PATH = "/api/v1/namespaces/default/pods"
TARGETS = {"ready s": 1.0, "writes a second": 500.0, "list of 10,000 pods s": 0.5, "idle MB": 80.0}


def processor(process: subprocess.Popen[str]) -> float:
    """Seconds of processor time that a process has used."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@dataclass
class Peer:
    """A running endpoint and how to reach it."""

    process: subprocess.Popen[str]
    host: str
    port: int
    token: str
    tls: ssl.SSLContext

    async def connect(self) -> Connection:
        """A connection that is kept open."""
        return Connection(self, *await asyncio.open_connection(self.host, self.port, ssl=self.tls, limit=1 << 26))


@dataclass
class Connection:
    """HTTP/1.1 by hand, so that the client costs little beside what is measured."""

    peer: Peer
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, method: str, path: str, body: bytes = b"") -> tuple[int, dict[str, str]]:
        """Send a request, and read the answer's head."""
        head = f"{method} {path} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {self.peer.token}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self.writer.write(head.encode() + body)
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        return int(lines[0].split()[1]), headers

    async def request(self, method: str, path: str, body: bytes = b"") -> bytes:
        """The body of an answer, which must be a success."""
        status, headers = await self.send(method, path, body)
        data = await self.reader.readexactly(int(headers["content-length"]))
        assert status < 300, data
        return data

    async def chunk(self) -> bytes:
        """The next chunk of a stream; empty at its end."""
        size = int(await self.reader.readline(), 16)
        data = await self.reader.readexactly(size + 2)
        return data[:-2]


def start(folder: Path) -> tuple[Peer, float]:
    """(the endpoint, seconds from the command until it answered)."""
    command = [sys.executable, "-m", "gatewright", "lab", "api", "serve", "--data", str(folder)]
    begun = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    url = urlsplit(process.stdout.readline().split()[1])
    took = time.perf_counter() - begun
    tls = ssl.create_default_context(cafile=str(folder / "ca.crt"))
    assert url.hostname
    assert url.port
    return Peer(process, url.hostname, url.port, (folder / "token").read_text(), tls), took


def resident(process: subprocess.Popen[str]) -> float:
    """Megabytes that a process has in memory."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024


async def watch(peer: Peer, revision: str, ready: asyncio.Event, wanted: int) -> bytes:
    """What a watch sends until so many events came. They are read later: the client shares the machine."""
    connection = await peer.connect()
    await connection.send("GET", f"{CMS}?watch=1&resourceVersion={revision}&timeoutSeconds=300")
    ready.set()
    chunks, count = [], 0
    while count < wanted:
        chunks.append(await connection.chunk())
        count += chunks[-1].count(b"\n")
    connection.writer.close()
    return b"".join(chunks)


def check(stream: bytes, writers: dict[str, list[int]]) -> None:
    """Every write once, those of one object in order, and revisions that only grow."""
    seen: dict[str, list[int]] = {}
    last = 0
    for line in stream.splitlines():
        tree = json.loads(line)["object"]
        revision = int(tree["metadata"]["resourceVersion"])
        assert revision > last
        last = revision
        seen.setdefault(tree["metadata"]["name"], []).append(int(tree["data"]["n"]))
    assert seen == writers


async def write(peer: Peer, name: str, count: int) -> None:
    """Make an object and change it."""
    connection = await peer.connect()
    for number in range(count):
        tree = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"n": str(number)}}
        if number == 0:
            await connection.request("POST", CMS, json.dumps(tree).encode())
        else:
            await connection.request("PUT", f"{CMS}/{name}", json.dumps(tree).encode())
    connection.writer.close()


async def load(peer: Peer) -> tuple[float, float]:
    """(writes a second, seconds that the last watcher was behind the last write)."""
    connection = await peer.connect()
    revision = json.loads(await connection.request("GET", CMS))["metadata"]["resourceVersion"]
    each = WRITES // WRITERS
    ready = [asyncio.Event() for _ in range(WATCHERS)]
    watching = [asyncio.create_task(watch(peer, revision, there, each * WRITERS)) for there in ready]
    await asyncio.gather(*(there.wait() for there in ready))
    begun = time.perf_counter()
    await asyncio.gather(*(write(peer, f"w{number}", each) for number in range(WRITERS)))
    written = time.perf_counter()
    streams = await asyncio.wait_for(asyncio.gather(*watching), 120)
    behind = time.perf_counter() - written
    check(streams[0], {f"w{number}": list(range(each)) for number in range(WRITERS)})
    assert all(stream == streams[0] for stream in streams)
    return each * WRITERS / (written - begun), behind


async def fill(peer: Peer) -> None:
    """Make many pods."""

    async def some(first: int) -> None:
        connection = await peer.connect()
        for number in range(first, PODS, WRITERS):
            container = {"name": "c", "image": "registry/app:1", "ports": [{"containerPort": 8080}]}
            metadata = {"name": f"pod-{number:05}", "labels": {"app": f"a{number % 50}", "tier": "web"}}
            tree = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container]}}
            await connection.request("POST", PODS_PATH, json.dumps(tree).encode())
        connection.writer.close()

    await asyncio.gather(*(some(first) for first in range(WRITERS)))


async def long_list(peer: Peer) -> float:
    """Seconds of a list of all pods, the best of three."""
    connection = await peer.connect()
    best = 1e9
    for _ in range(3):
        begun = time.perf_counter()
        body = await connection.request("GET", PODS_PATH)
        best = min(best, time.perf_counter() - begun)
        assert body.count(b'"pod-') == PODS
    return best


async def measure(peer: Peer) -> dict[str, float]:
    """All figures of a running endpoint."""
    found = {"idle MB": resident(peer.process)}
    before = processor(peer.process)
    found["writes a second"], found["last watcher behind s"] = await load(peer)
    found["processor s of 1,000 writes"] = (processor(peer.process) - before) / WRITES * 1000
    begun = time.perf_counter()
    await fill(peer)
    found["pods made a second"] = PODS / (time.perf_counter() - begun)
    found["list of 10,000 pods s"] = await long_list(peer)
    found["MB with 10,000 pods"] = resident(peer.process)
    return found


def main() -> None:
    """Print each figure beside what is asked of it."""
    with tempfile.TemporaryDirectory() as folder:
        peer, _ = start(Path(folder))
        peer.process.terminate()
        peer.process.wait(10)
        peer, ready = start(Path(folder))
        try:
            figures = {"ready s": ready, **asyncio.run(measure(peer))}
        finally:
            peer.process.terminate()
            peer.process.wait(10)
    for name, value in figures.items():
        print(f"{name:30}{value:10.3f}" + (f"   asked {TARGETS[name]:g}" if name in TARGETS else ""))


if __name__ == "__main__":
    main()
