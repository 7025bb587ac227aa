"""Steady traffic between pods, from a process of its own: what passed, and between which two moments that was decided.

UDP datagrams, each with a source port that its flow has not used for minutes, so that each is a new connection, and
none is sent twice. They go out in small bursts, and a burst ends with a datagram between two pods that nothing forbids.
The process keeps to one processor, whose queue the kernel works off in order, so that with the arrival of that last
one it is decided for all before it whether they pass. A packet that comes later nevertheless is counted.

Packets are seen as they enter the pod, before its own packet filter, which drops them: nobody answers.
"""

from __future__ import annotations

import ctypes
import gc
import ipaddress
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from gatewright.kernel.nft import Nft
from tests.packets.netns import CLONE_NEWNET, NodeNamespace

BURST = 8
PATIENCE = 10.0
"""Seconds after which the datagram that ends a burst counts as lost, which ends the traffic."""
_MAGIC = 0x67617465
_HEADERS = {4: 20, 6: 40}
_TYPES = {4: 0x0800, 6: 0x86DD}
_FIRST_PORT, _PORTS = 10000, 50000
_PACKET, _STATISTICS = 263, 6
_OPEN_PORT = 9
_SILENT = f"""
table inet silent {{
  chain prerouting {{
    type filter hook prerouting priority raw;
    udp sport >= {_FIRST_PORT} udp length 16 @th,64,32 {_MAGIC:#x} drop
  }}
}}
"""


class Flow(msgspec.Struct, frozen=True):
    """From a pod (its number) to an address and a port."""

    source: int
    destination: str
    port: int

    @property
    def family(self) -> int:
        """4 or 6."""
        return 6 if ":" in self.destination else 4


class Burst(msgspec.Struct, frozen=True, array_like=True):
    """Datagrams that were decided on between two moments (monotonic clock, ns): their flows, and which passed."""

    began: int
    ended: int
    flows: list[int]
    passed: list[bool]


class Seen(msgspec.Struct, frozen=True):
    """All traffic; `late` came after the end of their burst, `lost` were too many for the observer."""

    bursts: list[Burst]
    late: int
    lost: int


class Order(msgspec.Struct, frozen=True):
    """What the process is told: namespaces by descriptor, flows, datagrams a second, the flow that is always open."""

    namespaces: list[int]
    flows: list[Flow]
    rate: int
    open: Flow


class Traffic:
    """Traffic under way; `seen` is there when the block has ended."""

    seen: Seen


