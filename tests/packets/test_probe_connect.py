"""The measuring process against pods on a node: what TCP, UDP and SCTP are heard to say, let through and dropped."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import pytest

from gatewright.kernel.nft import Library, Nft
from gatewright.lab import sctp
from gatewright.probe import connect
from tests.packets.netns import FREE_PORT, NodeNamespace, PodNamespace

pytestmark = pytest.mark.packets

LISTENING, SILENT = 80, 82
DROPPING = f"""
table inet dropping {{
  chain forward {{
    type filter hook forward priority filter;
    meta l4proto {{ tcp, udp, sctp }} th dport {SILENT} drop
  }}
}}
"""


def answering(packet: bytes) -> bytes | None:
    """What a server says: INIT ACK on its port, ABORT on any other, nothing to what is no INIT."""
    source, destination, tag = struct.unpack_from("!HHI", packet)
    kind = packet[12]
    (initiate,) = struct.unpack_from("!I", packet, 16)
    if (kind, tag) != (sctp.INIT, 0) or packet[8:12] != sctp.checksum(packet):
        return None
    reply = struct.pack("!HHII", destination, source, initiate, 0)
    if destination == LISTENING:
        reply += struct.pack("!BBHIIHHI", sctp.INIT_ACK, 0, 20, 7, 65536, 1, 1, 7)
    else:
        reply += struct.pack("!BBH", sctp.ABORT, 0, 4)
    return reply[:8] + sctp.checksum(reply) + reply[12:]


@contextmanager
def serving(pod: PodNamespace) -> Iterator[None]:
    """A pod that answers SCTP in both families."""

    def opened() -> list[socket.socket]:
        return [socket.socket(family, socket.SOCK_RAW, sctp.PROTOCOL) for family in (socket.AF_INET, socket.AF_INET6)]

    def serve(one: socket.socket) -> None:
        while True:
            data, sender = one.recvfrom(65535)
            if not data:
                return
            packet = data[(data[0] & 15) * 4 :] if one.family == socket.AF_INET else data
            if len(packet) < 20:
                return
            if (reply := answering(packet)) is not None:
                one.sendto(reply, (sender[0], 0))

    sockets = pod.namespace.run(opened)
    threads = [threading.Thread(target=serve, args=(one,), daemon=True) for one in sockets]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:

        def wake() -> None:
            for one, own in zip(sockets, ("127.0.0.1", "::1"), strict=True):
                one.sendto(b"the end", (own, 0))

        pod.namespace.run(wake)
        for thread in threads:
            thread.join(5)
        for one in sockets:
            one.close()


def measured(targets: list[dict[str, Any]], **how: Any) -> list[str]:
    request = {"timeout": 0.3, "attempts": 1, "targets": targets} | how
    return [one["result"] for one in json.loads(connect.measure(json.dumps(request).encode()))]


def target(node: NodeNamespace, family: int, protocol: str, port: int, source: int = 0) -> dict[str, Any]:
    pods = node.pods
    place = f"/proc/self/fd/{pods[source].namespace.descriptor}"
    address = str(pods[1].addresses[family])
    return {"source": place, "address": address, "protocol": protocol, "port": port, "answers": True}


@pytest.mark.parametrize("family", [4, 6])
def test_sctp_is_answered_refused_and_dropped(node_with_pods: NodeNamespace, family: int) -> None:
    node = node_with_pods
    nft = Nft(Library())
    node.namespace.run(lambda: nft.run(DROPPING))
    try:
        with serving(node.pods[1]):
            asked = [target(node, family, "SCTP", port) for port in (LISTENING, LISTENING + 1, SILENT)]
            assert measured(asked) == [connect.OPEN, connect.REFUSED, connect.DROPPED]
            assert measured(asked, attempts=2) == [connect.OPEN, connect.REFUSED, connect.DROPPED]
    finally:
        node.namespace.run(lambda: nft.run("delete table inet dropping"))


@pytest.mark.parametrize("family", [4, 6])
def test_many_askers_hear_their_own_answers(node_with_pods: NodeNamespace, family: int) -> None:
    with serving(node_with_pods.pods[1]):
        ports = [LISTENING, LISTENING + 1] * 100
        asked = [target(node_with_pods, family, "SCTP", port, source=index % 2 * 2) for index, port in enumerate(ports)]
        assert measured(asked, timeout=3) == [connect.OPEN, connect.REFUSED] * 100


@pytest.mark.parametrize("family", [4, 6])
def test_where_nobody_speaks_sctp_it_is_refused(node_with_pods: NodeNamespace, family: int) -> None:
    assert measured([target(node_with_pods, family, "SCTP", LISTENING)]) == [connect.REFUSED]


@pytest.mark.parametrize("family", [4, 6])
def test_tcp_and_udp(node_with_pods: NodeNamespace, family: int) -> None:
    node = node_with_pods
    nft = Nft(Library())
    node.namespace.run(lambda: nft.run(DROPPING))
    try:
        asked = [
            target(node, family, protocol, port) for protocol in ("TCP", "UDP") for port in (FREE_PORT, 90, SILENT)
        ]
        assert (
            measured(asked)
            == [
                connect.REFUSED,
                connect.OPEN,
                connect.DROPPED,
            ]
            * 2
        )
    finally:
        node.namespace.run(lambda: nft.run("delete table inet dropping"))


@pytest.mark.parametrize("protocol", ["TCP", "UDP"])
def test_no_port_is_asked_from_again_before_all_others(
    node_with_pods: NodeNamespace, protocol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ports: list[int] = []
    outcome = connect._outcome

    def noted(attempt: Any) -> tuple[str, str] | None:
        ports.append(attempt.handle.getsockname()[1])
        return outcome(attempt)

    monkeypatch.setattr(connect, "_outcome", noted)
    asked = [target(node_with_pods, family, protocol, 90) for family in (4, 6)] * 250
    other = [target(node_with_pods, family, protocol, 90, source=2) for family in (4, 6)] * 250
    for _ in range(4):
        assert measured(asked, timeout=3) == [connect.OPEN] * len(asked)
        told = len(ports)
        assert measured(other, timeout=3) == [connect.OPEN] * len(other)
        del ports[told:]  # what one network asks from uses up no port of another
    assert len(set(ports)) == len(ports) == 4 * len(asked)
    places = sorted(connect._PORTS.index(port) for port in ports)
    assert sum(after - before > 5 for before, after in pairwise(places)) <= 1  # in turn: one gap, or none


def test_what_cannot_be_tried_is_an_error(node_with_pods: NodeNamespace) -> None:
    asked = target(node_with_pods, 4, "TCP", 80) | {"source": "/proc/self/fd/999999"}
    assert measured([asked]) == [connect.ERROR]
