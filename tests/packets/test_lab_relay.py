"""TCP connections that a relay carries from one network namespace into another."""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import pytest

from gatewright.lab.errors import LabError
from gatewright.lab.network import relay
from gatewright.lab.network.namespaces import within
from gatewright.lab.network.relay import Way, listen, run_relay
from tests.packets.fabrics import Made, fabric_of, need_loopback

pytestmark = [pytest.mark.packets, pytest.mark.timeout(60)]
WITHIN = 15.0
PORT = 6443


@pytest.fixture(scope="module")
def made(namespaces: None) -> Iterator[Made]:
    need_loopback()
    with fabric_of(nodes=1, pods=1) as found:
        yield found


@dataclass
class Ends:
    """A server in this process' namespace, and a way to it from a node."""

    made: Made
    server: socket.socket

    def client(self) -> socket.socket:
        return self.made.open("1", self.made.address("router", 4), WITHIN, PORT)

    def pair(self) -> tuple[socket.socket, socket.socket]:
        client = self.client()
        accepted, _ = self.server.accept()
        accepted.settimeout(WITHIN)
        return client, accepted


@contextmanager
def relaying(*ways: Way) -> Iterator[None]:
    stop = threading.Event()
    thread = threading.Thread(target=run_relay, args=(ways, stop))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(WITHIN)
        assert not thread.is_alive()


@contextmanager
def ends_of(made: Made) -> Iterator[Ends]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(WITHIN)
        listener = listen(made.address("router", 4), PORT, made.spaces["router"])
        with relaying(Way(listener, "localhost", server.getsockname()[1])):
            yield Ends(made, server)


@pytest.fixture
def ends(made: Made) -> Iterator[Ends]:
    with ends_of(made) as found:
        yield found


def everything(end: socket.socket) -> bytes:
    data = b""
    while part := end.recv(1 << 16):
        data += part
    return data


def test_an_end_that_has_said_all_still_hears(ends: Ends) -> None:
    client, accepted = ends.pair()
    with client, accepted:
        client.sendall(b"a question")
        client.shutdown(socket.SHUT_WR)
        assert everything(accepted) == b"a question"
        assert not select.select([client], [], [], 0.1)[0], "only one direction has ended"
        accepted.sendall(b"an answer")
        accepted.close()
        assert everything(client) == b"an answer"


def test_much_data_passes_both_ways_at_once(ends: Ends) -> None:
    data = bytes(range(256)) * (4 << 12)
    client, accepted = ends.pair()
    with client, accepted:

        def say(end: socket.socket) -> None:
            end.sendall(data)
            end.shutdown(socket.SHUT_WR)

        speakers = [threading.Thread(target=say, args=(end,)) for end in (client, accepted)]
        heard: list[bytes] = []
        hearer = threading.Thread(target=lambda: heard.append(everything(accepted)))
        for thread in (*speakers, hearer):
            thread.start()
        assert everything(client) == data
        for thread in (*speakers, hearer):
            thread.join(WITHIN)
        assert heard == [data]


def test_who_does_not_listen_is_not_sent_more_than_buffers_hold(ends: Ends) -> None:
    client, accepted = ends.pair()
    with client, accepted:
        sent = 0
        while select.select([], [client], [], 0.3)[1]:
            sent += client.send(bytes(1 << 16))
            assert sent < 64 << 20
        client.settimeout(WITHIN)
        client.shutdown(socket.SHUT_WR)
        assert len(everything(accepted)) == sent


@pytest.mark.parametrize("who", ["client", "server"])
def test_a_connection_that_one_end_breaks_off_is_broken_off_for_the_other(ends: Ends, who: str) -> None:
    client, accepted = ends.pair()
    with client, accepted:
        broken, other = (client, accepted) if who == "client" else (accepted, client)
        broken.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        broken.close()
        with pytest.raises(ConnectionResetError):
            everything(other)


def test_where_nobody_listens_the_connection_is_broken_off(made: Made, ends: Ends) -> None:
    """The relay accepts before it knows: the reset may come while the client still connects, or when it reads."""
    ends.server.close()
    with pytest.raises(ConnectionResetError), ends.client() as client:
        client.recv(1)


def test_what_stands_when_the_relay_ends_is_broken_off(made: Made) -> None:
    with contextlib.ExitStack() as stack:
        with ends_of(made) as ends:
            client, accepted = ends.pair()
            stack.enter_context(client)
            stack.enter_context(accepted)
        for end in (client, accepted):
            with pytest.raises(ConnectionResetError):
                everything(end)
        with pytest.raises(ConnectionRefusedError):
            ends.client()


def test_more_connections_than_it_may_carry_wait(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "MOST_CONNECTIONS", 2)
    with ends_of(made) as ends, contextlib.ExitStack() as stack:
        first, second = ends.pair(), ends.pair()
        for end in (*first, *second):
            stack.enter_context(end)
        third = stack.enter_context(ends.client())
        assert not select.select([ends.server], [], [], 0.3)[0]
        for end in first:
            end.close()
        accepted, _ = ends.server.accept()
        with accepted:
            third.sendall(b"now")
            assert accepted.recv(3) == b"now"


def test_the_machine_reaches_a_nodes_port_through_its_loopback(made: Made) -> None:
    address = made.address("1", 4)
    with within(made.spaces["1"], partial(socket.create_server, (address, 10250))) as kubelet:
        kubelet.settimeout(WITHIN)
        listener = listen("127.0.0.1", 0)
        port = listener.getsockname()[1]
        with (
            relaying(Way(listener, address, 10250, made.spaces["router"])),
            socket.create_connection(("127.0.0.1", port), WITHIN) as client,
        ):
            accepted, peer = kubelet.accept()
            with accepted:
                assert peer[0] == made.address("router", 4)
                client.sendall(b"GET /healthz")
                assert accepted.recv(64) == b"GET /healthz"


def test_an_address_that_cannot_be_listened_at_is_named(made: Made) -> None:
    for namespace, address, why in [
        (made.spaces["1"], made.address("router", 4), "Cannot assign requested address"),
        (None, "127.0.0.1", "Address already in use"),
    ]:
        with listen("127.0.0.1", 0) as taken:
            port = taken.getsockname()[1]
            with pytest.raises(LabError, match=f"cannot listen at {address} port {port}: {why}"):
                listen(address, port, namespace)
