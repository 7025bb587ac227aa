"""exec, logs and port-forward as stock kubectl speaks them, to a node that stands for the lab's."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import json
import os
import re
import ssl
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.cluster.endpoint import KUBECTL, Endpoint, endpoint, kubectl
from tests.cluster.local_node import LocalNode

pytestmark = [pytest.mark.cluster]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    with endpoint(tmp_path_factory.mktemp("streams"), node=LocalNode()) as found:
        for name, node, containers in (("one", "n", 1), ("two", "n", 2), ("unbound", "", 1)):
            spec = {"containers": [{"name": f"c{number}", "image": "i"} for number in range(containers)]}
            pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {**spec, "nodeName": node}}
            kubectl(found.kubeconfig, "create", "-f", "-", text=json.dumps(pod))
            status = '{"status": {"phase": "Running"}}'
            kubectl(found.kubeconfig, "patch", "pod", name, "--subresource=status", "-p", status)
        yield found


def run(served: Endpoint, *arguments: str, text: str = "", expected: int | None = 0) -> str:
    return kubectl(served.kubeconfig, *arguments, text=text, expected=expected)


def test_exec_gives_output_errors_and_exit_code(served: Endpoint) -> None:
    assert run(served, "exec", "one", "--", "echo", "hello", "two  words") == "hello two  words\n"
    said = run(served, "exec", "one", "--", "sh", "-c", "echo out; echo err >&2; exit 3", expected=3)
    assert {"out", "err"} <= set(said.splitlines())
    assert "exit code 3" in said


def test_exec_passes_standard_input_to_its_end(served: Endpoint) -> None:
    text = "".join(f"line {number}\n" for number in range(20_000))
    assert run(served, "exec", "-i", "one", "--", "cat", text=text) == text
    assert run(served, "exec", "-i", "one", "--", "wc", "-c", text="x" * 300_000).strip() == "300000"


def test_exec_of_a_program_that_is_not_there(served: Endpoint) -> None:
    said = run(served, "exec", "one", "--", "no-such-program", expected=1)
    assert "no-such-program: no such program in container c0" in said


def test_exec_in_a_container_by_name(served: Endpoint) -> None:
    assert run(served, "exec", "two", "-c", "c1", "--", "echo", "x") == "x\n"
    assert "container nothing" in run(served, "exec", "two", "-c", "nothing", "--", "echo", expected=1)


def test_exec_in_a_pod_without_a_node(served: Endpoint) -> None:
    assert "pod unbound does not have a host assigned" in run(served, "exec", "unbound", "--", "id", expected=1)


def test_a_program_ends_when_its_client_leaves(served: Endpoint, tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    command = [str(KUBECTL), "--kubeconfig", str(served.kubeconfig), "exec", "one", "--"]
    program = f"echo $$ > {mark}; echo started; exec sleep 600"
    with subprocess.Popen([*command, "sh", "-c", program], stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout
        assert client.stdout.readline() == "started\n"
        client.kill()
    pid = int(mark.read_text())
    for _ in range(100):
        if not Path(f"/proc/{pid}").exists():
            return
        threading.Event().wait(0.05)
    os.kill(pid, 9)
    pytest.fail("the program runs on")


def test_logs(served: Endpoint) -> None:
    assert run(served, "logs", "one") == "c0 line 0\nc0 line 1\nc0 line 2\n"
    assert run(served, "logs", "one", "--tail=1") == "c0 line 2\n"
    assert run(served, "logs", "two", "-c", "c1").startswith("c1 line 0\n")
    assert run(served, "logs", "one", "-f").endswith("c0 line 4\n")
    assert run(served, "logs", "unbound") == ""
    said = run(served, "logs", "one", "--previous", expected=1)
    assert 'previous terminated container "c0" in pod "one" not found' in said


@pytest.fixture
def web() -> Iterator[int]:
    """A web server on loopback, which stands for a pod's."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(self.path.encode() * 20_000)

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join(5)


@contextlib.contextmanager
def forwarded(served: Endpoint, port: int) -> Iterator[str]:
    command = [str(KUBECTL), "--kubeconfig", str(served.kubeconfig), "port-forward", "pod/one", f":{port}"]
    client = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert client.stdout
        line = client.stdout.readline()
        match = re.search(r"127\.0\.0\.1:(\d+)", line)
        assert match, line + client.stdout.read()
        yield f"http://127.0.0.1:{match[1]}"
    finally:
        client.terminate()
        client.communicate(timeout=10)


def test_port_forward(served: Endpoint, web: int) -> None:
    with forwarded(served, web) as url:
        for number in range(5):
            with urllib.request.urlopen(f"{url}/page{number}", timeout=10) as answer:
                assert answer.read() == f"/page{number}".encode() * 20_000


def test_port_forward_to_a_port_where_nobody_listens(served: Endpoint) -> None:
    with forwarded(served, 1) as url, pytest.raises(ConnectionError), urllib.request.urlopen(url, timeout=10):
        pass


@pytest.mark.parametrize(
    ("path", "status"),
    [("pods/one/exec?command=id", 401), ("pods/none/exec?command=id", 404), ("pods/one/exec", 400), ("pods", 404)],
)
def test_openings_that_are_refused_are_answered_with_a_status(served: Endpoint, path: str, status: int) -> None:
    token = "wrong" if status == 401 else served.token
    headers = {
        "Authorization": f"Bearer {token}",
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
        "Sec-WebSocket-Protocol": "v5.channel.k8s.io",
    }
    address = urlsplit(served.url)
    context = ssl.create_default_context(cafile=str(served.authority))
    with contextlib.closing(http.client.HTTPSConnection(address.netloc, context=context, timeout=10)) as connection:
        connection.request("GET", f"/api/v1/namespaces/default/{path}", headers=headers)
        answer = connection.getresponse()
        assert (answer.status, json.loads(answer.read())["kind"]) == (status, "Status")


def test_the_protocol_before_websocket_is_refused(served: Endpoint) -> None:
    answer = served.request("POST", "/api/v1/namespaces/default/pods/one/exec?command=id")
    assert (answer.status, answer.json()["message"]) == (
        501,
        "exec by anything but WebSocket is not implemented by this endpoint",
    )
