"""A node with pods, made of network namespaces, for tests that send packets.

`node(count)` makes a node's namespace and `count` pods on routed veths, with IPv4 and IPv6, and takes everything away
again: a namespace lives as long as a descriptor of this process holds it, so not even a killed test leaves one behind.
Works as root, and rootless inside `unshare -Urn`. Every pod echoes TCP and UDP on every port; `passes` sends any
number of probes at once and says which of them got through.
"""

from __future__ import annotations

import ctypes
import errno
import ipaddress
import os
import select
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from gatewright.engine.addresses import IPAddress
from gatewright.kernel.netlink import ACK, NETLINK_NETFILTER, Netlink
from gatewright.kernel.nft import Nft

T = TypeVar("T")
Socket = socket.socket
CLONE_NEWNET = 0x40000000
ECHO_PORT = 7
FREE_PORT = 7000
"""The one port that is not echoed: left to tests that listen themselves."""
QUIET = 0.6
"""Seconds without any answer after which those that are missing count as dropped."""
PATIENCE = 3.0
"""The same while some are missing of those that are known to be expected: a busy machine is slow to answer."""
SETTLED = 0.1
"""The same once all have answered that were expected to: those that were not would have answered among them."""
TCP, UDP, ICMP, SCTP, EXPERIMENT = 6, 17, 1, 132, 253
_CONNTRACK_DELETE = 1 << 8 | 2
NODE = {4: ipaddress.ip_address("10.77.255.1"), 6: ipaddress.ip_address("fd77::ffff")}
BRIDGE = {4: ipaddress.ip_address("10.77.0.254"), 6: ipaddress.ip_address("fd77::fe")}
"""The node's addresses on the bridge of its pods."""
_libc = ctypes.CDLL(None, use_errno=True)
_ECHO = f"""
table inet echo {{
  chain prerouting {{
    type nat hook prerouting priority dstnat;
    meta l4proto {{ tcp, udp }} th dport != {{ {ECHO_PORT}, {FREE_PORT} }} redirect to :{ECHO_PORT}
  }}
}}
"""


