"""Pods keep to their own addresses, and unknown pods are cut off: with packets that nobody's socket would send."""

from __future__ import annotations

import ipaddress
import select
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from gatewright.engine.addresses import IPAddress
from gatewright.engine.model import Direction
from gatewright.kernel.apply import apply, apply_change, remove
from gatewright.kernel.counts import counts
from gatewright.kernel.guards import Guards
from gatewright.kernel.links import pod_links
from gatewright.kernel.nft import Nft
from gatewright.kernel.node import NodeProgram, node_program
from gatewright.kernel.options import Options
from gatewright.kernel.readback import read_back
from gatewright.kernel.table import Program
from tests.packets.crafted import icmp6, mac_of, send, udp
from tests.packets.netns import FREE_PORT, ICMP, NODE, TCP, UDP, NodeNamespace, Probe
from tests.unit.kernel import cases
from tests.unit.kernel.cases import World, isolated, world

pytestmark = pytest.mark.packets
COUNT = 4
OPEN = world(COUNT)
CHECKED = Options(check_sources=True, counters=True)
CLOSED = Options(start_closed=True, counters=True)
RANGES = frozenset(map(ipaddress.ip_network, ("10.77.0.0/24", "fd77::/64")))
GATEWAY = ipaddress.ip_address("fe80::1")
LINK_LOCAL, NOWHERE, NOWHERE6 = map(ipaddress.ip_address, ("fe80::99", "0.0.0.0", "::"))
ALL_NODES, BROADCAST = map(ipaddress.ip_address, ("ff02::1", "255.255.255.255"))
ALL_LIKE_GATEWAY = ipaddress.ip_address("ff02::1:ff00:1")
QUIET = 0.2


def address(pod: int, family: int) -> IPAddress:
    found = cases.pod(pod).address(family)
    assert found is not None
    return found


def addresses(*pods: int) -> frozenset[IPAddress]:
    return frozenset(found for pod in pods for found in cases.pod(pod).addresses)


@pytest.fixture
def checked(node_with_pods: NodeNamespace) -> NodeNamespace:
    """The node checks the sources of every pod's link."""
    check(node_with_pods, CHECKED)
    return node_with_pods


def check(where: NodeNamespace, options: Options, *pods: int, rules: World = OPEN) -> None:
    def work() -> None:
        guards = Guards(links=pod_links(addresses(*(pods or range(COUNT)))))
        anew(node_program(rules, range(COUNT), options=options, guards=guards))

    where.namespace.run(work)
    where.forget_connections()


def anew(program: Program) -> None:
    """The program in a table that was not there: its counters begin."""
    remove(Nft())
    apply(Nft(), program)


def arrives(where: NodeNamespace, sender: int, source: IPAddress, target: IPAddress) -> bool:
    """Whether a UDP packet with this source gets from a pod to a pod or to the node."""
    pods = [index for index in range(COUNT) if target in cases.pod(index).addresses]
    space = where.pods[pods[0]].namespace if pods else where.namespace
    family = socket.AF_INET if target.version == 4 else socket.AF_INET6
    with space.run(lambda: socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_UDP)) as listener:
        inject(where, sender, udp(source, target, (FREE_PORT, FREE_PORT), b"borrowed"))
        while select.select([listener], [], [], QUIET)[0]:
            if b"borrowed" in listener.recv(2048):
                return True
    return False


def inject(where: NodeNamespace, sender: int, *packets: bytes) -> None:
    mac = where.namespace.run(lambda: mac_of(f"pod{sender + 1}"))
    where.pods[sender].namespace.run(lambda: send("eth0", packets, mac))


def spoofed(where: NodeNamespace) -> int:
    return where.namespace.run(counts)["egress/spoofed"].packets


@pytest.mark.parametrize("family", [4, 6])
def test_a_pod_cannot_borrow_the_address_of_another(checked: NodeNamespace, family: int) -> None:
    assert arrives(checked, 1, address(1, family), address(0, family))
    assert not arrives(checked, 1, address(2, family), address(0, family))
    assert spoofed(checked) == 1


@pytest.mark.parametrize("source", ["192.0.2.7", "2001:db8::7", "169.254.7.7"])
def test_an_address_that_no_policy_knows_is_no_way_out(checked: NodeNamespace, source: str) -> None:
    outside = ipaddress.ip_address(source)
    assert not arrives(checked, 1, outside, address(0, outside.version))
    assert not arrives(checked, 1, outside, NODE[outside.version])


