"""exec, attach, logs and port-forward of stock kubectl into pods of the runtime: programs and stand-ins."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import re
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest

from gatewright.lab.kubelet.server import running
from gatewright.lab.runtime.client import Runtime
from gatewright.lab.runtime.model import ContainerSetup, PodSetup, Port
from tests.cluster.endpoint import KUBECTL, WAIT, Endpoint, endpoint, kubectl
from tests.cluster.kubelets import create_node, create_pod
from tests.packets.runtimes import NodeOfRuntime, runtime_of

pytestmark = [pytest.mark.cluster, pytest.mark.packets]

T = TypeVar("T")
PRINTS = "for n in 1 2 3; do echo line $n; done; echo warning >&2; exec sleep 600"
ECHO = 'while read line; do echo "got $line"; done; echo over'


@dataclass(frozen=True)
class Served:
    """A node whose kubelet's server has the runtime's containers."""

    api: Endpoint
    runtime: Runtime
    node: NodeOfRuntime
    loop: asyncio.AbstractEventLoop

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Do something in the kubelet's thread."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(WAIT)

    def kubectl(self, *arguments: str, text: str = "", expected: int | None = 0) -> str:
        """What kubectl prints."""
        return kubectl(self.api.kubeconfig, *arguments, text=text, expected=expected)

    def command(self, *arguments: str) -> list[str]:
        """A command line of kubectl."""
        return [str(KUBECTL), "--kubeconfig", str(self.api.kubeconfig), *arguments]

    def pod(self, number: int, name: str, *containers: ContainerSetup) -> None:
        """A pod that the API and the runtime have."""
        trees = [
            {"name": one.name, "image": "i", "stdin": one.stdin, "tty": one.terminal} for one in containers
        ]  # fmt: skip
        create_pod(self.api, name, trees, "here")
        setup = PodSetup(
            f"uid-{name}", "default", name, name, addresses=(f"10.244.0.{number}", f"fd00:10:244::{number:x}"),
            link=f"pod{number}", files={"etc/hosts": "127.0.0.1\tlocalhost\n"},
        )  # fmt: skip
        self.call(self.runtime.create_pod(setup))
        for one in containers:
            self.call(self.runtime.start_container(setup.uid, one))


@contextlib.contextmanager
def kubelet(api: Endpoint, node: NodeOfRuntime) -> Iterator[Served]:
    """The kubelet's server in a thread, with the runtime behind it."""
    assert api.authority
    keys = api.authority.parent
    loop, stop, there = asyncio.new_event_loop(), asyncio.Event(), threading.Event()
    started: list[tuple[Runtime, dict[str, object]]] = []

    async def main() -> None:
        runtime = await Runtime.connect(node.path)
        async with running(runtime.containers, keys) as served:
            started.append((runtime, served.node_status))
            there.set()
            await stop.wait()
        await runtime.close()

    thread = threading.Thread(target=lambda: loop.run_until_complete(main()), daemon=True)
    thread.start()
    assert there.wait(WAIT)
    try:
        create_node(api, "here", started[0][1])
        yield Served(api, started[0][0], node, loop)
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(WAIT)
        assert not thread.is_alive()
        loop.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with (
        runtime_of("root" if os.geteuid() == 0 else "user") as node,  # first: it forks, and the others make threads
        endpoint(tmp_path_factory.mktemp("streams")) as api,
        kubelet(api, node) as made,
    ):
        made.pod(1, "program", ContainerSetup("c", command=("sh", "-c", PRINTS), environment={"GREETING": "hello"}))
        made.pod(2, "standin", ContainerSetup("c", image="nginx:1", ports=(Port(8080), Port(53, "UDP"))))
        yield made


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.02)


both = pytest.mark.parametrize("pod", ["program", "standin"])


@both
@pytest.mark.parametrize("code", [0, 3, 255])
def test_exec_ends_with_the_exit_code_of_the_program(served: Served, pod: str, code: int) -> None:
    said = served.kubectl("exec", pod, "--", "sh", "-c", f"exit {code}", expected=code)
    assert said == (f"command terminated with exit code {code}\n" if code else "")


