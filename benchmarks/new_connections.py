"""New connections a second through a routed veth pair: what the program costs where it costs most.

A client in Python is most of the cost of a connection, and hides the kernel's. So there is none: the packets of whole
TCP connections (SYN, SYN ACK, ACK, FIN, FIN, ACK; each from another peer to another port) are written beforehand and
handed to the links of two pods, a thousand at a time (sendmmsg(2) on packet sockets). The kernel carries each through
the node's forwarding, connection tracking and hook to the other pod, whose first hook drops it, before it takes the
next: all in the sending thread, whose processor time is therefore the time of the path, on a busy machine too. No
socket and no program in between takes part. Only the node differs:

- a table that only tracks connections and accepts what is established
- the program, with so many elements (peers times ports), each connection hitting another one
- the program as an agent makes it that is told nothing: spoof guard, deny log and counters; both pods' links are known
- the same with the guard for unknown pods, too
- 1,000 rules in a row, in the style of older enforcers: a first packet meets half of them until it matches

Every round sends the same packets through each node, in another order. Each kind of node is there several times, since
two that are alike differ by a per cent: where the kernel puts their tables decides what its caches hold. The figures
are those of the quickest tenth of the rounds of each, in the mean of all that are alike; the ratio is to the table that
only tracks. *First packets* alone are the worst case: they meet the whole program, and nothing of what a connection
costs besides.
Run as root, or rootless: `unshare -Urn python -m benchmarks.new_connections`.
"""

from __future__ import annotations

import ctypes
import ipaddress
import random
import socket
import statistics
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial

from benchmarks.nft_program import CONNTRACK_ONLY, PORTS, SIZES, peer, policy
from gatewright.engine.addresses import IPAddress
from gatewright.kernel.apply import apply
from gatewright.kernel.counts import counts
from gatewright.kernel.guards import Guards
from gatewright.kernel.links import pod_links
from gatewright.kernel.nft import Nft
from gatewright.kernel.node import node_program
from gatewright.kernel.options import Options
from tests.packets.crafted import checksum, ipv4, mac_of
from tests.packets.netns import NodeNamespace, node
from tests.unit.kernel.cases import pod

CONNECTIONS, ROUNDS, ALIKE = 5_000, 25, 3
LINEAR_RULES = 1000
AT_ONCE = 1000
GUARDED_PEERS = SIZES[1] // PORTS
DEFAULT = Options(log_group=100, counters=True, check_sources=True)
EVERY_GUARD = replace(DEFAULT, start_closed=True)
RANGES = frozenset({ipaddress.ip_network("10.77.0.0/24")})
SINK = """
table inet sink {
  counter arrived { }
  chain prerouting {
    type filter hook prerouting priority raw
    iifname "eth0" meta l4proto tcp counter name "arrived" drop
  }
}
"""
_libc = ctypes.CDLL(None, use_errno=True)


