"""Denied packets are shown to the reader of the log, once each, with everything an operator asks about them."""

from __future__ import annotations

import dataclasses
import select
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from gatewright.engine.addresses import IPAddress
from gatewright.engine.model import Action, Direction, DirectionRules, Tier, TierRules
from gatewright.kernel.apply import apply, remove
from gatewright.kernel.counts import counts
from gatewright.kernel.denylog import Denied, DenyLog, LogInUse, Packet
from gatewright.kernel.nft import Nft
from gatewright.kernel.node import node_program
from gatewright.kernel.options import Options
from tests.packets.crafted import ipv6, mac_of, send
from tests.packets.netns import EXPERIMENT, ICMP, SCTP, TCP, UDP, NodeNamespace, Probe
from tests.unit.kernel import cases
from tests.unit.kernel.cases import World, accept, isolated, tcp, world

pytestmark = pytest.mark.packets
IN, OUT = Direction.INGRESS, Direction.EGRESS
COUNT = 4
GROUP = 77
LOGGED = Options(log_group=GROUP, counters=True, log_rate=1000, log_burst=1000)
AUDIT = dataclasses.replace(LOGGED, audit=True)
ONLY_POD_1 = world(COUNT, ingress={0: isolated(IN, accept(tcp(80), pods=(1,)))})
NOT_OUT = world(COUNT, ingress={0: isolated(IN)}, egress={2: isolated(OUT)})
WAIT = 1.0


def enforce(where: NodeNamespace, rules: World, options: Options = LOGGED) -> None:
    """Makes the table anew, so that its counters begin."""

    def work() -> None:
        remove(Nft())
        apply(Nft(), node_program(rules, range(COUNT), options=options))

    where.namespace.run(work)


@contextmanager
def reading(where: NodeNamespace, group: int = GROUP) -> Iterator[DenyLog]:
    with where.namespace.run(lambda: DenyLog(group)) as log:
        yield log


def wait(log: DenyLog, count: int) -> list[Denied]:
    """What was denied, as soon as it is `count` packets, or after a second."""
    found: list[Denied] = []
    end = time.monotonic() + WAIT
    while len(found) < count and (left := end - time.monotonic()) > 0:
        select.select([log], [], [], left)
        found += log.read()
    return found


def address(pod: int, family: int) -> IPAddress:
    found = cases.pod(pod).address(family)
    assert found is not None
    return found


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize(("protocol", "port"), [(TCP, 81), (UDP, 53), (SCTP, 80), (ICMP, 0), (EXPERIMENT, 0)], ids=str)
def test_a_denied_packet_of_each_protocol_is_shown(
    node_with_pods: NodeNamespace, family: int, protocol: int, port: int
) -> None:
    enforce(node_with_pods, ONLY_POD_1)
    target = address(0, family)
    with reading(node_with_pods) as log:
        before = time.time()
        assert node_with_pods.passes([Probe(1, target, protocol, port)]) == [False]
        denied = wait(log, 1)[0]
    assert (denied.direction, denied.where, denied.why) == (IN, "ingress/default/policy", "policy")
    assert not denied.audit
    assert before - 1 < denied.time < time.time() + 1
    links = node_with_pods.namespace.run(lambda: [socket.if_nametoindex(name) for name in ("pod2", "pod1")])
    assert [denied.in_link, denied.out_link] == links
    packet = denied.packet
    assert (packet.source, packet.destination, packet.port) == (address(1, family), target, port or None)
    if protocol == ICMP:
        assert (packet.protocol, packet.icmp_type, packet.icmp_code) == ((1, 8, 0) if family == 4 else (58, 128, 0))
    else:
        assert (packet.protocol, packet.icmp_type) == (protocol, None)
        assert bool(packet.source_port) == bool(port)


def test_ports_behind_extension_headers_are_found(node_with_pods: NodeNamespace) -> None:
    enforce(node_with_pods, ONLY_POD_1)
    source, target = address(1, 6), address(0, 6)
    options = bytes((17, 0, 1, 4)) + bytes(4)
    body = options + struct.pack(">HHHH", 1234, 53, 8, 0)
    mac = node_with_pods.namespace.run(lambda: mac_of("pod2"))
    with reading(node_with_pods) as log:
        node_with_pods.pods[1].namespace.run(lambda: send("eth0", [ipv6(source, target, 60, body)], mac))
        assert [denied.packet for denied in wait(log, 1)] == [Packet(source, target, 17, 1234, 53)]


def test_the_side_that_denies_is_named(node_with_pods: NodeNamespace) -> None:
    enforce(node_with_pods, NOT_OUT)
    with reading(node_with_pods) as log:
        node_with_pods.passes([Probe(2, address(0, 4), UDP, 53)])
        node_with_pods.passes([Probe(1, address(0, 4), UDP, 53)])
        denied = wait(log, 2)
    assert [each.direction for each in denied] == [OUT, IN]
    assert [each.where for each in denied] == ["egress/default/policy", "ingress/default/policy"]


def test_a_deny_of_a_cluster_tier_is_named_and_counted(node_with_pods: NodeNamespace) -> None:
    admin = TierRules(
        Tier.ADMIN,
        (accept(tcp(80), pods=(1,), action=Action.PASS), accept(tcp((1, 100)), action=Action.DENY)),
    )
    baseline = TierRules(Tier.BASELINE, (accept(action=Action.DENY, pods=(2,)),))
    enforce(node_with_pods, world(COUNT, ingress={0: DirectionRules(IN, (admin, baseline))}))
    asked = [Probe(1, address(0, 4), TCP, 81), Probe(2, address(0, 4), TCP, 443), Probe(1, address(0, 4), TCP, 80)]
    with reading(node_with_pods) as log:
        assert node_with_pods.passes(asked) == [False, False, True]
        denied = {(each.packet.source, each.packet.port, each.why) for each in wait(log, 2)}
    assert denied == {(address(1, 4), 81, "admin1"), (address(2, 4), 443, "baseline0")}
    counted = node_with_pods.namespace.run(counts)
    assert {name.rpartition("/")[2]: each.packets for name, each in counted.items()} == {"admin1": 1, "baseline0": 1}


