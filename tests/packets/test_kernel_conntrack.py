"""A change of policy ends the connections it forbids, within a second, and no others."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import pytest

from gatewright.engine.addresses import IPAddress
from gatewright.engine.model import Direction
from gatewright.kernel import conntrack
from gatewright.kernel.apply import apply
from gatewright.kernel.conntrack import Flow, Revocation, flows, forget, revoke, table_use
from gatewright.kernel.nft import Nft
from gatewright.kernel.node import node_program
from gatewright.kernel.options import Options
from tests.packets.netns import FREE_PORT, NODE, UDP, NodeNamespace
from tests.unit.kernel import cases
from tests.unit.kernel.cases import World, accept, isolated, tcp, udp, world

pytestmark = pytest.mark.packets
IN = Direction.INGRESS
COUNT = 4
PODS = frozenset(address for index in range(COUNT) for address in cases.pod(index).addresses)
SERVER = cases.pod(0)
OPEN = world(COUNT)
ONLY_POD_1 = world(COUNT, ingress={0: isolated(IN, accept(tcp(80) | udp(53), pods=(1,)))})


@pytest.fixture(params=[4, 6])
def server(request: pytest.FixtureRequest) -> IPAddress:
    """The address of pod 0, of either family."""
    address = SERVER.address(request.param)
    assert address is not None
    return address


def enforce(where: NodeNamespace, rules: World) -> Revocation:
    """Applies the rules, and ends what they forbid."""

    def allowed(flow: Flow) -> bool:
        return cases.connects(rules, flow.source, flow.destination, (flow.protocol, flow.port))

    def work() -> Revocation:
        apply(Nft(), node_program(rules, range(COUNT)))
        return revoke(allowed, pods=PODS, node=frozenset(NODE.values()))

    return where.namespace.run(work)


@contextmanager
def connection(
    where: NodeNamespace, pod: int, to: IPAddress, kind: socket.SocketKind, port: int
) -> Iterator[socket.socket]:
    """A connected socket of a pod (of the node: -1) that has exchanged a message."""
    space = where.namespace if pod < 0 else where.pods[pod].namespace
    family = socket.AF_INET if to.version == 4 else socket.AF_INET6
    client = space.run(lambda: socket.socket(family, kind))
    with client:
        client.settimeout(0.5)
        client.connect((str(to), port))
        assert alive(client)
        yield client


def alive(client: socket.socket) -> bool:
    """Whether a message comes back. Raises ConnectionResetError when the connection was reset."""
    client.send(b"hello")
    try:
        return client.recv(100) == b"hello"
    except TimeoutError:
        return False


@pytest.fixture(autouse=True)
def fresh(node_with_pods: NodeNamespace) -> None:
    enforce(node_with_pods, OPEN)
    node_with_pods.forget_connections()


def test_a_tcp_connection_is_reset_and_others_live(node_with_pods: NodeNamespace, server: IPAddress) -> None:
    with (
        connection(node_with_pods, 1, server, socket.SOCK_STREAM, 80) as friend,
        connection(node_with_pods, 2, server, socket.SOCK_STREAM, 80) as stranger,
        connection(node_with_pods, 1, server, socket.SOCK_STREAM, 81) as wrong_port,
    ):
        done = enforce(node_with_pods, ONLY_POD_1)
        for ended in (stranger, wrong_port):
            with pytest.raises(ConnectionResetError):
                alive(ended)
        assert alive(friend)
        assert (done.revoked, done.restored, done.judged) == (2, 0, 3)


def test_a_connection_on_which_only_the_server_speaks_is_reset(node_with_pods: NodeNamespace) -> None:
    end = (str(SERVER.addresses[0]), FREE_PORT)
    listener = node_with_pods.pods[0].namespace.run(lambda: socket.create_server(end))
    with listener, node_with_pods.pods[2].namespace.run(lambda: socket.create_connection(end, timeout=1)):
        listener.settimeout(1)
        served, _ = listener.accept()
        with served:
            served.settimeout(1)
            enforce(node_with_pods, ONLY_POD_1)
            served.send(b"more")
            with pytest.raises(ConnectionResetError):
                served.recv(10)


def test_a_udp_flow_stops_and_others_go_on(node_with_pods: NodeNamespace, server: IPAddress) -> None:
    with (
        connection(node_with_pods, 1, server, socket.SOCK_DGRAM, 53) as friend,
        connection(node_with_pods, 2, server, socket.SOCK_DGRAM, 53) as stranger,
    ):
        assert enforce(node_with_pods, ONLY_POD_1).revoked == 1
        assert not alive(stranger)
        assert alive(friend)


def test_entries_of_one_protocol_that_are_unwanted_are_deleted_and_no_others(
    node_with_pods: NodeNamespace, server: IPAddress
) -> None:
    with (
        connection(node_with_pods, 1, server, socket.SOCK_DGRAM, 53),
        connection(node_with_pods, 2, server, socket.SOCK_DGRAM, 54),
        connection(node_with_pods, 1, server, socket.SOCK_STREAM, 80),
    ):
        unwanted = partial(forget, lambda flow: flow.original.destination_port in (53, 80), UDP)
        assert node_with_pods.namespace.run(unwanted) == 1
        left = node_with_pods.namespace.run(lambda: {one.original.destination_port for one in flows()})
        assert left == {54, 80}
        assert node_with_pods.namespace.run(unwanted) == 0


def test_without_revocation_a_connection_outlives_the_change(node_with_pods: NodeNamespace, server: IPAddress) -> None:
    with connection(node_with_pods, 2, server, socket.SOCK_STREAM, 80) as stranger:
        node_with_pods.namespace.run(lambda: apply(Nft(), node_program(ONLY_POD_1, range(COUNT))))
        assert alive(stranger)


def test_a_flow_that_is_allowed_again_goes_on(node_with_pods: NodeNamespace, server: IPAddress) -> None:
    with connection(node_with_pods, 2, server, socket.SOCK_DGRAM, 53) as stranger:
        enforce(node_with_pods, ONLY_POD_1)
        assert not alive(stranger)
        assert enforce(node_with_pods, OPEN).restored == 1
        assert alive(stranger)


def test_the_node_s_own_connection_lives(node_with_pods: NodeNamespace, server: IPAddress) -> None:
    with connection(node_with_pods, -1, server, socket.SOCK_STREAM, 80) as probe:
        used = probe.getsockname()[0]
        own = frozenset({ipaddress.ip_address(used)})
        done = node_with_pods.namespace.run(lambda: revoke(lambda _: False, pods=PODS, node=own))
        assert (done.judged, done.revoked) == (1, 0)
        assert alive(probe)


def test_other_bits_of_the_mark_stay(node_with_pods: NodeNamespace, server: IPAddress) -> None:
    mark = "add table inet other; add chain inet other f { type filter hook forward priority -10; }; "
    node_with_pods.namespace.run(lambda: Nft().run(mark + "add rule inet other f ct mark set 0x80\n"))

    def marks() -> set[int]:
        return {flow.mark for flow in node_with_pods.namespace.run(lambda: list(flows())) if flow.destination == server}

    try:
        with connection(node_with_pods, 2, server, socket.SOCK_DGRAM, 53):
            node_with_pods.namespace.run(lambda: Nft().run("delete table inet other\n"))
            assert marks() == {0x80}
            enforce(node_with_pods, ONLY_POD_1)
            assert marks() == {0x1080}
            enforce(node_with_pods, OPEN)
            assert marks() == {0x80}
    finally:
        node_with_pods.namespace.run(lambda: Nft().run("add table inet other\ndelete table inet other\n"))


def test_translated_connections_are_judged_by_the_pods_behind_them(node_with_pods: NodeNamespace) -> None:
    service = ipaddress.ip_address("10.96.0.1")
    here = SERVER.addresses[0]
    to_pod = f"ip daddr {service} tcp dport 8000 dnat to {here}:80"
    text = f"""
    table ip nat {{
      chain prerouting {{ type nat hook prerouting priority dstnat; {to_pod}; }}
      chain postrouting {{ type nat hook postrouting priority srcnat; ip daddr {here} snat to {NODE[4]}; }}
    }}
    """
    node_with_pods.namespace.run(lambda: Nft().run(text))
    try:
        with (
            connection(node_with_pods, 1, service, socket.SOCK_STREAM, 8000) as friend,
            connection(node_with_pods, 2, service, socket.SOCK_STREAM, 8000) as stranger,
        ):
            seen = {
                (flow.source, flow.destination, flow.port)
                for flow in node_with_pods.namespace.run(lambda: list(flows()))
            }
            assert seen == {(cases.pod(index).addresses[0], here, 80) for index in (1, 2)}
            assert enforce(node_with_pods, ONLY_POD_1).revoked == 1
            with pytest.raises(ConnectionResetError):
                alive(stranger)
            assert alive(friend)
    finally:
        node_with_pods.namespace.run(lambda: Nft().run("delete table ip nat\n"))


def test_only_entries_of_the_pods_asked_about_are_read(node_with_pods: NodeNamespace, server: IPAddress) -> None:
    other = cases.pod(3).address(server.version)
    assert other is not None
    with (
        connection(node_with_pods, 1, server, socket.SOCK_STREAM, 80),
        connection(node_with_pods, 2, other, socket.SOCK_DGRAM, 53),
    ):

        def about(*pods: int) -> list[tuple[IPAddress, IPAddress]]:
            wanted = [address for pod in pods for address in cases.pod(pod).addresses]
            found = node_with_pods.namespace.run(lambda: list(flows(wanted)))
            return [(flow.source, flow.destination) for flow in found]

        first, second = ((cases.pod(pod).address(server.version), to) for pod, to in ((1, server), (2, other)))
        assert about(0) == about(1) == [first]
        assert about(2) == about(3) == [second]
        assert set(about(0, 3)) == {first, second}
        assert about() == []


def test_a_translated_connection_is_about_the_pods_at_its_ends(node_with_pods: NodeNamespace) -> None:
    """Not about the address that the client asked for, nor about the one that the server saw."""
    service, here = ipaddress.ip_address("10.96.0.1"), SERVER.addresses[0]
    text = f"""
    table ip nat {{
      chain prerouting {{ type nat hook prerouting priority dstnat; ip daddr {service} dnat to {here}; }}
      chain postrouting {{ type nat hook postrouting priority srcnat; ip daddr {here} snat to {NODE[4]}; }}
    }}
    """
    node_with_pods.namespace.run(lambda: Nft().run(text))
    try:
        with connection(node_with_pods, 1, service, socket.SOCK_STREAM, 80):
            pods = cases.pod(1).addresses
            found = [node_with_pods.namespace.run(partial(_count, ends)) for ends in ([here], pods, [service, NODE[4]])]
            assert found == [1, 1, 0]
    finally:
        node_with_pods.namespace.run(lambda: Nft().run("delete table ip nat\n"))


def _count(ends: Collection[IPAddress]) -> int:
    return len(list(flows(ends)))


def test_entries_that_look_different_are_decoded(
    node_with_pods: NodeNamespace, server: IPAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kernel that wrote its messages in another order would cost time, and no connection would escape."""
    monkeypatch.setattr(conntrack, "_SOURCE_ADDRESS", {})
    with connection(node_with_pods, 2, server, socket.SOCK_STREAM, 80) as stranger:
        assert enforce(node_with_pods, ONLY_POD_1).revoked == 1
        with pytest.raises(ConnectionResetError):
            alive(stranger)


def test_how_full_the_table_is_can_be_read(node_with_pods: NodeNamespace, server: IPAddress) -> None:
    with (
        connection(node_with_pods, 1, server, socket.SOCK_STREAM, 80),
        connection(node_with_pods, 2, server, socket.SOCK_STREAM, 80),
    ):
        use = node_with_pods.namespace.run(table_use)
    assert use.entries == 2
    assert use.limit > 1000
    assert not use.full
    assert replace(use, entries=use.limit).full


def test_an_audit_ends_no_connection(node_with_pods: NodeNamespace, server: IPAddress) -> None:
    """Nor does one that began after connections had been marked."""
    with connection(node_with_pods, 2, server, socket.SOCK_DGRAM, 53) as stranger:
        enforce(node_with_pods, ONLY_POD_1)
        assert not alive(stranger)
        program = node_program(ONLY_POD_1, range(COUNT), options=Options(audit=True))
        node_with_pods.namespace.run(lambda: apply(Nft(), program))
        assert alive(stranger)