@contextmanager
def steady_traffic(
    where: NodeNamespace, flows: Sequence[Flow], always_open: tuple[int, int], rate: int, folder: Path
) -> Iterator[Traffic]:
    """Send as long as the block lasts, `rate` datagrams a second; nothing may forbid the two pods `always_open`."""
    for pod in where.pods:
        pod.namespace.run(lambda: Nft().run(_SILENT))
    source, destination = always_open
    sentinel = Flow(source, str(where.pods[destination].addresses[4]), _OPEN_PORT)
    order = Order([pod.namespace.descriptor for pod in where.pods], list(flows), rate, sentinel)
    result, traffic = folder / "traffic", Traffic()
    (folder / "order").write_bytes(msgspec.json.encode(order))
    command = [sys.executable, "-m", "tests.packets.steady", str(folder / "order"), str(result)]
    process = subprocess.Popen(command, pass_fds=order.namespaces, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.readline(), "no traffic"
        yield traffic
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        traffic.seen = msgspec.json.decode(result.read_bytes(), type=Seen)
    finally:
        process.kill()
        process.wait(10)


class _Ends:
    """The sockets in the pods: senders by pod and family, observers by descriptor with their family."""

    def __init__(self, namespaces: Sequence[int]) -> None:
        self.senders: dict[tuple[int, int], socket.socket] = {}
        self.observers: dict[int, tuple[socket.socket, int]] = {}
        self.poll = select.epoll()
        libc = ctypes.CDLL(None, use_errno=True)
        for number, namespace in enumerate(namespaces):
            if libc.setns(namespace, CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")
            for family in (4, 6):
                self._open(number, family)

    def _open(self, number: int, family: int) -> None:
        kind = socket.AF_INET if family == 4 else socket.AF_INET6
        sender = socket.socket(kind, socket.SOCK_RAW, socket.IPPROTO_UDP)
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 0)
        if family == 6:
            sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_CHECKSUM, 6)
        observer = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, 0)
        observer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        observer.bind(("eth0", _TYPES[family]))
        self.senders[number, family] = sender
        self.observers[observer.fileno()] = observer, family
        self.poll.register(observer, select.EPOLLIN)

    def send(self, flow: Flow, target: tuple[str, int], source_port: int, number: int) -> None:
        """Send one datagram with its number."""
        header = struct.pack(">HHHHII", source_port, flow.port, 16, 0, _MAGIC, number)
        self.senders[flow.source, flow.family].sendto(header, target)

    def arrivals(self) -> Iterator[int]:
        """The numbers of the datagrams that have arrived, some at a time; waits for the first."""
        for descriptor, _ in self.poll.poll(PATIENCE):
            observer, family = self.observers[descriptor]
            while True:
                try:
                    data = observer.recv(128)
                except BlockingIOError:
                    break
                length = _HEADERS[family]
                if len(data) == length + 16 and data[length + 8 : length + 12] == _MAGIC.to_bytes(4, "big"):
                    yield int.from_bytes(data[length + 12 :], "big")

    @property
    def lost(self) -> int:
        """Packets that the observers had no room for."""
        found = (one.getsockopt(_PACKET, _STATISTICS, 8) for one, _ in self.observers.values())
        return sum(struct.unpack("=II", one)[1] for one in found)


class _Sender:
    """Bursts, one after the other."""

    def __init__(self, order: Order) -> None:
        self.ends = _Ends(order.namespaces)
        self.flows = [*order.flows, order.open]
        self.targets = [(str(ipaddress.ip_address(flow.destination)), 0) for flow in self.flows]
        self.used = [0] * len(self.flows)
        self.number = 0
        self.next = 0
        self.late = 0

    def burst(self) -> Burst:
        """Send some, and wait until all of them are decided on."""
        count = len(self.flows) - 1
        chosen = [(self.next + step) % count for step in range(BURST)]
        self.next = (self.next + BURST) % count
        first = self.number
        arrived: set[int] = set()
        began = time.monotonic_ns()
        for index in (*chosen, count):
            self._send(index)
        while self.number - 1 not in arrived:
            arrived.update(self.ends.arrivals())
            if time.monotonic_ns() - began > PATIENCE * 1e9:
                raise TimeoutError("the datagram that nothing forbids did not arrive")
        ended = time.monotonic_ns()
        self.late += sum(number < first for number in arrived)
        return Burst(began, ended, chosen, [first + step in arrived for step in range(BURST)])

    def _send(self, index: int) -> None:
        port = _FIRST_PORT + self.used[index] % _PORTS
        self.used[index] += 1
        self.ends.send(self.flows[index], self.targets[index], port, self.number)
        self.number += 1


def _main(order_path: str, result: str) -> None:
    """Send until SIGTERM, then write what was seen."""
    order = msgspec.json.decode(Path(order_path).read_bytes(), type=Order)
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    gc.disable()
    ended: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: ended.append(number))
    sender, bursts = _Sender(order), []
    print("ready", flush=True)
    pause, due = BURST / order.rate, time.monotonic()
    while not ended:
        bursts.append(sender.burst())
        due = max(due + pause, time.monotonic() - pause)
        time.sleep(max(0.0, due - time.monotonic()))
    Path(result).write_bytes(msgspec.json.encode(Seen(bursts, sender.late, sender.ends.lost)))


if __name__ == "__main__":
    _main(*sys.argv[1:])