@both
def test_exec_keeps_output_errors_and_arguments_apart(served: Served, pod: str) -> None:
    program = 'for a in "$@"; do echo "<$a>"; done; echo err >&2; hostname'
    arguments = served.command("exec", pod, "--", "sh", "-c", program, "sh", "two  words", "", "ü")
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=30, check=True)
    assert (done.stdout, done.stderr) == (f"<two  words>\n<>\n<ü>\n{pod}\n", "err\n")


def test_exec_has_the_containers_environment(served: Served) -> None:
    assert served.kubectl("exec", "program", "--", "sh", "-c", "echo $GREETING").strip() == "hello"


@both
def test_megabytes_go_both_ways_byte_for_byte(served: Served, pod: str) -> None:
    data = os.urandom(5 << 20)
    arguments = served.command("exec", "-i", pod, "--", "cat")
    done = subprocess.run(arguments, input=data, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(data).digest()


def test_what_a_program_prints_last_is_not_lost(served: Served) -> None:
    program = "head -c 3000000 /dev/zero | tr '\\0' a; exit 7"
    arguments = served.command("exec", "standin", "--", "sh", "-c", program)
    done = subprocess.run(arguments, capture_output=True, timeout=60, check=False)
    assert (done.returncode, len(done.stdout)) == (7, 3_000_000)


def test_exec_without_i_gives_the_program_no_input(served: Served) -> None:
    assert served.kubectl("exec", "standin", "--", "cat", text="not sent") == ""


@both
def test_exec_names_a_program_that_is_not_there(served: Served, pod: str) -> None:
    said = served.kubectl("exec", pod, "--", "no-such-program", expected=1)
    assert 'exec: "no-such-program": executable file not found in $PATH' in said
    assert 'exec: "/etc/passwd": permission denied' in served.kubectl("exec", pod, "--", "/etc/passwd", expected=1)
    assert 'exec: "/no/such": no such file or directory' in served.kubectl("exec", pod, "--", "/no/such", expected=1)


def test_a_program_that_leaves_another_behind_ends_all_the_same(served: Served) -> None:
    begun = time.monotonic()
    assert served.kubectl("exec", "standin", "--", "sh", "-c", "sleep 7 & echo done") == "done\n"
    assert time.monotonic() - begun < 6


@both
def test_a_terminal_is_one_of_the_pods(served: Served, pod: str) -> None:
    arguments = served.command("exec", "-it", pod, "--", "sh", "-c", "tty; stty size; echo $TERM")
    shown = subprocess.run(
        ["script", "-qec", " ".join(f"'{one}'" for one in arguments), "/dev/null"],
        capture_output=True, text=True, timeout=30, check=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    seen = shown.stdout.replace("^@", "")  # how script says that its own input has ended
    assert re.search(r"/dev/pts/\d+\n\d+ \d+\nxterm\n", seen), seen


def test_a_program_ends_with_its_client(served: Served) -> None:
    client = subprocess.Popen(served.command("exec", "standin", "--", "sleep", "611"), stdout=subprocess.DEVNULL)

    def shown() -> bool:
        return "sleep 611" in served.kubectl("exec", "standin", "--", "ps", "-eo", "args")

    until(shown)
    client.kill()
    client.wait(10)
    until(lambda: not shown())


def test_attach_talks_with_the_containers_program(served: Served) -> None:
    talker = ContainerSetup("c", command=("sh", "-c", ECHO), stdin=True)
    served.pod(3, "talker", talker)
    for turn in (1, 2):  # who leaves does not close the input
        with subprocess.Popen(
            served.command("attach", "-i", "talker"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as client:
            assert client.stdin
            assert client.stdout
            client.stdin.write(f"hello {turn}\n")
            client.stdin.flush()
            while client.stdout.readline() != f"got hello {turn}\n":
                assert client.poll() is None
            client.kill()
    with subprocess.Popen(served.command("attach", "talker"), stdout=subprocess.PIPE, text=True) as client:
        time.sleep(0.5)
        served.call(served.runtime.stop_container("uid-talker", "c", 0))
        assert client.wait(20) == 0
    assert "got hello 1\ngot hello 2\n" in served.kubectl("logs", "talker")


def test_attach_to_a_terminal(served: Served) -> None:
    served.pod(4, "shell", ContainerSetup("c", command=("sh", "-c", f"tty; {ECHO}"), terminal=True, stdin=True))

    async def work() -> bytes:
        talk = served.runtime.containers.find("default", "shell", "c").attach(stdin=True)
        await talk.write(b"hello\n")
        seen = b""
        while b"got hello" not in seen:
            seen += await talk.outputs[1].read()
        talk.release()
        return seen

    assert served.call(asyncio.wait_for(work(), 10))
    assert "/dev/pts/0" in served.kubectl("logs", "shell")


def test_attach_to_what_has_no_program_or_no_input(served: Served) -> None:
    said = served.kubectl("attach", "standin", expected=None)
    assert "container c has no program of its own here: a stand-in answers for it" in said
    said = served.kubectl("attach", "-i", "program", expected=None, text="x")
    assert "stdin" in said


def test_logs(served: Served) -> None:
    until(lambda: "warning" in served.kubectl("logs", "program"))
    assert sorted(served.kubectl("logs", "program").splitlines()) == ["line 1", "line 2", "line 3", "warning"]
    assert served.kubectl("logs", "standin") == "a stand-in for nginx:1 answers on TCP 8080, UDP 53\n"
    assert 'previous terminated container "c"' in served.kubectl("logs", "program", "--previous", expected=1)


def test_logs_follow_until_the_container_ends(served: Served) -> None:
    counts = "for n in 1 2 3 4; do echo $n; sleep 0.2; done"
    served.pod(5, "counting", ContainerSetup("c", command=("sh", "-c", counts)))
    assert served.kubectl("logs", "-f", "counting") == "1\n2\n3\n4\n"


@contextlib.contextmanager
def forwarded(served: Served, pod: str, port: int) -> Iterator[str]:
    arguments = served.command("port-forward", f"pod/{pod}", f":{port}")
    client = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert client.stdout
        line = client.stdout.readline()
        match = re.search(r"127\.0\.0\.1:(\d+)", line)
        assert match, line
        yield f"http://127.0.0.1:{match[1]}"
    finally:
        client.kill()
        client.communicate(timeout=10)


def test_port_forward_reaches_a_stand_in(served: Served) -> None:
    with forwarded(served, "standin", 8080) as url:
        for _ in range(3):
            with urllib.request.urlopen(url, timeout=20) as answer:
                assert answer.read() == b"default/standin c 8080 TCP\n"


def test_port_forward_reaches_what_listens_on_a_pods_own_loopback(served: Served, tmp_path: Path) -> None:
    program = "import http.server as h; h.HTTPServer(('127.0.0.1', 8123), h.SimpleHTTPRequestHandler).serve_forever()"
    served.pod(6, "inner", ContainerSetup("c", command=("python3", "-c", program), directory="/etc"))
    until(lambda: "LISTEN" in served.kubectl("exec", "inner", "--", "ss", "-Htln"))
    with forwarded(served, "inner", 8123) as url, urllib.request.urlopen(f"{url}/hosts", timeout=20) as answer:
        assert answer.read() == b"127.0.0.1\tlocalhost\n"


def test_what_is_not_there(served: Served) -> None:
    create_pod(served.api, "nowhere", [{"name": "c", "image": "i"}], "here")
    said = served.kubectl("exec", "nowhere", "--", "id", expected=1)
    assert 'pod "nowhere" does not run on this node' in said
    assert "NotFound" in served.kubectl("logs", "nowhere", expected=1)
