"""The network of a lab with real packets: who reaches whom, by which address, and what cutting and removing do."""

from __future__ import annotations

import errno
import json
import os
import select
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gatewright.lab import linux
from gatewright.lab.errors import LabError
from gatewright.lab.network.fabric import Fabric
from gatewright.lab.network.links import attach
from gatewright.lab.network.namespaces import inside, new_namespace, own_namespace, within
from gatewright.lab.network.outside import make_outside
from gatewright.lab.network.plan import OUTSIDE_ADDRESSES, node_link
from gatewright.lab.network.routetable import PROTOCOL, RouteTable
from gatewright.lab.network.rtnetlink import Netlink, of_descriptor
from tests.packets.fabrics import FAMILIES, Made, as_ordinary_user, fabric_of, machine, pod_range

pytestmark = [pytest.mark.packets, pytest.mark.timeout(60)]

JOURNEYS = [
    ("1.1", "1.2"),
    ("1.1", "2.1"),
    ("1.1", "outside"),
    ("outside", "2.1"),
    ("outside", "2"),
    ("1", "outside"),
    ("1", "2"),
    ("1", "2.1"),
    ("1", "1.1"),
    ("1.1", "1"),
    ("1.1", "2"),
    ("1", "router"),
    ("1.1", "router"),
    ("router", "1.1"),
]
"""From whom to whom: every kind of host, on the same node and another."""


@pytest.fixture(scope="module")
def made(namespaces: None) -> Iterator[Made]:
    with fabric_of(nodes=2, pods=2) as found:
        yield found


def _journeys(made: Made) -> None:
    for family in made.families:
        for source, destination in JOURNEYS:
            seen = made.connection(source, destination, family)
            assert seen == made.address(source, family), f"{source} to {destination}"


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("source", "destination"), JOURNEYS)
def test_everybody_reaches_everybody_by_their_own_address(
    made: Made, source: str, destination: str, family: int
) -> None:
    assert made.connection(source, destination, family) == made.address(source, family)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_packet_of_full_size_passes_in_one_piece(made: Made, family: int) -> None:
    header = 28 if family == 4 else 48
    assert made.datagram("1.1", "2.1", family, 1500 - header)
    with pytest.raises(OSError, match="Message too long"):
        made.datagram("1.1", "2.1", family, 1501 - header)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("source", ["1.1", "2.1", "2", "outside"])
@pytest.mark.parametrize("node", [2, 9], ids=["of a node", "of no node"])
def test_an_address_without_a_pod_is_refused(made: Made, source: str, node: int, family: int) -> None:
    """Not looped until it is too old, not lost. TCP over IPv6 may need to be told twice: it asks again after 1 s."""
    before = _received(made)
    with pytest.raises(OSError, match=r"\[Errno") as caught:
        made.open(source, str(pod_range(node, family)[77]), timeout=2)
    assert caught.value.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH)
    assert _received(made) - before < 20


def _received(made: Made) -> int:
    """How many packets the router and the second node have received from the fabric."""
    texts = [made.ip(name, "-j", "-s", "link", "show", link) for name, link in (("router", "fabric"), ("2", "eth0"))]
    return sum(int(json.loads(text)[0]["stats64"]["rx"]["packets"]) for text in texts)


def test_the_first_packet_of_a_new_node_and_of_a_new_pod_arrives(namespaces: None) -> None:
    """Links come up by and by; whoever made them has waited for it. The first node brings the bridge up, too."""
    with fabric_of(nodes=0, pods=0) as made:
        for number in range(1, 6):
            made.add_node(number)
            assert made.datagram("router", str(number), 4, 8)
            assert made.datagram(str(number), "router", 6, 8)
            made.add_pod(number, 1)
            assert made.datagram(str(number), f"{number}.1", 4, 8)
            assert made.datagram("outside", f"{number}.1", 6, 8)
        for number in range(1, 6):
            made.fabric.cut(number)
        made.fabric.heal(3)
        assert made.datagram("router", "3", 4, 8)


def test_nobody_has_to_ask_for_a_neighbour(made: Made) -> None:
    """But for pods' link-local addresses, which nodes learn from what pods tell all routers."""
    for name in ("1", "2", "router", "outside", "1.1"):
        lines = made.ip(name, "neighbour").splitlines()
        others = {line.split()[-1] for line in lines if not line.startswith("fe80::47:")}
        assert others == {"PERMANENT"}, f"{name}: {lines}"