def test_a_borrowed_packet_does_not_enter_a_connection_that_exists(checked: NodeNamespace) -> None:
    with checked.pods[2].namespace.run(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as client:
        client.settimeout(QUIET)
        client.connect((str(address(0, 4)), 53))
        client.send(b"own")
        assert client.recv(10) == b"own"
        ports = client.getsockname()[1], 53
        inject(checked, 1, udp(address(2, 4), address(0, 4), ports, b"borrowed"))
        with pytest.raises(TimeoutError):
            client.recv(10)
    assert spoofed(checked) == 1


def test_a_link_that_is_not_known_is_not_checked(node_with_pods: NodeNamespace) -> None:
    check(node_with_pods, CHECKED, 0, 2)
    assert arrives(node_with_pods, 1, ipaddress.ip_address("192.0.2.8"), address(0, 4))


def test_an_audit_counts_lets_through_and_goes_on_to_the_policies(node_with_pods: NodeNamespace) -> None:
    options = replace(CHECKED, audit=True)
    closed = world(COUNT, ingress={0: isolated(Direction.INGRESS)})
    check(node_with_pods, options, rules=closed)
    assert arrives(node_with_pods, 1, ipaddress.ip_address("192.0.2.9"), address(0, 4))
    found = {name: each.packets for name, each in node_with_pods.namespace.run(counts).items()}
    assert found == {"egress/spoofed": 1, "ingress/default/policy/policy": 1}


def test_ordinary_traffic_meets_no_guard(checked: NodeNamespace) -> None:
    probes = [
        Probe(source, to, protocol, port)
        for source, target in ((0, 1), (1, 0), (3, 2))
        for to in cases.pod(target).addresses
        for protocol, port in ((TCP, 80), (UDP, 53), (ICMP, 0))
    ]
    for pod in checked.pods:
        pod.namespace.ip(["neigh flush all"])
    assert checked.passes(probes) == [True] * len(probes)
    assert checked.from_node(cases.pod(0).addresses) == [True, True]
    assert spoofed(checked) == 0


def _neighbour(kind: int, target: IPAddress = GATEWAY) -> bytes:
    return bytes((kind, 0, 0, 0)) + bytes(4) + target.packed


FREE: dict[str, Callable[[], bytes]] = {
    "a neighbour solicitation": lambda: icmp6(LINK_LOCAL, GATEWAY, _neighbour(135), 255),
    "duplicate address detection": lambda: icmp6(
        NOWHERE6, ipaddress.ip_address("ff02::1:ff00:1"), _neighbour(135), 255
    ),
    "a listener query": lambda: icmp6(LINK_LOCAL, ALL_NODES, bytes((130, 0, 0, 0)) + bytes(20), 1),
    "a DHCP request": lambda: udp(NOWHERE, BROADCAST, (68, 67)),
    "a DHCPv6 request": lambda: udp(LINK_LOCAL, GATEWAY, (546, 547)),
}
HELD: dict[str, Callable[[], bytes]] = {
    "a neighbour solicitation from elsewhere": lambda: icmp6(LINK_LOCAL, GATEWAY, _neighbour(135), 254),
    "a listener query from elsewhere": lambda: icmp6(LINK_LOCAL, ALL_NODES, bytes((130, 0, 0, 0)) + bytes(20), 2),
    "another port without an address": lambda: udp(NOWHERE, BROADCAST, (68, 68)),
    "another port from a link-local address": lambda: udp(LINK_LOCAL, GATEWAY, (546, 53)),
    "an echo request from a link-local address": lambda: icmp6(LINK_LOCAL, GATEWAY, bytes((128, 0, 0, 0)) + bytes(4)),
}


@pytest.fixture
def witness(checked: NodeNamespace) -> Iterator[Callable[[], int]]:
    """How many packets reached the node itself from pod 1, behind our table."""
    rule = 'iifname "pod2" counter name "came"'
    text = f"""
    table inet witness {{
      counter came {{ }}
      chain input {{ type filter hook input priority filter + 10; {rule}; }}
    }}
    """
    checked.namespace.run(lambda: Nft().run(text))
    yield lambda: checked.namespace.run(lambda: counts("witness"))["came"].packets
    checked.namespace.run(lambda: Nft().run("delete table inet witness\n"))


@pytest.mark.parametrize("name", FREE)
def test_what_a_pod_must_send_before_it_has_an_address_passes(
    checked: NodeNamespace, witness: Callable[[], int], name: str
) -> None:
    inject(checked, 1, FREE[name]())
    assert witness() == 1
    assert spoofed(checked) == 0


@pytest.mark.parametrize("name", HELD)
def test_nothing_else_without_an_address_passes(checked: NodeNamespace, witness: Callable[[], int], name: str) -> None:
    inject(checked, 1, HELD[name]())
    assert (witness(), spoofed(checked)) == (0, 1)


def close(where: NodeNamespace, *known: int, options: Options = CLOSED) -> None:
    guards = Guards(ranges=RANGES, known=addresses(*known))
    where.namespace.run(lambda: anew(node_program(OPEN, range(COUNT), options=options, guards=guards)))
    where.forget_connections()


def unknown(where: NodeNamespace) -> list[int]:
    """Denied on the side of the source, and of the destination."""
    found = where.namespace.run(counts)
    return [found[name].packets for name in ("egress/unknown", "ingress/unknown")]


@pytest.mark.parametrize("family", [4, 6])
def test_a_pod_that_is_not_known_yet_is_cut_off(node_with_pods: NodeNamespace, family: int) -> None:
    close(node_with_pods, 0, 1, 2)
    asked = [
        Probe(3, address(0, family), UDP, 53),
        Probe(0, address(3, family), UDP, 53),
        Probe(0, address(1, family), UDP, 53),
        Probe(3, NODE[family], ICMP),
        Probe(0, NODE[family], ICMP),
    ]
    assert node_with_pods.passes(asked) == [False, False, True, False, True]
    assert unknown(node_with_pods) == [2, 1]


def test_the_node_reaches_an_unknown_pod(node_with_pods: NodeNamespace) -> None:
    close(node_with_pods, 0)
    assert node_with_pods.from_node(cases.pod(3).addresses) == [True, True]


def test_the_node_s_own_address_in_the_range_is_no_pod(node_with_pods: NodeNamespace) -> None:
    """As a bridge has it: pods reach it, and the node reaches itself."""
    close(node_with_pods, 0)
    bridge = ipaddress.ip_address("10.77.0.254")
    node_with_pods.namespace.ip([f"addr add {bridge}/32 dev lo"])
    try:
        assert node_with_pods.passes([Probe(0, bridge, ICMP)]) == [True]

        def to_itself() -> bytes:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
                own.settimeout(1)
                own.bind((str(bridge), 0))
                own.sendto(b"own", own.getsockname())
                return own.recv(10)

        assert node_with_pods.namespace.run(to_itself) == b"own"
        assert unknown(node_with_pods) == [0, 0]
    finally:
        node_with_pods.namespace.ip([f"addr del {bridge}/32 dev lo"])


def test_a_connection_of_a_pod_outlives_that_it_is_unknown(node_with_pods: NodeNamespace) -> None:
    """An agent that starts again knows nobody for a moment."""
    close(node_with_pods, *range(COUNT))
    family = socket.AF_INET
    with node_with_pods.pods[3].namespace.run(lambda: socket.socket(family, socket.SOCK_STREAM)) as client:
        client.settimeout(1)
        client.connect((str(address(0, 4)), 80))
        guards = Guards(ranges=RANGES)
        program = node_program(OPEN, range(COUNT), options=CLOSED, guards=guards)
        node_with_pods.namespace.run(lambda: apply(Nft(), program))
        client.send(b"hello")
        assert client.recv(10) == b"hello"


def test_an_audit_starts_open_and_counts(node_with_pods: NodeNamespace) -> None:
    close(node_with_pods, 0, options=replace(CLOSED, audit=True))
    assert node_with_pods.passes([Probe(3, address(0, 4), UDP, 53)]) == [True]
    assert unknown(node_with_pods) == [1, 0]


def test_the_guards_change_by_elements_alone(node_with_pods: NodeNamespace) -> None:
    """A pod comes: it is one more element in each set, and reaches others from then on."""
    options = replace(CLOSED, check_sources=True)
    node, program = NodeProgram.of(OPEN, options, Guards(ranges=RANGES, known=addresses(0)))

    def come() -> Program | None:
        apply(Nft(), program)
        more = Guards(ranges=RANGES, known=addresses(0, 3), links=pod_links(addresses(0, 3)))
        following, change = node.guarded(more)
        assert change.only_elements
        assert change.element_count == 2 + 2 + 4
        apply_change(Nft(), change)
        assert read_back(Nft()) == following.program
        again, nothing = following.guarded(more)
        assert not nothing
        return again.guarded(Guards(ranges=RANGES, known=addresses(0)))[1].after(following.program)

    assert node_with_pods.namespace.run(come) == program
    assert node_with_pods.passes([Probe(3, address(0, 4), UDP, 53)]) == [True]
    assert arrives(node_with_pods, 3, address(3, 4), address(0, 4))
    assert not arrives(node_with_pods, 3, address(0, 4), address(0, 4))