class Namespace:
    """A network namespace, held by a descriptor."""

    def __init__(self) -> None:
        def make() -> int:
            if _libc.unshare(CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "unshare")
            return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

        self.descriptor = in_thread(make)

    def run(self, action: Callable[[], T]) -> T:
        """What the action returns when it runs in the namespace, on a thread of its own."""

        def enter() -> T:
            if _libc.setns(self.descriptor, CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")
            return action()

        return in_thread(enter)

    def ip(self, commands: Sequence[str]) -> None:
        """Runs `ip` commands, one batch."""
        text = "\n".join(commands) + "\n"
        self.run(lambda: subprocess.run(["ip", "-batch", "-"], input=text, text=True, check=True, timeout=20))

    def sysctl(self, **values: int) -> None:
        """Sets network switches; `__` stands for the slash."""

        def write() -> None:
            for name, value in values.items():
                with open(f"/proc/sys/net/{name.replace('__', '/')}", "w") as file:
                    file.write(str(value))

        self.run(write)

    @property
    def path(self) -> str:
        """Where `ip` finds it."""
        return f"/proc/{os.getpid()}/fd/{self.descriptor}"

    def close(self) -> None:
        os.close(self.descriptor)


def in_thread(action: Callable[[], T]) -> T:
    """Runs the action on a thread of its own, whose namespace may change."""
    results: list[T] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            results.append(action())
        except BaseException as error:  # noqa: BLE001 - raised again in the calling thread
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


@dataclass(frozen=True)
class PodNamespace:
    """A pod: its namespace and one address a family."""

    namespace: Namespace
    addresses: dict[int, IPAddress]


@dataclass(frozen=True)
class Probe:
    """One packet or connection: from a pod (its number) or the node itself (-1) to an address of a pod or the node.

    `port` is 0 for ICMP and other protocols.
    """

    source: int
    destination: IPAddress
    protocol: int
    port: int = 0


@dataclass(frozen=True)
class NodeNamespace:
    """A node and its pods."""

    namespace: Namespace
    pods: tuple[PodNamespace, ...]

    def passes(self, probes: Sequence[Probe], expected: Collection[Probe] | None = None) -> list[bool]:
        """For each probe whether it got through (and its answer back, where there is one), as new connections.

        Sent all at once, but for those without ports from a higher address to a lower: to the kernel they would be the
        answers of their opposites. `expected` are those that should get through: who knows them waits less.
        """
        later = {probe for probe in probes if probe.protocol == EXPERIMENT and self._is_reverse(probe)}
        rounds = [probe for probe in probes if probe not in later], list(later)
        found = self._round(rounds[0], expected) | self._round(rounds[1], expected)
        return [found[probe] for probe in probes]

    def _is_reverse(self, probe: Probe) -> bool:
        own = NODE if probe.source < 0 else self.pods[probe.source].addresses
        return int(own[probe.destination.version]) > int(probe.destination)

    def _round(self, probes: list[Probe], expected: Collection[Probe] | None) -> dict[Probe, bool]:
        if not probes:
            return {}
        self.forget_connections()
        with ExitStack() as stack:
            begun = _attempts(self, probes, stack)
            attempts = [begun[probe] for probe in probes]
            if expected is None:
                return dict(zip(probes, _await(attempts), strict=True))
            wanted = [probe in expected for probe in probes]
            return dict(zip(probes, _await(attempts, wanted), strict=True))

    def space_of(self, source: int) -> Namespace:
        """Where a probe comes from."""
        return self.namespace if source < 0 else self.pods[source].namespace

    def space_at(self, destination: IPAddress) -> Namespace:
        """Where a probe to an address goes."""
        found = (pod.namespace for pod in self.pods if destination in pod.addresses.values())
        return next(found, self.namespace)

    def forget_connections(self) -> None:
        """Empties the node's conntrack table."""

        def work() -> None:
            with Netlink(NETLINK_NETFILTER) as netlink:
                for _ in netlink.request(_CONNTRACK_DELETE, ACK, bytes(4)):
                    pass

        self.namespace.run(work)

    def from_node(self, addresses: Sequence[IPAddress]) -> list[bool]:
        """For each address, whether the node itself reaches TCP port 80 there."""
        with ExitStack() as stack:
            attempts = [self.namespace.run(partial(_tcp, Probe(-1, to, TCP, 80))) for to in addresses]
            for attempt in attempts:
                stack.callback(attempt.socket.close)
            return _await(attempts)


@contextmanager
def node(count: int) -> Iterator[NodeNamespace]:
    """A node with `count` pods: 10.77.0.1, fd77::1 and so on."""
    with ExitStack() as stack:
        space = _namespace(stack)
        space.sysctl(ipv4__ip_forward=1, ipv6__conf__all__forwarding=1, ipv6__conf__default__accept_dad=0)
        space.sysctl(ipv4__icmp_ratemask=0, ipv6__icmp__ratelimit=0)
        space.ip([f"addr add {NODE[4]}/32 dev lo", f"addr add {NODE[6]}/128 dev lo", "link set lo up"])
        pods = tuple(_pod(number + 1, space, stack) for number in range(count))
        yield NodeNamespace(space, pods)


@contextmanager
def bridged_node(count: int) -> Iterator[NodeNamespace]:
    """The same pods on a bridge: one network of all of them, in which the node has an address."""
    with ExitStack() as stack:
        space = _namespace(stack)
        space.sysctl(ipv4__ip_forward=1, ipv6__conf__all__forwarding=1, ipv6__conf__default__accept_dad=0)
        space.ip(
            [
                "link set lo up",
                "link add cni0 type bridge",
                f"addr add {BRIDGE[4]}/24 dev cni0",
                f"addr add {BRIDGE[6]}/64 dev cni0 nodad",
                "link set cni0 up",
            ]
        )
        yield NodeNamespace(space, tuple(_bridged_pod(number + 1, space, stack) for number in range(count)))


def _namespace(stack: ExitStack) -> Namespace:
    namespace = Namespace()
    stack.callback(namespace.close)
    return namespace


def _pod(number: int, host: Namespace, stack: ExitStack) -> PodNamespace:
    space = _namespace(stack)
    v4, v6 = ipaddress.ip_address(f"10.77.0.{number}"), ipaddress.ip_address(f"fd77::{number:x}")
    space.sysctl(ipv6__conf__default__accept_dad=0)
    host.ip(
        [
            f"link add pod{number} type veth peer name eth0 netns {space.path}",
            f"addr add 169.254.1.1/32 dev pod{number}",
            f"addr add fe80::1/64 dev pod{number} nodad",
            f"link set pod{number} up",
            f"route add {v4}/32 dev pod{number}",
            f"route add {v6}/128 dev pod{number}",
        ]
    )
    space.ip(
        [
            "link set lo up",
            f"addr add {v4}/32 dev eth0",
            f"addr add {v6}/128 dev eth0 nodad",
            "link set eth0 up",
            "route add 169.254.1.1 dev eth0",
            "route add default via 169.254.1.1",
            "route add default via fe80::1 dev eth0",
        ]
    )
    space.run(lambda: Nft().run(_ECHO))
    _serve(space, stack)
    return PodNamespace(space, {4: v4, 6: v6})


def _bridged_pod(number: int, host: Namespace, stack: ExitStack) -> PodNamespace:
    space = _namespace(stack)
    v4, v6 = ipaddress.ip_address(f"10.77.0.{number}"), ipaddress.ip_address(f"fd77::{number:x}")
    space.sysctl(ipv6__conf__default__accept_dad=0)
    host.ip(
        [
            f"link add pod{number} type veth peer name eth0 netns {space.path}",
            f"link set pod{number} master cni0 up",
            f"link set pod{number} type bridge_slave hairpin on",
        ]
    )
    space.ip(
        [
            "link set lo up",
            f"addr add {v4}/24 dev eth0",
            f"addr add {v6}/64 dev eth0 nodad",
            "link set eth0 up",
            f"route add default via {BRIDGE[4]}",
            f"route add default via {BRIDGE[6]} dev eth0",
        ]
    )
    space.run(lambda: Nft().run(_ECHO))
    _serve(space, stack)
    return PodNamespace(space, {4: v4, 6: v6})


def _serve(space: Namespace, stack: ExitStack) -> None:
    """Echoes TCP and UDP until the stack closes."""
    tcp = space.run(lambda: socket.create_server(("::", ECHO_PORT), family=socket.AF_INET6, dualstack_ipv6=True))
    tcp.listen(512)
    stop_reading, stop_writing = os.pipe()
    udp = [space.run(partial(_udp_server, address)) for address in ("0.0.0.0", "::")]
    thread = threading.Thread(target=_echo, args=(tcp, udp, stop_reading), daemon=True)
    thread.start()

    def stop() -> None:
        os.close(stop_writing)
        thread.join()
        os.close(stop_reading)

    stack.callback(stop)


def _udp_server(address: str) -> socket.socket:
    server = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    if ":" in address:
        server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    server.bind((address, ECHO_PORT))
    return server


def _echo(tcp: socket.socket, udp: list[socket.socket], stop: int) -> None:
    poll = select.poll()
    sockets = {item.fileno(): item for item in (tcp, *udp)}
    for descriptor in (*sockets, stop):
        poll.register(descriptor, select.POLLIN)
    while True:
        for descriptor, _ in poll.poll():
            if descriptor == stop:
                for item in sockets.values():
                    item.close()
                return
            item = sockets[descriptor]
            if item is tcp:
                connection, _ = tcp.accept()
                sockets[connection.fileno()] = connection
                poll.register(connection.fileno(), select.POLLIN)
            elif not _echo_once(item):
                poll.unregister(descriptor)
                sockets.pop(descriptor).close()


def _echo_once(item: socket.socket) -> bool:
    """Whether the socket goes on."""
    if item.type == socket.SOCK_DGRAM:
        with suppress(OSError):
            data, peer = item.recvfrom(2048)
            item.sendto(data, peer)
        return True
    try:
        data = item.recv(2048)
        item.sendall(data)
    except OSError:
        return False
    return bool(data)


@dataclass
class _Attempt:
    """A probe under way: when this socket becomes ready so, the probe got through."""

    socket: Socket
    event: int
    check: Callable[[Socket], bool]
    passed: bool = False


def _attempts(where: NodeNamespace, probes: Sequence[Probe], stack: ExitStack) -> dict[Probe, _Attempt]:
    """All probes under way. A namespace is entered by a thread, so each is entered once for all that begin there."""
    crafted: dict[Namespace, list[Probe]] = {}
    by_source: dict[int, list[Probe]] = {}
    for probe in probes:
        by_source.setdefault(probe.source, []).append(probe)
        if probe.protocol not in _WAYS:
            crafted.setdefault(where.space_at(probe.destination), []).append(probe)
    listeners: dict[Probe, Socket] = {}
    for space, own in crafted.items():
        listeners |= space.run(partial(_listeners, own, stack))
    found: dict[Probe, _Attempt] = {}
    for source, own in by_source.items():
        found |= where.space_of(source).run(partial(_begin, own, listeners))
    for attempt in found.values():
        stack.callback(attempt.socket.close)
    return found


def _listeners(probes: list[Probe], stack: ExitStack) -> dict[Probe, Socket]:
    """A socket a probe that sees the packets of its protocol, in the namespace of its destination."""
    return {
        probe: stack.enter_context(socket.socket(_family(probe), socket.SOCK_RAW, probe.protocol)) for probe in probes
    }


def _begin(probes: list[Probe], listeners: dict[Probe, Socket]) -> dict[Probe, _Attempt]:
    """Send the probes of one source, in its namespace."""
    return {
        probe: _one_way(probe, listeners[probe]) if probe in listeners else _WAYS[probe.protocol](probe)
        for probe in probes
    }


def _family(probe: Probe) -> socket.AddressFamily:
    return socket.AF_INET if probe.destination.version == 4 else socket.AF_INET6


def _tcp(probe: Probe) -> _Attempt:
    client = socket.socket(_family(probe), socket.SOCK_STREAM)
    client.setblocking(False)
    client.connect_ex((str(probe.destination), probe.port))
    passing = (0, errno.ECONNREFUSED) if probe.destination in NODE.values() else (0,)  # nobody listens on the node
    return _Attempt(client, select.POLLOUT, lambda item: item.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) in passing)


