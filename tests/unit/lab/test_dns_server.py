"""The name server on its sockets, told by hand what a watch would tell; and its objects."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import struct
import threading
import time
from collections.abc import Iterator

import dns.message
import dns.query
import dns.rcode
import pytest

from gatewright.engine.snapshot import Changes
from gatewright.lab.dns import objects
from gatewright.lab.dns.server import KINDS, Server
from gatewright.objects.meta import Object
from gatewright.sources.watch import Delivery
from tests.unit.lab.serving import HTTP, service

NAME = "web.default.svc.cluster.local"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        port: int = one.getsockname()[1]
        return port


@pytest.fixture
def server() -> Iterator[Server]:
    stop = threading.Event()
    with contextlib.closing(Server(free_port(), free_port())) as made:
        thread = threading.Thread(target=made.run, args=(stop,), daemon=True)
        thread.start()
        yield made
        stop.set()
        made.deliver(Delivery("Other", Changes(), False, 0.0))
        thread.join()


def tell(server: Server, kind: str, *put: Object, complete: bool = True) -> None:
    server.deliver(Delivery(kind, Changes(put), complete, time.monotonic()))


def complete(server: Server) -> None:
    tell(server, "Service", service("web", ["10.96.0.50"], HTTP))
    for _, kind in KINDS[1:]:
        tell(server, kind)


def code(server: Server, *, tcp: bool = False) -> str:
    query = dns.message.make_query(NAME, "A")
    ask = dns.query.tcp if tcp else dns.query.udp
    return dns.rcode.to_text(ask(query, "127.0.0.1", timeout=5, port=server.port).rcode())


def is_ready(server: Server) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", server.ready_port)) == 0


def until(expected: object, look: object, *asked: object) -> None:
    assert callable(look)
    deadline = time.monotonic() + 5
    while (found := look(*asked)) != expected:
        assert time.monotonic() < deadline, found
        time.sleep(0.01)


def test_it_is_ready_when_everything_is_known_and_not_before(server: Server) -> None:
    assert code(server) == "SERVFAIL"
    tell(server, "Service", service("web", ["10.96.0.50"], HTTP))
    tell(server, "EndpointSlice")
    tell(server, "Namespace", complete=False)
    time.sleep(0.05)
    assert code(server) == "SERVFAIL"
    assert not is_ready(server)
    tell(server, "Namespace")
    until("NOERROR", code, server)
    assert is_ready(server)
    assert is_ready(server), "more than once"


def test_it_answers_by_tcp_query_after_query(server: Server) -> None:
    complete(server)
    until("NOERROR", code, server)
    assert code(server, tcp=True) == "NOERROR"
    query = dns.message.make_query(NAME, "A").to_wire()
    framed = struct.pack("!H", len(query)) + query
    with socket.create_connection(("127.0.0.1", server.port), 5) as client, client.makefile("rb") as heard:
        client.sendall(framed + framed[:7])
        for late in (framed[7:], b""):
            client.sendall(late)
            (length,) = struct.unpack("!H", heard.read(2))
            assert dns.message.from_wire(heard.read(length)).rcode() == dns.rcode.NOERROR


def test_clients_that_say_nothing_or_leave_keep_nobody_waiting(server: Server) -> None:
    complete(server)
    until("NOERROR", code, server)
    with contextlib.ExitStack() as stack:
        for _ in range(300):
            stack.enter_context(socket.create_connection(("127.0.0.1", server.port), 5))
        assert code(server, tcp=True) == "NOERROR"
    with socket.create_connection(("127.0.0.1", server.port), 5) as client:
        client.sendall(b"\0\x04abcd")
        assert client.recv(10) == b"", "what is no query ends it"
    assert code(server) == "NOERROR"


def test_a_client_that_makes_room_may_be_speaking_just_then(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gatewright.lab.dns.server._MOST_CLIENTS", 1)
    busy, go_on = threading.Event(), threading.Event()

    def take(_: Delivery) -> None:
        busy.set()
        go_on.wait(5)

    monkeypatch.setattr(server.names, "take", take)
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as first:
        until(1, lambda: len(server._clients))
        tell(server, "Service")
        assert busy.wait(5)
        with socket.create_connection(("127.0.0.1", server.port), timeout=5):
            first.sendall(b"?")
            go_on.set()
            with contextlib.suppress(ConnectionResetError):
                assert first.recv(1) == b""
            monkeypatch.undo()
            assert code(server) == "SERVFAIL"


def test_a_change_is_answered_at_once(server: Server) -> None:
    complete(server)
    until("NOERROR", code, server)
    server.deliver(Delivery("Service", Changes((), (("Service", "default", "web"),)), True, time.monotonic()))
    until("NXDOMAIN", code, server)


# --- its objects ------------------------------------------------------------------------------------------------------


def test_the_service_and_the_deployment_fit_each_other() -> None:
    addresses = [ipaddress.ip_address(one) for one in ("10.96.0.10", "fd00:10:96::a")]
    made, pods = objects.service(addresses), objects.deployment(2)
    assert made["spec"]["clusterIPs"] == ["10.96.0.10", "fd00:10:96::a"]
    assert made["spec"]["ipFamilies"] == ["IPv4", "IPv6"]
    assert objects.service(addresses[:1])["spec"]["ipFamilyPolicy"] == "SingleStack"
    template = pods["spec"]["template"]
    assert made["spec"]["selector"].items() <= template["metadata"]["labels"].items()
    (container,) = template["spec"]["containers"]
    assert container["image"] == "gatewright-name-server"
    open_ports = {(one["containerPort"], one["protocol"]) for one in container["ports"]}
    assert {(one["targetPort"], one["protocol"]) for one in made["spec"]["ports"]} == open_ports
