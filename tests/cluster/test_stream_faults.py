"""Streams that go wrong: clients, endpoints and kubelets that leave in the middle, slow readers, hostile frames."""

from __future__ import annotations

import contextlib
import json
import os
import random
import socket
import ssl
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import websocket

from gatewright.lab.api import streams
from gatewright.lab.kubelet import server
from gatewright.lab.web import LARGEST_MESSAGE
from tests.cluster.endpoint import KUBECTL, Endpoint, endpoint, kubectl, process
from tests.cluster.kubelets import Node, create_node, kubelet

pytestmark = [pytest.mark.cluster]

EXEC = "pods/one/exec?command=sleep&command=600&stdin=1&stdout=1"
FORWARD = "pods/one/portforward"
TUNNEL = "SPDY/3.1+portforward.k8s.io"


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    with endpoint(tmp_path_factory.mktemp("streams")) as found:
        yield found


@pytest.fixture(scope="module")
def node(api: Endpoint, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with kubelet(api, tmp_path_factory.mktemp("node")) as found:
        found.pod("one", {"c": ["sleep", "600"]})
        yield found


def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.02)


def command(api: Endpoint, *arguments: str) -> list[str]:
    return [str(KUBECTL), "--kubeconfig", str(api.kubeconfig), *arguments]


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def lives(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


@contextlib.contextmanager
def started(api: Endpoint, mark: Path, *options: str, then: str = "exec sleep 600", **streams: Any) -> Iterator[Any]:
    """(kubectl, the process id of the program that it runs in the pod)."""
    program = f"echo $$ > {mark}.new; mv {mark}.new {mark}; {then}"
    with subprocess.Popen(command(api, "exec", *options, "one", "--", "sh", "-c", program), **streams) as client:
        try:
            until(mark.exists)
            yield client, int(mark.read_text())
        finally:
            client.kill()


def established(port: int) -> int:
    """Connections to a port of loopback that the one who connected still holds (proc(5), net/tcp)."""
    lines = [line.split() for line in Path("/proc/self/net/tcp").read_text().splitlines()[1:]]
    return sum(1 for line in lines if int(line[2].rpartition(":")[2], 16) == port and line[3] == "01")


# Somebody leaves


@pytest.mark.parametrize("options", [(), ("-i",), ("-t",), ("-i", "-t")], ids=" ".join)
def test_a_program_ends_when_its_client_is_killed(node: Node, tmp_path: Path, options: tuple[str, ...]) -> None:
    before = open_descriptors()
    with started(node.api, tmp_path / "pid", *options, stdin=subprocess.PIPE, stdout=-3, stderr=-3) as (client, pid):
        assert lives(pid)
        client.kill()
        until(lambda: not lives(pid))
    until(lambda: open_descriptors() <= before)


def test_what_a_program_has_started_ends_with_it(node: Node, tmp_path: Path) -> None:
    child = tmp_path / "child"
    then = f"sleep 600 & echo $! > {child}; wait"
    with started(node.api, tmp_path / "pid", then=then) as (client, _):
        until(lambda: child.exists() and child.read_text().endswith("\n"))
        client.kill()
        until(lambda: not lives(int(child.read_text())))


def test_a_client_that_leaves_while_nobody_takes_its_input_is_noticed(node: Node, tmp_path: Path) -> None:
    with open("/dev/zero", "rb") as endless:
        before = open_descriptors()
        with started(node.api, tmp_path / "pid", "-i", stdin=endless) as (client, pid):
            time.sleep(1)  # the input has filled whatever holds it
            client.kill()
            until(lambda: not lives(pid))
        until(lambda: open_descriptors() <= before)


def test_a_client_that_leaves_a_log_or_a_tunnel_leaves_nothing_open(node: Node) -> None:
    before = open_descriptors()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        following = subprocess.Popen(command(node.api, "logs", "-f", "one"))
        forwarding = subprocess.Popen(command(node.api, "port-forward", "one", f":{port}"), stdout=-1, text=True)
        try:
            assert forwarding.stdout
            here = int(forwarding.stdout.readline().split(" -> ")[0].rpartition(":")[2])
            with socket.create_connection(("127.0.0.1", here), 10) as connection:
                connection.settimeout(1)
                accepted, _ = silent.accept()
                with accepted:
                    with contextlib.suppress(TimeoutError):
                        while True:  # until nobody takes any more
                            connection.sendall(bytes(1 << 16))
                    forwarding.kill()
                    following.kill()
                    until(lambda: established(port) == 0)
        finally:
            for client in (following, forwarding):
                client.kill()
                client.communicate(timeout=10)
    until(lambda: open_descriptors() <= before)


def test_following_a_container_that_prints_nothing_begins_at_once(node: Node) -> None:
    context = ssl.create_default_context(cafile=str(node.api.authority))
    path = "/api/v1/namespaces/default/pods/one/log?follow=1"
    address = urlsplit(node.api.url).netloc
    with contextlib.closing(HTTPSConnection(address, context=context, timeout=5)) as connection:
        connection.request("GET", path, headers={"Authorization": f"Bearer {node.api.token}"})
        assert connection.getresponse().status == 200


def test_an_endpoint_that_is_killed_takes_its_streams_along(tmp_path: Path) -> None:
    (tmp_path / "node").mkdir()
    with process(tmp_path / "api") as api, kubelet(api, tmp_path / "node") as node:
        node.pod("one", {"c": ["sleep", "600"]})
        before = open_descriptors()
        with started(api, tmp_path / "pid", stderr=subprocess.PIPE) as (client, pid):
            assert api.process
            api.process.kill()
            until(lambda: not lives(pid))
            assert client.wait(20) == 1
            client.stderr.close()
        until(lambda: open_descriptors() <= before)
        assert node.containers.find("default", "one", "c").running


def test_an_endpoint_that_is_told_to_end_does_so_at_once_and_quietly(tmp_path: Path) -> None:
    (tmp_path / "node").mkdir()
    with process(tmp_path / "api") as api, kubelet(api, tmp_path / "node") as node:
        node.pod("one", {"c": ["sleep", "600"]})
        with (
            started(api, tmp_path / "pid", stderr=subprocess.DEVNULL) as (_, pid),
            subprocess.Popen(command(api, "logs", "-f", "one")) as following,
        ):
            time.sleep(0.5)
            assert api.process
            assert api.process.stderr
            api.process.terminate()
            assert api.process.wait(1.5) == 0
            assert api.process.stderr.read() == ""
            until(lambda: not lives(pid))
            assert following.wait(10) == 0


def test_a_kubelet_that_goes_is_an_error_for_its_clients(api: Endpoint, tmp_path: Path) -> None:
    with kubelet(api, tmp_path, "short") as node:
        node.pod("gone", {"c": ["sleep", "600"]})
        running = command(api, "exec", "gone", "--", "sh", "-c", "echo up; exec sleep 600")
        client = subprocess.Popen(running, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert client.stdout
        assert client.stdout.readline() == "up\n"
    said, _ = client.communicate(timeout=20)
    assert client.returncode == 1, said
    assert "error dialing backend" in kubectl(api.kubeconfig, "exec", "gone", "--", "id", expected=1)


# Memory


def resident(pid: int | str) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


@pytest.mark.parametrize("way", ["down", "up", "log"])
def test_who_does_not_read_costs_a_bounded_amount_of_memory(tmp_path: Path, way: str) -> None:
    (tmp_path / "node").mkdir()
    with process(tmp_path / "api") as api, kubelet(api, tmp_path / "node") as node, open("/dev/zero", "rb") as endless:
        node.pod("one", {"c": ["sh", "-c", "head -c 9000000 /dev/zero | fold -w 999; exec sleep 600"]})
        kubectl(api.kubeconfig, "exec", "one", "--", "true")
        assert api.process
        before = resident("self"), resident(api.process.pid)
        arguments = {
            "down": ["exec", "one", "--", "cat", "/dev/zero"],
            "up": ["exec", "-i", "one", "--", "sleep", "600"],
            "log": ["logs", "-f", "one"],
        }
        client = subprocess.Popen(command(api, *arguments[way]), stdin=endless, stdout=subprocess.PIPE)
        try:
            time.sleep(4)
            grown = resident("self") - before[0], resident(api.process.pid) - before[1]
            assert max(grown) < 30_000_000, grown
            assert client.poll() is None
        finally:
            client.kill()
            client.communicate(timeout=20)


# Openings and frames


def opened(api: Endpoint, path: str, protocols: list[str], token: str = "") -> websocket.WebSocket:
    return websocket.create_connection(
        f"{api.url.replace('https', 'wss')}/api/v1/namespaces/default/{path}",
        header=[f"Authorization: Bearer {token or api.token}"],
        subprotocols=protocols,
        sslopt={"ca_certs": str(api.authority)},
        timeout=20,
    )


@pytest.mark.parametrize(
    ("path", "protocols", "status"),
    [
        (EXEC, ["v5.channel.k8s.io", "wrong token"], 401),
        ("pods/none/exec?command=id&stdout=1", ["v5.channel.k8s.io"], 404),
        ("pods/one/exec?stdout=1", ["v5.channel.k8s.io"], 400),
        ("pods/one/exec?command=id", ["v5.channel.k8s.io"], 400),
        ("pods/one/exec?command=id&stdout=maybe", ["v5.channel.k8s.io"], 400),
        ("pods/one/exec?command=id&stdout=1&container=..%2Fx", ["v5.channel.k8s.io"], 400),
        ("pods/one/exec?" + "command=x&" * 1001, ["v5.channel.k8s.io"], 400),
        (EXEC, [], 403),
        (EXEC, ["v9.channel.k8s.io"], 403),
        (FORWARD, ["v5.channel.k8s.io"], 403),
        ("pods/one/log", ["binary.k8s.io"], 404),
        ("pods/one", ["v5.channel.k8s.io"], 404),
        ("pods", ["v5.channel.k8s.io"], 404),
        ("configmaps/one/exec", ["v5.channel.k8s.io"], 404),
        ("pods/%00/exec?command=id", ["v5.channel.k8s.io"], 400),
    ],
)
def test_openings_that_are_refused_are_answered_with_a_status(
    node: Node, path: str, protocols: list[str], status: int
) -> None:
    token = "wrong" if "wrong token" in protocols else ""
    with pytest.raises(websocket.WebSocketBadStatusException) as refused:
        opened(node.api, path, [one for one in protocols if " " not in one], token)
    assert refused.value.status_code == status
    assert json.loads(refused.value.resp_body or b"")["code"] == status


def test_a_command_with_a_null_character_cannot_be_started(node: Node) -> None:
    stream = opened(node.api, "pods/one/exec?command=a%00b&stdout=1", ["v5.channel.k8s.io"])
    messages = list(iter(stream.recv, ""))
    assert b"NUL character" in b"".join(one for one in messages if isinstance(one, bytes))


def frames(kind: int, payload: bytes) -> bytes:
    return struct.pack(">HHI", 0x8003, kind, len(payload)) + payload


HOSTILE: dict[str, tuple[str, str, bytes]] = {
    "no channel": (EXEC, "v5.channel.k8s.io", b""),
    "a channel that is none": (EXEC, "v5.channel.k8s.io", b"\x09abc"),
    "a close in v4": (EXEC, "v4.channel.k8s.io", b"\xff\x00"),
    "a close of nothing": (EXEC, "v5.channel.k8s.io", b"\xff"),
    "a close of too much": (EXEC, "v5.channel.k8s.io", b"\xff\x00\x00"),
    "a size that is none": (EXEC, "v5.channel.k8s.io", b"\x04[]"),
    "a size that is not JSON": (EXEC, "v5.channel.k8s.io", b"\x04" + b"[" * 100_000),
    "a size that is impossible": (EXEC, "v5.channel.k8s.io", b'\x04{"Width": -1, "Height": 99999999}'),
    "a message that is too large": (EXEC, "v5.channel.k8s.io", bytes(LARGEST_MESSAGE + 1)),
    "no SPDY": (FORWARD, TUNNEL, b"GET / HTTP/1.1\r\n\r\n"),
    "another version of SPDY": (FORWARD, TUNNEL, struct.pack(">HHI", 0x8002, 1, 0)),
    "a frame that is too large": (FORWARD, TUNNEL, struct.pack(">II", 1, 0xFFFFFF)),
    "an even stream": (FORWARD, TUNNEL, frames(1, struct.pack(">IIH", 2, 0, 0))),
    "headers that are not compressed": (FORWARD, TUNNEL, frames(1, struct.pack(">IIH", 1, 0, 0) + b"headers")),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_frames_end_their_stream_and_nothing_else(node: Node, case: str) -> None:
    path, protocol, data = HOSTILE[case]
    before = open_descriptors()
    stream = opened(node.api, path, [protocol])
    assert stream.getsubprotocol() == protocol.lower()  # as this client writes it
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # cut off while it still sends
        stream.send_binary(data)
    code = 0
    with contextlib.suppress(ConnectionError, websocket.WebSocketConnectionClosedException, ssl.SSLError):
        while code == 0:
            opcode, payload = stream.recv_data()
            code = struct.unpack(">H", payload[:2])[0] if opcode == websocket.ABNF.OPCODE_CLOSE else 0
    assert code in ((1009, 0) if "too large" in case and path == EXEC else (1002,))
    stream.shutdown()  # type: ignore[no-untyped-call]
    until(lambda: open_descriptors() < before + 1)
    assert kubectl(node.api.kubeconfig, "exec", "one", "--", "echo", "fine") == "fine\n"


@pytest.mark.parametrize(
    ("path", "protocol"), [(EXEC, "v5.channel.k8s.io"), (EXEC, "v4.channel.k8s.io"), (FORWARD, TUNNEL)]
)
def test_random_messages_leave_nothing_behind(
    node: Node, caplog: pytest.LogCaptureFixture, path: str, protocol: str
) -> None:
    chance, before = random.Random(1), open_descriptors()
    for _ in range(30):
        stream = opened(node.api, path, [protocol])
        with contextlib.suppress(OSError, websocket.WebSocketConnectionClosedException):
            for _ in range(chance.randrange(8)):
                begin = chance.choice([b"", b"\x00", b"\x04", b"\xff", b"\x80\x03\x00\x01", b"\x80\x03\x00\x06"])
                stream.send_binary(begin + chance.randbytes(chance.choice([0, 1, 8, 300])))
        stream.shutdown()  # type: ignore[no-untyped-call]
    until(lambda: open_descriptors() <= before)
    assert [record.getMessage() for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")] == []


def test_a_client_that_cuts_frames_into_bytes_is_understood(node: Node) -> None:
    """Over a socket of its own: a frame of WebSocket in single bytes."""
    address = urlsplit(node.api.url)
    context = ssl.create_default_context(cafile=str(node.api.authority))
    with (
        socket.create_connection((address.hostname, address.port), 20) as plain,
        context.wrap_socket(plain, server_hostname=address.hostname) as stream,
    ):
        head = (
            f"GET /api/v1/namespaces/default/pods/one/exec?command=cat&stdin=1&stdout=1 HTTP/1.1\r\nHost: h\r\n"
            f"Authorization: Bearer {node.api.token}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
            "Sec-WebSocket-Protocol: v5.channel.k8s.io\r\n\r\n"
        )
        stream.sendall(head.encode())
        read = b""
        while b"\r\n\r\n" not in read:
            read += stream.recv(4096)
        assert b" 101 " in read
        for byte in b"\x82\x86\0\0\0\0\0hello":
            stream.sendall(bytes([byte]))
        while not read.endswith(b"\x01hello"):
            read += stream.recv(4096)


def test_more_streams_than_there_may_be_are_refused(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    with contextlib.closing(opened(node.api, EXEC, ["v5.channel.k8s.io"])):
        for module in (streams, server):
            with monkeypatch.context() as patched:
                patched.setattr(module, "MOST_STREAMS", 1)
                with pytest.raises(websocket.WebSocketBadStatusException) as refused:
                    opened(node.api, EXEC, ["v5.channel.k8s.io"])
                assert refused.value.status_code == 429


# The kubelet's door


def test_the_kubelet_answers_the_endpoint_alone(node: Node) -> None:
    assert node.api.authority
    keys = node.api.authority.parent
    for certificate, good in ((None, False), ("server", False), ("kubelet", False), ("kubelet-client", True)):
        context = ssl.create_default_context(cafile=str(node.api.authority))
        if certificate:
            context.load_cert_chain(keys / f"{certificate}.crt", keys / f"{certificate}.key")
        answer = b""
        with (
            contextlib.suppress(ssl.SSLError, ConnectionError),
            socket.create_connection((node.served.address, node.served.port), 10) as plain,
            context.wrap_socket(plain, server_hostname=node.served.address) as stream,
        ):
            stream.sendall(b"GET /healthz HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
            answer = stream.recv(4096)
        assert (b" 200 " in answer) == good, certificate
    for file in (one for one in keys.iterdir() if one.is_file()):
        assert file.stat().st_mode & 0o077 == 0, file


def test_the_endpoint_trusts_no_other_kubelet(node: Node, tmp_path: Path) -> None:
    """One that shows a certificate of an authority of its own hears nothing of what is asked."""
    from tests.cluster.kubelets import create_pod

    with endpoint(tmp_path / "other") as other, kubelet(other, tmp_path, "foreign") as foreign:
        create_node(node.api, "foreign", foreign.served.node_status)
        create_pod(node.api, "foreign", [{"name": "c", "image": "i"}], "foreign")
        said = kubectl(node.api.kubeconfig, "exec", "foreign", "--", "id", expected=1)
        assert "tls: failed to verify certificate" in said


def test_threads_do_not_pile_up(node: Node) -> None:
    before = threading.active_count()
    for _ in range(5):
        kubectl(node.api.kubeconfig, "exec", "one", "--", "true")
    assert threading.active_count() <= before + 1
