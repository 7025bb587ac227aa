"""exec, attach, logs and port-forward as stock kubectl and the official client speak them, through a node's kubelet."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import http.server
import os
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.cluster.endpoint import KUBECTL, Endpoint, endpoint, kubectl
from tests.cluster.kubelets import Node, create_node, create_pod, kubelet

pytestmark = [pytest.mark.cluster]

LONG = ["sleep", "600"]
PRINTS = "for n in 1 2 3 4 5; do echo line $n; done; echo warning >&2"


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    with endpoint(tmp_path_factory.mktemp("streams")) as found:
        yield found


@pytest.fixture(scope="module")
def node(api: Endpoint, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with kubelet(api, tmp_path_factory.mktemp("node")) as found:
        found.pod("one", {"c": LONG})
        found.pod("two", {"first": ["sh", "-c", f"{PRINTS}; exec sleep 600"], "second": ["sh", "-c", "echo second"]})
        found.pod("long", {"c": ["seq", "-f", "line %06.0f", "2000"]})
        yield found


def run(node: Node, *arguments: str, text: str = "", expected: int | None = 0) -> str:
    return kubectl(node.api.kubeconfig, *arguments, text=text, expected=expected)


def command(node: Node, *arguments: str) -> list[str]:
    return [str(KUBECTL), "--kubeconfig", str(node.api.kubeconfig), *arguments]


def until(condition: Callable[[], bool], seconds: float = 15) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.02)


# exec


@pytest.mark.parametrize("code", [0, 1, 3, 42, 127, 255])
def test_exec_ends_with_the_exit_code_of_the_program(node: Node, code: int) -> None:
    said = run(node, "exec", "one", "--", "sh", "-c", f"exit {code}", expected=code)
    assert said == (f"command terminated with exit code {code}\n" if code else "")


def test_exec_keeps_output_errors_and_arguments_apart(node: Node) -> None:
    program = 'for a in "$@"; do echo "<$a>"; done; echo err >&2'
    done = subprocess.run(
        command(node, "exec", "one", "--", "sh", "-c", program, "sh", "two  words", "", "a&b=c", "ü"),
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("<two  words>\n<>\n<a&b=c>\n<ü>\n", "err\n")


def test_exec_takes_many_arguments(node: Node) -> None:
    numbers = [str(number) for number in range(900)]
    assert run(node, "exec", "one", "--", "echo", *numbers) == " ".join(numbers) + "\n"


def test_a_program_that_a_signal_ends_has_the_code_that_a_shell_gives_it(node: Node) -> None:
    assert "exit code 137" in run(node, "exec", "one", "--", "sh", "-c", "kill -9 $$", expected=137)


def test_exec_without_i_gives_the_program_no_input(node: Node) -> None:
    assert run(node, "exec", "one", "--", "cat", text="not sent") == ""


def test_ten_megabytes_go_both_ways_byte_for_byte(node: Node) -> None:
    data = os.urandom(10 << 20)
    done = subprocess.run(
        command(node, "exec", "-i", "one", "--", "cat"), input=data, capture_output=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(data).digest()


def test_what_a_program_prints_last_is_not_lost(node: Node) -> None:
    program = "head -c 3000000 /dev/zero | tr '\\0' a; exit 7"
    done = subprocess.run(
        command(node, "exec", "one", "--", "sh", "-c", program), capture_output=True, timeout=60, check=False
    )
    assert (done.returncode, len(done.stdout)) == (7, 3_000_000)


def test_a_program_may_end_before_it_has_read_its_input(node: Node) -> None:
    """Kubectl may be writing when it hears of the end, and then says so itself, in one line and of nothing else."""
    text = "".join(f"{number}\n" for number in range(300_000))
    said = run(node, "exec", "-i", "one", "--", "head", "-n1", text=text)
    own = [line for line in said.splitlines(True) if '"Copying stdin failed" err="websocket: close sent"' not in line]
    assert own == ["0\n"]


def test_a_program_that_leaves_another_behind_ends_all_the_same(node: Node) -> None:
    started = time.monotonic()
    assert run(node, "exec", "one", "--", "sh", "-c", "sleep 7 & echo done") == "done\n"
    assert time.monotonic() - started < 6


def test_exec_names_a_program_that_is_not_there(node: Node) -> None:
    said = run(node, "exec", "one", "--", "no-such-program", expected=1)
    assert 'exec: "no-such-program": executable file not found in $PATH' in said
    assert 'exec: "/etc/passwd": permission denied' in run(node, "exec", "one", "--", "/etc/passwd", expected=1)


def test_exec_in_a_container_by_name(node: Node) -> None:
    assert run(node, "exec", "two", "-c", "first", "--", "echo", "x") == "x\n"
    path = "/api/v1/namespaces/default/pods/two/exec?stdout=1&command=id"
    refused = node.api.request("POST", f"{path}&container=nothing").json()
    assert (refused["code"], refused["message"]) == (400, "container nothing is not valid for pod two")
    unnamed = node.api.request("POST", path).json()["message"]
    assert unnamed == "a container name must be specified for pod two, choose one of: [first second]"


def test_exec_in_a_container_that_has_ended(node: Node) -> None:
    until(lambda: not node.containers.find("default", "two", "second").running)
    said = run(node, "exec", "two", "-c", "second", "--", "echo", expected=1)
    assert 'container not found ("second")' in said


def test_cp_copies_files_both_ways(node: Node, tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(os.urandom(300_000))
    run(node, "cp", str(tmp_path / "data"), "one:copied")
    run(node, "cp", "one:copied", str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == (tmp_path / "data").read_bytes()


class Terminal:
    """kubectl on a terminal of 80 columns and 24 rows."""

    def __init__(self, arguments: list[str]) -> None:
        self.near, far = os.openpty()
        self.resize(80, 24)
        self.process = subprocess.Popen(arguments, stdin=far, stdout=far, stderr=far, start_new_session=True)
        os.close(far)
        self.seen = b""

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self.near, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text: str) -> None:
        os.write(self.near, text.encode())

    def wait_for(self, text: str) -> None:
        end = time.monotonic() + 20
        while text.encode() not in self.seen:
            assert select.select([self.near], [], [], max(0.0, end - time.monotonic()))[0], self.seen
            try:
                self.seen += os.read(self.near, 65536)
            except OSError:
                pytest.fail(f"{text!r} did not come: {self.seen!r}")


@contextlib.contextmanager
def terminal(arguments: list[str]) -> Iterator[Terminal]:
    shown = Terminal(arguments)
    try:
        yield shown
    finally:
        shown.process.kill()
        shown.process.wait(10)
        os.close(shown.near)


def test_a_terminal_has_the_size_of_the_clients_and_follows_it(node: Node) -> None:
    program = "trap 'echo now $(stty size)' WINCH; echo first $(stty size) on $(tty); while :; do sleep 0.05; done"
    with terminal(command(node, "exec", "-it", "one", "--", "sh", "-c", program)) as shown:
        shown.wait_for("on /dev/pts/")
        shown.resize(132, 50)
        shown.process.send_signal(signal.SIGWINCH)
        shown.wait_for("now 50 132")


def test_a_shell_on_a_terminal(node: Node) -> None:
    with terminal(command(node, "exec", "-it", "one", "--", "env", "PS1=ready> ", "sh")) as shown:
        shown.wait_for("ready> ")
        shown.type("sh -c 'echo $((6 * 7)); exec cat'\n")
        shown.wait_for("\r\n42")
        shown.type("\x03")
        shown.wait_for("^C\r\nready> ")
        shown.type("echo after-$((1 + 1)); exit 9\n")
        shown.wait_for("after-2")
        assert shown.process.wait(20) == 9


# attach


def test_attach_shows_what_a_container_prints_and_ends_with_it(node: Node) -> None:
    node.pod("talker", {"c": ["sh", "-c", 'while read line; do echo "got $line"; done; echo over']}, stdin=True)
    client = subprocess.Popen(
        command(node, "attach", "-i", "talker"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert client.stdin
        assert client.stdout
        client.stdin.write("hello\n")
        client.stdin.flush()
        while (line := client.stdout.readline()) != "got hello\n":
            assert line, "attach ended"
        node.call(node.containers.find("default", "talker", "c").stop())
        client.stdin.close()
        assert client.wait(20) == 0
    finally:
        client.kill()
        client.wait(10)
    assert "got hello" in run(node, "logs", "talker")


def test_attach_to_input_that_a_container_does_not_have(node: Node) -> None:
    said = run(node, "attach", "-i", "one", expected=None, text="x")
    assert "stdin" in said


# logs


def test_logs_are_what_was_printed_on_both_streams(node: Node) -> None:
    lines = [f"line {number}" for number in range(1, 6)]
    assert sorted(run(node, "logs", "two", "-c", "first").splitlines()) == [*lines, "warning"]
    assert run(node, "logs", "two", "-c", "second") == "second\n"
    assert "container nothing is not valid for pod two" in run(node, "logs", "two", "-c", "nothing", expected=1)


def test_logs_of_all_containers(node: Node) -> None:
    said = run(node, "logs", "two", "--all-containers", "--prefix")
    assert "[pod/two/first] line 3\n" in said
    assert "[pod/two/second] second\n" in said


@pytest.mark.parametrize(("tail", "kept"), [(0, 0), (1, 1), (3, 3), (1000, 1000), (5000, 2000), (-1, 2000)])
def test_logs_tail(node: Node, tail: int, kept: int) -> None:
    node.call(node.containers.find("default", "long", "c").wait())
    lines = [f"line {number:06}" for number in range(1, 2001)]
    assert run(node, "logs", "long", f"--tail={tail}").splitlines() == lines[2000 - kept :]


def test_logs_with_times_and_since_a_time(node: Node) -> None:
    node.pod("timed", {"c": ["sh", "-c", "echo early; sleep 2.2; echo late; exec sleep 600"]})
    until(lambda: "late" in run(node, "logs", "timed"))
    early, late = run(node, "logs", "timed", "--timestamps").splitlines()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z early", early)
    between = late.split()[0]
    assert run(node, "logs", "timed", f"--since-time={between[:19]}Z") == "late\n"
    assert run(node, "logs", "timed", "--since=1h") == "early\nlate\n"
    time.sleep(1.1)
    assert run(node, "logs", "timed", "--since=1s") == ""
    assert run(node, "logs", "timed", "--limit-bytes=8") == "early\nla"


def test_logs_follow_until_the_container_ends(node: Node) -> None:
    node.pod("counting", {"c": ["sh", "-c", "for n in 1 2 3 4 5 6; do echo $n; sleep 0.2; done"]})
    assert run(node, "logs", "-f", "counting") == "1\n2\n3\n4\n5\n6\n"


def test_logs_follow_shows_a_line_when_it_is_printed(node: Node, tmp_path: Path) -> None:
    go = tmp_path / "go"
    node.pod(
        "waiting", {"c": ["sh", "-c", f"echo one; while ! test -e {go}; do sleep 0.05; done; echo two; sleep 600"]}
    )
    with subprocess.Popen(command(node, "logs", "-f", "waiting"), stdout=subprocess.PIPE, text=True) as client:
        try:
            assert client.stdout
            assert client.stdout.readline() == "one\n"
            go.touch()
            assert client.stdout.readline() == "two\n"
        finally:
            client.kill()


def test_logs_of_the_run_before(node: Node) -> None:
    node.pod("again", {"c": ["echo", "first run"]})
    node.call(node.containers.find("default", "again", "c").wait())
    said = run(node, "logs", "again", "--previous", expected=1)
    assert 'previous terminated container "c"' in said
    assert "(BadRequest)" in said
    node.start("again", "c", ["sh", "-c", "echo second run; sleep 600"])
    until(lambda: run(node, "logs", "again") == "second run\n")
    assert run(node, "logs", "again", "--previous") == "first run\n"
    assert run(node, "logs", "again", "--previous", "-f") == "first run\n"


def test_lines_that_are_long_or_have_no_end_come_as_they_were(node: Node) -> None:
    node.pod("wide", {"c": ["sh", "-c", "head -c 100000 /dev/zero | tr '\\0' a; echo; printf end"]})
    node.call(node.containers.find("default", "wide", "c").wait())
    assert run(node, "logs", "wide") == "a" * 100_000 + "\nend"


@pytest.mark.parametrize(
    ("query", "code", "words"),
    [
        (
            "tailLines=-1",
            422,
            'PodLogOptions "one" is invalid: tailLines: Invalid value: -1: must be greater than or equal',
        ),
        ("limitBytes=0", 422, "limitBytes: Invalid value: 0: must be greater than 0"),
        ("sinceSeconds=0", 422, "sinceSeconds: Invalid value: 0: must be greater than 0"),
        ("sinceSeconds=1&sinceTime=2026-01-01T00:00:00Z", 422, "at most one of `sinceTime` or `sinceSeconds`"),
        ("stream=Both", 422, 'stream: Unsupported value: "Both"'),
        ("sinceTime=yesterday", 400, "yesterday"),
        ("sinceTime=0001-01-01T00:00:00%2B14:00", 400, "0001-01-01"),
        ("tailLines=many", 400, "many"),
        ("tailLines=99999999999999999999", 400, "999999"),
        ("follow=maybe", 400, "maybe"),
    ],
)
def test_log_options_that_make_no_sense_are_refused(node: Node, query: str, code: int, words: str) -> None:
    answer = node.api.request("GET", f"/api/v1/namespaces/default/pods/one/log?{query}")
    assert answer.status == code, answer.body
    assert words in answer.json()["message"]


# port-forward


@pytest.fixture
def web(tmp_path: Path) -> Iterator[int]:
    """A web server on loopback, which stands for a pod's."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(self.path.encode() * 50_000)

        def do_PUT(self) -> None:
            digest = hashlib.sha256()
            left = int(self.headers["Content-Length"])
            while left:
                piece = self.rfile.read(min(left, 65536))
                digest.update(piece)
                left -= len(piece)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(digest.hexdigest().encode())

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join(5)


