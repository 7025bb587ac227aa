"""What a node's program costs: new connections a second, loading, small changes, reading back, ending connections.

Connections go between two pods over routed veths, the program and a table that only tracks connections taking turns, so
that a busy machine slows both; the figure is the median of the ratios of neighbouring rounds. Run as root, or rootless:
`unshare -Urn python -m benchmarks.nft_program`.
"""

from __future__ import annotations

import ipaddress
import socket
import statistics
import time
from collections.abc import Callable
from dataclasses import replace

from gatewright.engine.model import Direction, Endpoint
from gatewright.kernel.apply import Applied, apply
from gatewright.kernel.conntrack import revoke
from gatewright.kernel.nft import Nft
from gatewright.kernel.node import node_program
from gatewright.kernel.readback import read_back
from gatewright.kernel.table import Program
from tests.packets.netns import ECHO_PORT, NodeNamespace, node
from tests.unit.kernel.cases import World, accept, isolated, pod, tcp, world

PORTS = 100
"""Single ports a peer; elements are peers times ports."""
SIZES = (100, 10_000, 100_000)
ROUNDS, ROUND_SECONDS = 20, 0.25
CONNTRACK_ONLY = """
table inet tracking {
  chain forward { type filter hook forward priority filter; ct state established,related accept; }
}
"""


def peer(index: int) -> Endpoint:
    """A pod elsewhere."""
    address = ipaddress.ip_address(int(ipaddress.ip_address("10.78.0.0")) + index)
    return Endpoint(index, "default", f"peer-{index}", "Pod", {}, (address,))


def policy(peers: int, extra: tuple[int, ...] = ()) -> World:
    """Pod 0 lets these peers and pod 1 in, on PORTS single ports; and pod 1 on some more."""
    ports = tcp(*range(2001, 2001 + 2 * PORTS, 2))
    everyone = tuple(range(2, peers + 2))
    friend = tcp(ECHO_PORT, *extra)
    rules = isolated(Direction.INGRESS, accept(ports, pods=everyone), accept(friend, pods=(1,)))
    small = world(2, ingress={0: rules})
    nothing = small.ingress[1], small.egress[1]
    return replace(
        small,
        endpoints=(pod(0), pod(1), *map(peer, everyone)),
        ingress=(*small.ingress, *(nothing[0],) * peers),
        egress=(*small.egress, *(nothing[1],) * peers),
    )


def timed(action: Callable[[], object]) -> float:
    """Milliseconds."""
    start = time.perf_counter()
    action()
    return (time.perf_counter() - start) * 1000


def connections_per_second(where: NodeNamespace) -> float:
    """New TCP connections a second from pod 1 to pod 0."""
    target = (str(where.pods[0].addresses[4]), ECHO_PORT)

    def work() -> float:
        count, start = 0, time.perf_counter()
        while time.perf_counter() - start < ROUND_SECONDS:
            # A full accept queue costs a second (the first packet is sent again): slow, not a failure.
            client = socket.create_connection(target, timeout=10)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            client.close()
            count += 1
        return count / (time.perf_counter() - start)

    return where.pods[1].namespace.run(work)


def compare(programmed: NodeNamespace, tracking: NodeNamespace) -> tuple[float, float]:
    """(ratio to tracking only, connections a second with the program)."""
    ratios, rates = [], []
    for _ in range(ROUNDS):
        tracked = connections_per_second(tracking)
        rates.append(connections_per_second(programmed))
        ratios.append(rates[-1] / tracked)
    return statistics.median(ratios), statistics.median(rates)


def changes(where: NodeNamespace, program: Program, peers: int) -> tuple[float, float, float]:
    """Milliseconds to load the program, to change one element of it, and to read it back."""
    other = node_program(policy(peers, (9,)), range(2))

    def work() -> tuple[float, float, float]:
        nft = Nft()
        loads = [timed(lambda: apply(nft, program)) for _ in range(3)]
        last: Applied = apply(nft, program)
        deltas = []
        for number in range(10):
            start = time.perf_counter()
            last = apply(nft, program if number % 2 else other, last)
            deltas.append((time.perf_counter() - start) * 1000)
        reads = [timed(lambda: read_back(nft)) for _ in range(3)]
        return statistics.median(loads), statistics.median(deltas), statistics.median(reads)

    return where.namespace.run(work)


def revocation(where: NodeNamespace) -> tuple[int, float]:
    """Connections in the table, and milliseconds to judge all of them and end each."""
    pods = frozenset(address for space in where.pods for address in space.addresses.values())
    results: list[int] = []

    def work() -> None:
        results.append(revoke(lambda _: False, pods=pods).revoked)

    elapsed = where.namespace.run(lambda: timed(work))
    return results[0], elapsed


def measure(size: int, where: NodeNamespace, tracking: NodeNamespace) -> str:
    """One line of the table."""
    rules = policy(size // PORTS)
    build = timed(lambda: node_program(rules, range(2)))
    program = node_program(rules, range(2))
    load, change, read = changes(where, program, size // PORTS)
    ratio, rate = compare(where, tracking)
    return f"{size:>9} {build:>9.1f} {load:>9.1f} {change:>9.2f} {read:>9.1f} {rate:>8.0f} {ratio:>6.3f}"


def main() -> None:
    """Print the table, or why there is none."""
    try:
        with node(2) as where, node(2) as tracking:
            tracking.namespace.run(lambda: Nft().run(CONNTRACK_ONLY))
            print(" elements  build ms   load ms change ms   read ms   conn/s  ratio")
            for size in SIZES:
                print(measure(size, where, tracking), flush=True)
            count, elapsed = revocation(where)
            print(f"ending {count} connections: {elapsed:.0f} ms, {elapsed / max(count, 1) * 1000:.1f} us each")
    except PermissionError as error:
        print(f"network namespaces cannot be made here ({error}): run as root or under `unshare -Urn`")


if __name__ == "__main__":
    main()