def _udp(probe: Probe) -> _Attempt:
    client = socket.socket(_family(probe), socket.SOCK_DGRAM)
    client.connect((str(probe.destination), probe.port))
    client.send(b"hello")
    return _Attempt(client, select.POLLIN, _received(b"hello", refused=probe.destination in NODE.values()))


def _ping(probe: Probe) -> _Attempt:
    identity = os.urandom(6)
    version = probe.destination.version
    kind, protocol = (8, socket.IPPROTO_ICMP) if version == 4 else (128, socket.IPPROTO_ICMPV6)
    client = socket.socket(_family(probe), socket.SOCK_RAW, protocol)
    client.connect((str(probe.destination), 0))
    packet = struct.pack(">BBH", kind, 0, 0) + identity
    client.send(packet[:2] + struct.pack(">H", _checksum(packet)) + packet[4:] if version == 4 else packet)
    answer_kind = 0 if version == 4 else 129
    header = 20 if version == 4 else 0

    def answered(item: socket.socket) -> bool:
        data = item.recv(2048)[header:]
        return data[0] == answer_kind and data.endswith(identity)

    return _Attempt(client, select.POLLIN, answered)


def _one_way(probe: Probe, listener: Socket) -> _Attempt:
    """A crafted packet of a protocol that nobody answers: it passed when the destination's kernel sees it."""
    identity = os.urandom(16)
    with socket.socket(_family(probe), socket.SOCK_RAW, probe.protocol) as sender:
        sender.connect((str(probe.destination), 0))
        sender.send(sctp_init(probe.port, identity) if probe.protocol == SCTP else identity)
    return _Attempt(listener, select.POLLIN, lambda item: identity in item.recv(2048))