@contextlib.contextmanager
def forwarded(node: Node, port: int, pod: str = "one") -> Iterator[tuple[str, subprocess.Popen[str]]]:
    client = subprocess.Popen(
        command(node, "port-forward", f"pod/{pod}", f":{port}"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert client.stdout
        line = client.stdout.readline()
        match = re.search(r"127\.0\.0\.1:(\d+)", line)
        assert match, line + client.stdout.read()
        yield f"http://127.0.0.1:{match[1]}", client
    finally:
        client.kill()
        client.communicate(timeout=10)


def fetch(url: str, body: bytes | None = None) -> bytes:
    request = urllib.request.Request(url, body, method="GET" if body is None else "PUT")
    with urllib.request.urlopen(request, timeout=30) as answer:
        data: bytes = answer.read()
        return data


def test_port_forward_carries_one_connection_after_the_other(node: Node, web: int) -> None:
    with forwarded(node, web) as (url, _):
        for number in range(5):
            assert fetch(f"{url}/page{number}") == f"/page{number}".encode() * 50_000


def test_port_forward_carries_many_connections_at_once(node: Node, web: int) -> None:
    with forwarded(node, web) as (url, _), ThreadPoolExecutor(16) as threads:
        paths = [f"/page{number:03}" for number in range(64)]
        assert list(threads.map(lambda path: fetch(url + path), paths)) == [path.encode() * 50_000 for path in paths]


def test_port_forward_carries_ten_megabytes_up(node: Node, web: int) -> None:
    data = os.urandom(10 << 20)
    with forwarded(node, web) as (url, _):
        assert fetch(url, data).decode() == hashlib.sha256(data).hexdigest()


def test_port_forward_to_a_port_where_nobody_listens(node: Node) -> None:
    with forwarded(node, 1) as (url, client):
        with pytest.raises(OSError, match=r".*"):
            fetch(url)
        assert client.stdout
        said = client.stdout.read()  # it ends, as with a cluster
        assert "error forwarding port 1 to pod one: dial tcp 127.0.0.1:1: connect: connection refused" in said


@pytest.mark.packets
@pytest.mark.skipif(
    subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False).returncode != 0,
    reason="network namespaces cannot be made here: run as root or under `unshare -Urn`",
)
def test_exec_and_port_forward_go_into_the_pods_network(node: Node, tmp_path: Path) -> None:
    holder = subprocess.Popen(["unshare", "--net", "sh", "-c", "ip link set lo up; echo up; exec sleep 600"], stdout=-1)
    try:
        assert holder.stdout
        assert holder.stdout.readline() == b"up\n"
        network = Path(f"/proc/{holder.pid}/ns/net")
        served = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "8123"]
        (node.folder / "index.html").write_text("inside")
        node.pod("inner", {"c": served}, network=network)
        assert run(node, "exec", "inner", "--", "ip", "-o", "link").count("\n") == 1
        with forwarded(node, 8123, "inner") as (url, _):
            until(lambda: "LISTEN" in run(node, "exec", "inner", "--", "ss", "-Htln"))
            assert fetch(url) == b"inside"
    finally:
        holder.kill()
        holder.wait(10)