def test_links_have_no_addresses_of_their_own_making(made: Made) -> None:
    for name in ("1", "router"):
        assert "fe80::" not in made.ip(name, "-o", "-6", "address")
        assert "tentative" not in made.ip(name, "-o", "-6", "address")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_node_that_is_cut_off_reaches_nobody_and_is_reached_by_nobody(made: Made, family: int) -> None:
    made.fabric.cut(1)
    try:
        for source, destination in [("1", "router"), ("1.1", "2.1"), ("2.1", "1.1"), ("outside", "1"), ("2", "1")]:
            assert not made.passes(source, destination, family), f"{source} to {destination}"
        assert made.passes("1.1", "1.2", family), "its own pods reach each other"
        assert made.passes("2.1", "outside", family), "so does everybody else"
        assert "state UP" in made.ip("1", "link", "show", "eth0")
        assert "state UP" in made.ip("router", "link", "show", node_link(1))
    finally:
        made.fabric.heal(1)
    _journeys(made)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_connection_outlives_a_cut(made: Made, family: int) -> None:
    with made.listening("2.1", family) as server, made.open("1.1", made.address("2.1", family), 5) as client:
        accepted, _ = server.accept()
        with accepted:
            made.fabric.cut(2)
            client.sendall(b"still there")
            assert not select.select([accepted], [], [], 0.3)[0]
            made.fabric.heal(2)
            accepted.settimeout(5)
            assert accepted.recv(64) == b"still there"


def test_every_node_may_be_cut_off_at_the_same_time(made: Made) -> None:
    """The bridge has no port that forwards then, and its router keeps its addresses and routes."""
    before = made.ip("router", "route"), made.ip("router", "-6", "route")
    for number in (1, 2):
        made.fabric.cut(number)
    for number in (1, 2):
        made.fabric.heal(number)
    assert (made.ip("router", "route"), made.ip("router", "-6", "route")) == before
    _journeys(made)


def test_cutting_and_healing_twice_is_as_once(made: Made) -> None:
    for _ in range(2):
        made.fabric.cut(1)
    assert not made.passes("1", "router", 4)
    for _ in range(2):
        made.fabric.heal(1)
    assert made.passes("1", "router", 4)


@pytest.mark.parametrize("verb", ["cut", "heal"])
def test_a_node_that_is_not_there_cannot_be_cut_off(made: Made, verb: str) -> None:
    with pytest.raises(LabError, match="there is no node 9 on the fabric"):
        getattr(made.fabric, verb)(9)


def test_nodes_come_and_go(made: Made) -> None:
    made.add_node(3)
    made.add_pod(3, 1)
    for family in FAMILIES:
        assert made.connection("3.1", "1.1", family) == made.address("3.1", family)
        assert made.connection("outside", "3.1", family) == made.address("outside", family)
    made.fabric.cut(3)
    made.remove_node(3)
    for name in ("1", "2", "router"):
        assert "172.31.255.13" not in made.ip(name, "neighbour") + made.ip(name, "route")
        assert "fd00:10:31::d" not in made.ip(name, "neighbour") + made.ip(name, "-6", "route")
    assert node_link(3) not in made.ip("router", "link")
    made.add_node(3)
    assert made.connection("3", "1.1", 4) == made.address("3", 4), "another node may have its number"
    made.remove_node(3)


def test_a_node_can_be_connected_only_once(made: Made) -> None:
    with pytest.raises(LabError, match="node 1 is connected to the fabric already"):
        made.fabric.connect(1, made.spaces["2"])
    assert made.passes("1.1", "2.1", 4)


def test_what_cannot_be_connected_leaves_nothing(made: Made) -> None:
    """The namespace of a pod has a link named `eth0` already."""
    with pytest.raises(LabError, match=r"cannot connect node 7 to the fabric: link node7: File exists"):
        made.fabric.connect(7, made.spaces["1.1"])
    assert "node7" not in made.ip("router", "link")
    assert "172.31.255.17" not in made.ip("router", "neighbour") + made.ip("1", "neighbour")


def test_pods_links_come_and_go(made: Made) -> None:
    for number in (3, 4, 5):
        made.add_pod(1, number)
        assert made.passes("2.1", f"1.{number}", 4)
    before = made.ip("1", "-o", "link").count("pod")
    made.detach(1, 3, 9, 5)
    for number in (3, 5):
        with pytest.raises(OSError, match="No route to host"):
            made.open("2.1", made.address(f"1.{number}", 4))
        assert f"pod{number}" not in made.ip("1", "link")
    made.detach(1, 3)
    assert made.ip("1", "-o", "link").count("pod") == before - 2
    assert made.passes("2.1", "1.4", 4)


def test_without_ipv6_there_is_ipv4(namespaces: None) -> None:
    with fabric_of(nodes=2, pods=2, families=(4,)) as made:
        _journeys(made)
        assert made.ip("1", "-o", "-6", "address", "show", "dev", "eth0") == ""


def test_the_machines_own_network_is_not_touched(namespaces: None) -> None:
    before = machine()
    with fabric_of(nodes=2, pods=1) as made:
        made.fabric.cut(1)
        assert machine() == before
    assert machine() == before


def test_nothing_outlives_the_process_that_holds_the_descriptors(namespaces: None) -> None:
    """A link between a namespace of the test and the fabric's goes when the fabric's does."""
    watched = new_namespace()
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            router = new_namespace()
            fabric = Fabric(router, FAMILIES)
            fabric.set_up()
            fabric.connect(1, new_namespace())
            make_outside(router, FAMILIES)
            with within(watched, Netlink) as here, within(router, Netlink) as there:
                attach(here, "canary", there, of_descriptor(router), OUTSIDE_ADDRESSES)
            os.write(tell, b"up")
            signal.pause()
        finally:
            os._exit(1)
    os.close(tell)
    try:
        assert os.read(told, 2) == b"up"
        with within(watched, Netlink) as netlink:
            assert netlink.index("canary")
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            deadline = time.monotonic() + 10
            while _there(netlink, "canary"):
                assert time.monotonic() < deadline
                time.sleep(0.02)
    finally:
        os.close(told)
        os.close(watched)