class _Vector(ctypes.Structure):
    """An iovec."""

    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _Header(ctypes.Structure):
    """A mmsghdr."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint32),
        ("vectors", ctypes.POINTER(_Vector)),
        ("vector_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
        ("sent", ctypes.c_uint),
    )


class Batch:
    """Frames that are sent again and again, as the kernel wants them."""

    def __init__(self, frames: Sequence[bytes]) -> None:
        self._data = ctypes.create_string_buffer(b"".join(frames))
        self._vectors = (_Vector * len(frames))()
        self._headers = (_Header * len(frames))()
        place = ctypes.addressof(self._data)
        for vector, header, frame in zip(self._vectors, self._headers, frames, strict=True):
            vector.base, vector.length = place, len(frame)
            header.vectors, header.vector_count = ctypes.pointer(vector), 1
            place += len(frame)

    def send(self, link: socket.socket) -> None:
        """Hands all of them over. Raises OSError."""
        total, done, size = len(self._headers), 0, ctypes.sizeof(_Header)
        while done < total:
            start = ctypes.byref(self._headers, done * size)
            sent = _libc.sendmmsg(link.fileno(), start, min(AT_ONCE, total - done), 0)
            if sent < 0:
                raise OSError(ctypes.get_errno(), "sendmmsg")
            done += sent


@dataclass(frozen=True)
class Step:
    """One packet of every connection, and the link that it is sent on."""

    link: socket.socket
    batch: Batch


@dataclass(frozen=True)
class Round:
    """What one round measured, in seconds of processor time."""

    first_packets: float
    connections: float


@dataclass(frozen=True)
class Path:
    """A node whose second pod connects to its first, step by step."""

    name: str
    where: NodeNamespace
    steps: tuple[Step, ...]

    def run(self) -> Round:
        """Carries all connections from one pod to the other."""
        self.where.forget_connections()
        before = self._arrived()
        times = [time.thread_time()]
        for step in self.steps:
            step.batch.send(step.link)
            times.append(time.thread_time())
        arrived = self._arrived() - before
        if arrived != len(self.steps) * CONNECTIONS:
            raise RuntimeError(f"{self.name}: only {arrived} of {len(self.steps) * CONNECTIONS} packets arrived")
        return Round(times[1] - times[0], times[-1] - times[0])

    def _arrived(self) -> int:
        return sum(each.namespace.run(lambda: counts("sink"))["arrived"].packets for each in self.where.pods)


Flow = tuple[IPAddress, int, int]
"""(client, its port, port of pod 0)."""


def flows(peers: int) -> list[Flow]:
    """Each from some peer to some of its ports, no two the same."""
    chosen = random.Random(peers)
    ports = range(2001, 2001 + 2 * PORTS, 2)
    found: set[Flow] = set()
    while len(found) < CONNECTIONS:
        address = peer(chosen.randrange(2, peers + 2)).addresses[0]
        found.add((address, chosen.randrange(1024, 65536), chosen.choice(ports)))
    return sorted(found, key=lambda _: chosen.random())


SYN, ACK, FIN = 2, 16, 1
SEGMENTS = (
    (True, SYN, (1, 0)),
    (False, SYN | ACK, (1, 2)),
    (True, ACK, (2, 2)),
    (True, FIN | ACK, (2, 2)),
    (False, FIN | ACK, (2, 3)),
    (True, ACK, (3, 3)),
)
"""Of a connection: whether the client sends it, flags, sequence and acknowledged numbers."""


def segment(flow: Flow, client: bool, flags: int, numbers: tuple[int, int]) -> bytes:
    """An IP packet of a connection to pod 0."""
    far, far_port, port = flow
    near = pod(0).addresses[0]
    ends, ports = ((far, near), (far_port, port)) if client else ((near, far), (port, far_port))
    head = struct.pack(">HHIIBBHHH", *ports, *numbers, 5 << 4, flags, 65535, 0, 0)
    summed = checksum(ends[0].packed + ends[1].packed + struct.pack(">HH", 6, len(head)) + head)
    return ipv4(*ends, 6, head[:16] + struct.pack(">H", summed) + head[18:])


def path(name: str, peers: int, stack: ExitStack) -> Path:
    """A node that does nothing yet. Pod 1 stands for all peers."""
    where = stack.enter_context(node(2))
    links, heads = [], []
    for number, each in enumerate(where.pods, 1):
        each.namespace.run(lambda: Nft().run("delete table inet echo\n" + SINK))
        link = stack.enter_context(each.namespace.run(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW)))
        link.bind(("eth0", 0))
        links.append(link)
        far = where.namespace.run(partial(mac_of, f"pod{number}"))
        heads.append(far + each.namespace.run(lambda: mac_of("eth0")) + struct.pack(">H", 0x0800))
    where.namespace.sysctl(ipv4__conf__all__rp_filter=0, ipv4__conf__pod2__rp_filter=0)
    where.namespace.ip([f"route add 10.78.0.0/16 via {pod(1).addresses[0]} dev pod2 onlink"])
    wanted = flows(peers)
    steps = (
        Step(links[client], Batch([heads[client] + segment(flow, client, flags, numbers) for flow in wanted]))
        for client, flags, numbers in SEGMENTS
    )
    return Path(name, where, tuple(steps))


def guarded_program(options: Options) -> None:
    """Applies a program with guards; the link of pod 1 may bring the packets of all peers."""
    near, far = ({index for index, _ in pod_links(pod(number).addresses[:1])} for number in range(2))
    everyone = policy(GUARDED_PEERS).endpoints
    pairs = {(link, address) for link in far for one in everyone for address in one.addresses}
    pairs |= {(link, address) for link in near for address in pod(0).addresses}
    known = frozenset(pod(0).addresses + pod(1).addresses)
    guards = Guards(RANGES, known, frozenset(pairs))
    apply(Nft(), node_program(policy(GUARDED_PEERS), range(2), options=options, guards=guards))


def linear() -> str:
    """A chain of a thousand rules, one a peer, for packets to pod 0."""
    peers = [peer(index + 2).addresses[0] for index in range(LINEAR_RULES)]
    rules = [f"ip saddr {address} tcp dport 2001-2200 accept" for address in peers]
    return f"""
    table inet linear {{
      chain pod {{
        {"; ".join(rules)}
        drop
      }}
      chain forward {{
        type filter hook forward priority filter
        ct state established,related accept
        ip daddr {pod(0).addresses[0]} goto pod
      }}
    }}
    """


def paths(stack: ExitStack) -> Iterator[Path]:
    """A node of each kind; the first is what the others are compared with."""
    most = SIZES[-1] // PORTS
    tracking = path("tracking only", most, stack)
    tracking.where.namespace.run(lambda: Nft().run(CONNTRACK_ONLY))
    yield tracking
    for size in SIZES:
        made = path(f"{size:,} elements", size // PORTS, stack)
        made.where.namespace.run(partial(apply, Nft(), node_program(policy(size // PORTS), range(2))))
        yield made
    for name, options in (("spoof guard", DEFAULT), ("every guard", EVERY_GUARD)):
        guarded = path(f"10,000 elements, {name}", GUARDED_PEERS, stack)
        guarded.where.namespace.run(partial(guarded_program, options))
        yield guarded
    old = path(f"{LINEAR_RULES:,} rules in a row", LINEAR_RULES, stack)
    old.where.namespace.run(lambda: Nft().run(linear()))
    yield old


Rounds = Sequence[Sequence[Round]]
"""The rounds of each of the nodes that are alike."""


def quick(alike: Rounds, figure: str) -> float:
    """The time that a tenth of the rounds were quicker than: what disturbs a round only ever adds."""
    return statistics.fmean(statistics.quantiles([getattr(one, figure) for one in own], n=10)[0] for own in alike)


def line(name: str, rounds: Rounds, base: Rounds) -> str:
    """One line of the table: both figures, as a rate, in nanoseconds, and compared with the base."""
    words = [f"{name:<29}"]
    for figure in ("first_packets", "connections"):
        found, other = quick(rounds, figure), quick(base, figure)
        words.append(f"{CONNECTIONS / found:>10.0f} {found / CONNECTIONS * 1e9:>9.0f} {other / found:>6.3f}")
    return " ".join(words)


def main() -> None:
    """Print the table, or why there is none."""
    try:
        with ExitStack() as stack:
            compared = [each for _ in range(ALIKE) for each in paths(stack)]
            rounds: list[list[Round]] = [[] for _ in compared]
            for _ in range(ROUNDS):
                for index in random.sample(range(len(compared)), len(compared)):
                    rounds[index].append(compared[index].run())
            kinds = len(compared) // ALIKE
            print(f"{'':<29} {'first packets/s':>10} ns each  ratio {'connections/s':>10} ns  ratio")
            for kind in range(kinds):
                print(line(compared[kind].name, rounds[kind::kinds], rounds[::kinds]))
    except PermissionError as error:
        print(f"network namespaces cannot be made here ({error}): run as root or under `unshare -Urn`")


if __name__ == "__main__":
    main()