# The official Python client


def test_the_official_client_runs_programs(node: Node) -> None:
    from kubernetes import client, config
    from kubernetes.stream import stream

    with config.new_client_from_config(str(node.api.kubeconfig)) as session:  # type: ignore[no-untyped-call]
        core = client.CoreV1Api(session)
        asked = {"command": ["sh"], "stdout": True, "stderr": True, "tty": False}
        script = {**asked, "command": ["sh", "-c", "echo out; echo err >&2"]}
        said = stream(core.connect_get_namespaced_pod_exec, "one", "default", **script, stdin=False)
        assert sorted(said.split()) == ["err", "out"]
        shell = stream(
            core.connect_get_namespaced_pod_exec, "one", "default", **asked, stdin=True, _preload_content=False
        )
        shell.write_stdin("echo hello; exit 5\n")
        shell.run_forever(timeout=20)
        assert shell.read_stdout() == "hello\n"
        assert shell.returncode == 5


# What the API server refuses


def test_a_pod_without_a_node(node: Node) -> None:
    create_pod(node.api, "unbound", [{"name": "c", "image": "i"}], "")
    for arguments in (["exec", "unbound", "--", "id"], ["port-forward", "unbound", ":80"]):
        said = run(node, *arguments, expected=1)
        assert "pod unbound does not have a host assigned" in said
    assert run(node, "logs", "unbound") == ""
    assert node.api.request("GET", "/api/v1/namespaces/default/pods/unbound/log").status == 204


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (None, 'nodes "{node}" not found'),
        ({}, "no preferred addresses found; known addresses: []"),
        (
            {"addresses": [{"type": "InternalIP", "address": "127.0.0.1"}]},
            "dial tcp 127.0.0.1:10250: connect: connection",
        ),
        (
            {"addresses": [{"type": "InternalIP", "address": "192.0.2.1"}]},
            "dial tcp 192.0.2.1:10250: connect: network is",
        ),
    ],
)
def test_a_node_whose_kubelet_cannot_be_reached(node: Node, status: dict[str, object] | None, words: str) -> None:
    name = f"far-{abs(hash(words))}"
    if status is not None:
        create_node(node.api, name, status)
    create_pod(node.api, name, [{"name": "c", "image": "i"}], name)
    for arguments in (["exec", name, "--", "id"], ["logs", name], ["port-forward", name, ":80"]):
        said = run(node, *arguments, expected=1)
        assert words.format(node=name) in said, said


def test_plain_requests_and_spdy_are_refused(node: Node) -> None:
    path = "/api/v1/namespaces/default/pods/one/exec?command=id&stdout=1"
    answer = node.api.request("POST", path)
    assert (answer.status, answer.json()["message"]) == (400, "Upgrade request required")
    environment = {"KUBECTL_REMOTE_COMMAND_WEBSOCKETS": "false"}
    said = kubectl(node.api.kubeconfig, "exec", "one", "--", "id", expected=1, **environment)
    assert "exec by SPDY, which kubectl speaks before 1.31, is not implemented" in said