def test_an_audit_drops_nothing_and_reports_on_both_sides(node_with_pods: NodeNamespace) -> None:
    enforce(node_with_pods, NOT_OUT, AUDIT)
    with reading(node_with_pods) as log:
        assert node_with_pods.passes([Probe(2, address(0, 6), TCP, 80)]) == [True]
        denied = wait(log, 2)
    assert [(each.audit, each.direction) for each in denied] == [(True, OUT), (True, IN)]
    assert sum(each.packets for each in node_with_pods.namespace.run(counts).values()) == 2


def test_what_is_allowed_is_neither_shown_nor_counted(node_with_pods: NodeNamespace) -> None:
    enforce(node_with_pods, ONLY_POD_1)
    with reading(node_with_pods) as log:
        assert node_with_pods.passes([Probe(1, address(0, 4), TCP, 80)]) == [True]
        time.sleep(0.15)
        assert log.read() == []
    assert [each.packets for each in node_with_pods.namespace.run(counts).values()] == [0]


def test_the_rate_is_the_whole_node_s(node_with_pods: NodeNamespace) -> None:
    """Two classes share the limit; what is over it is dropped and counted all the same."""
    enforce(node_with_pods, NOT_OUT, dataclasses.replace(LOGGED, log_rate=1, log_burst=5))
    asked = [Probe(2, address(3, 4), UDP, port) for port in range(1000, 1020)]
    asked += [Probe(1, address(0, 4), UDP, port) for port in range(1000, 1020)]
    with reading(node_with_pods) as log:
        assert not any(node_with_pods.passes(asked))
        assert 5 <= len(wait(log, 40)) <= 8
    assert {each.packets for each in node_with_pods.namespace.run(counts).values()} == {20}


def test_without_a_reader_packets_are_dropped_as_ever(node_with_pods: NodeNamespace) -> None:
    enforce(node_with_pods, ONLY_POD_1)
    assert node_with_pods.passes([Probe(2, address(0, 4), TCP, 80)]) == [False]


def test_a_second_reader_is_told_who_has_the_group(node_with_pods: NodeNamespace) -> None:
    with (
        reading(node_with_pods) as log,
        pytest.raises(LogInUse, match=rf"NFLOG group {GROUP} is already read by another program"),
    ):
        node_with_pods.namespace.run(lambda: DenyLog(GROUP))
    log.close()
    with reading(node_with_pods), reading(node_with_pods, GROUP + 1):
        pass


def test_what_the_reader_was_too_slow_for_is_counted(node_with_pods: NodeNamespace) -> None:
    count = 30000
    enforce(node_with_pods, ONLY_POD_1, dataclasses.replace(LOGGED, log_rate=10**6, log_burst=10**6))
    mac = node_with_pods.namespace.run(lambda: mac_of("pod2"))
    flood = [ipv6(address(1, 6), address(0, 6), 17, struct.pack(">HHHH", 1, 53, 8, 0))] * count
    with reading(node_with_pods) as log:
        node_with_pods.pods[1].namespace.run(lambda: send("eth0", flood, mac))
        time.sleep(0.2)
        shown = 0
        while more := log.read():
            shown += len(more)
        node_with_pods.pods[1].namespace.run(lambda: send("eth0", flood[:1], mac))
        shown += len(wait(log, count))
        counted = node_with_pods.namespace.run(counts)["ingress/default/policy/policy"].packets
        assert log.lost > 0
        assert shown + log.lost == counted
        assert log.strange == 0


def test_a_packet_that_others_log_is_passed_over(node_with_pods: NodeNamespace) -> None:
    enforce(node_with_pods, world(COUNT))
    text = (
        "add table inet other; add chain inet other f { type filter hook forward priority -10; }; "
        f'add rule inet other f udp dport 53 log prefix "hello" group {GROUP}\n'
    )
    node_with_pods.namespace.run(lambda: Nft().run(text))
    try:
        with reading(node_with_pods) as log:
            node_with_pods.passes([Probe(1, address(0, 4), UDP, 53)])
            assert wait(log, 1) == []
            assert log.strange >= 1
    finally:
        node_with_pods.namespace.run(lambda: Nft().run("delete table inet other\n"))


def test_counters_outlive_a_change_of_their_class(node_with_pods: NodeNamespace) -> None:
    """A class whose chain is written anew goes on counting."""
    where = node_with_pods

    def change() -> dict[str, int]:
        remove(Nft())
        last = apply(Nft(), node_program(ONLY_POD_1, range(COUNT), options=LOGGED))
        where.passes([Probe(2, address(0, 4), UDP, 80)])
        other = world(COUNT, ingress={0: isolated(IN, accept(tcp((80, 90)), pods=(1,)))})
        apply(Nft(), node_program(other, range(COUNT), options=LOGGED), last)
        return {name: each.packets for name, each in counts().items()}

    assert where.namespace.run(change) == {"ingress/default/policy/policy": 1}


def test_where_there_is_no_table_nothing_was_counted(node_with_pods: NodeNamespace) -> None:
    assert node_with_pods.namespace.run(lambda: counts("nowhere")) == {}