def _there(netlink: Netlink, link: str) -> bool:
    try:
        return netlink.index(link) > 0
    except OSError as error:
        if error.errno != errno.ENODEV:
            raise
        return False


def test_an_ordinary_user_has_the_same_network() -> None:
    """From the machine's own network namespace, where it may change nothing and to which nobody could return."""

    def everything() -> None:
        here = os.fstat(own_namespace())
        with fabric_of(nodes=2, pods=2) as made:
            _journeys(made)
            made.fabric.cut(1)
            assert not made.passes("2.1", "1.1", 4)
            made.fabric.heal(1)
            made.remove_node(2)
            assert made.passes("1.1", "outside", 6)
            with pytest.raises(PermissionError), inside(made.spaces["1"]):
                pytest.fail("from here there is no way back")
        assert os.path.samestat(here, os.fstat(own_namespace()))

    assert as_ordinary_user(everything) == ""


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        ("limit", r"cannot make a network namespace: this user has as many as .* \(sysctl user.max_net_namespaces\)"),
        ("rights", r"cannot make a network namespace: no permission; run as root or in a user namespace"),
        ("switches", r"cannot set /proc/sys/net/\S+ to \d \(Read-only file system\); is /proc/sys read-only here\?"),
    ],
)
def test_what_the_machine_does_not_let_is_said_in_one_line(spoil: str, message: str) -> None:
    def everything() -> None:
        if spoil == "limit":
            Path("/proc/sys/user/max_net_namespaces").write_text("0")
        elif spoil == "rights":
            linux.keep_capabilities(frozenset())
        else:
            linux.unshare(linux.NEWNS)
            flags = linux.MS_BIND | linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC
            linux.mount("/proc/sys", "/proc/sys", "", linux.MS_BIND | linux.MS_REC)
            linux.mount("none", "/proc/sys", "", flags | linux.MS_REMOUNT | linux.MS_RDONLY)
        with pytest.raises(LabError, match=message):
            Fabric(new_namespace(), FAMILIES).set_up()

    assert as_ordinary_user(everything) == ""


def test_a_function_within_a_namespace_leaves_the_caller_where_it_is(made: Made) -> None:
    here = os.fstat(own_namespace())

    def fail() -> None:
        assert not os.path.samestat(os.fstat(own_namespace()), here)
        raise ValueError("told to the caller")

    with pytest.raises(ValueError, match="told to the caller"):
        within(made.spaces["1"], fail)
    assert os.path.samestat(os.fstat(own_namespace()), here)
    with pytest.raises(ValueError, match="told to the caller"), inside(made.spaces["1"]):
        fail()
    assert os.path.samestat(os.fstat(own_namespace()), here)
    with pytest.raises(OSError, match=r"setns"):
        within(0, fail)


def test_only_the_own_routes_are_kept(made: Made) -> None:
    """Those that somebody removed are put back; those of others stay; what became a refusal is one, and back."""
    ranges = [pod_range(50, family) for family in FAMILIES]
    gateways = {network.version: made.addresses["2"][network.version == 6] for network in ranges}
    with made.netlink("1") as netlink:
        table = RouteTable(netlink, "eth0")
        before = netlink.routes(PROTOCOL)
        others = (
            made.ip("1", "route", "show", "proto", "static"),
            made.ip("1", "-6", "route", "show", "proto", "static"),
        )
        try:
            wanted = before | {one: gateways[one.version] for one in ranges}
            for step in (wanted, before | dict.fromkeys(ranges), wanted):
                assert table.keep(step)
                assert netlink.routes(PROTOCOL) == step
                assert not table.keep(step), "nothing is done twice"
            made.ip("1", "route", "delete", str(ranges[0]))
            assert table.keep(wanted)
            assert netlink.routes(PROTOCOL) == wanted
            replaced = wanted | {one: made.addresses["router"][one.version == 6] for one in ranges}
            assert table.keep(replaced)
            assert netlink.routes(PROTOCOL) == replaced
            assert made.ip("1", "-6", "route", "show", str(ranges[1])).count("via") == 1, "no second way beside it"
        finally:
            assert table.keep(before)
        assert netlink.routes(PROTOCOL) == before
        assert others == (
            made.ip("1", "route", "show", "proto", "static"),
            made.ip("1", "-6", "route", "show", "proto", "static"),
        )


def test_a_socket_of_a_namespace_is_of_it_everywhere(made: Made) -> None:
    server = within(made.spaces["1"], lambda: socket.create_server((made.address("1", 4), 8080)))
    with server, made.open("2", made.address("1", 4), port=8080) as client:
        assert client.getpeername()[0] == made.address("1", 4)