_WAYS = {TCP: _tcp, UDP: _udp, ICMP: _ping}
"""How a probe of a protocol begins that somebody answers."""


def _received(expected: bytes, *, refused: bool) -> Callable[[socket.socket], bool]:
    def check(item: socket.socket) -> bool:
        try:
            return item.recv(2048) == expected
        except OSError as error:
            return refused and error.errno == errno.ECONNREFUSED

    return check


def _await(attempts: list[_Attempt], expected: Sequence[bool] | None = None) -> list[bool]:
    """Which attempts got through; `expected` says which should."""
    missing = len(attempts) if expected is None else sum(expected)
    wanted = {id(attempt) for attempt, one in zip(attempts, expected or [True] * len(attempts), strict=True) if one}
    poll = select.poll()
    waiting = {attempt.socket.fileno(): attempt for attempt in attempts}
    for descriptor, attempt in waiting.items():
        poll.register(descriptor, attempt.event)
    quiet_since = time.monotonic()
    patience = QUIET if expected is None else PATIENCE
    while waiting and (left := quiet_since + (patience if missing else SETTLED) - time.monotonic()) > 0:
        for descriptor, _ in poll.poll(left * 1000):
            attempt = waiting[descriptor]
            attempt.passed = attempt.check(attempt.socket)
            if attempt.passed or attempt.event == select.POLLOUT:
                poll.unregister(descriptor)
                del waiting[descriptor]
                missing -= id(attempt) in wanted
            quiet_since = time.monotonic()
    return [attempt.passed for attempt in attempts]


def _checksum(data: bytes) -> int:
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    folded: int = (total >> 16) + (total & 0xFFFF)
    return ~folded & 0xFFFF


def sctp_init(port: int, identity: bytes) -> bytes:
    """An INIT chunk (RFC 9260, 3.3.2) with the identity in an unrecognised parameter."""
    tag = int.from_bytes(identity[:4], "big") | 1
    parameter = struct.pack(">HH", 0xC000, 4 + len(identity)) + identity
    chunk = struct.pack(">BBHLLHHL", 1, 0, 20 + len(parameter), tag, 65535, 1, 1, 1) + parameter
    source = 1024 + int.from_bytes(identity[4:6], "big") % 60000
    header = struct.pack(">HHL", source, port, 0)
    checksum = struct.pack("<L", _crc32c(header + bytes(4) + chunk))
    return header + checksum + chunk


def _crc32c(data: bytes) -> int:
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    return value ^ 0xFFFFFFFF
