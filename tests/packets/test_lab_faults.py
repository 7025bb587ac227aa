"""Components that are killed, a disk that is full, programs that are missing: policies hold and all comes back."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.packets.labs import NOBODY, Lab, lab_of

pytestmark = [pytest.mark.packets, pytest.mark.timeout(180)]

_KILL = "import sys; from gatewright.lab import client; client.kill(*sys.argv[1:])"


def on(node: str, name: str) -> str:
    return f"""---
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{app: {name}}}}}
spec: {{nodeName: {node}, containers: [{{name: main, image: none, ports: [{{containerPort: 80}}]}}]}}
"""


CLUSTER = (
    on("node-1", "client")
    + on("node-2", "open")
    + on("node-1", "closed")
    + """---
apiVersion: v1
kind: Service
metadata: {name: open}
spec: {clusterIP: 10.96.7.7, selector: {app: open}, ports: [{port: 80}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: closed}
spec: {podSelector: {matchLabels: {app: closed}}, policyTypes: [Ingress]}
"""
)
SERVICE = "http://10.96.7.7/"


@pytest.fixture(scope="module", params=["root", "user"])
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    with lab_of(request.param) as made:
        made.run("up", "--nodes", "2", "-f", str(made.file(CLUSTER)))
        yield made


def kill(lab: Lab, component: str) -> None:
    words = [*lab.words[:-1], _KILL, lab.name, component]
    subprocess.run(words, env=lab.environment, check=True, timeout=30)


def until(condition: Callable[[], bool], within: float = 30) -> bool:
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True


def process(lab: Lab, component: str) -> int:
    return int(next(one["pid"] for one in lab.status()["components"] if one["name"] == component))


def restarts(lab: Lab) -> dict[str, int]:
    return {pod["name"]: pod["restarts"] for pod in lab.status()["pods"]}


@contextlib.contextmanager
def attempts(lab: Lab, pod: str, url: str) -> Iterator[list[str]]:
    """The HTTP status of one connection after another while the block lasts, `000` for none."""
    loop = f"while :; do curl -s -o /dev/null -w '%{{http_code}}\\n' --max-time 0.2 {url}; sleep 0.01; done"
    words = [*lab.words, "lab", "exec", pod, "--", "sh", "-c", loop]
    environment = lab.environment | {"GATEWRIGHT_LAB": lab.name}
    found: list[str] = []
    with subprocess.Popen(
        words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as tried:
        try:
            yield found
        finally:
            tried.terminate()
            found += (tried.communicate(timeout=10)[0] or "").split()


@pytest.mark.parametrize("component", ["api", "controllers", "node-1/agent", "node-1/proxy", "node-1/kubelet"])
def test_a_killed_component_comes_back_and_nothing_else_notices(lab: Lab, component: str) -> None:
    """Under traffic: what is denied stays denied, and Services go on. No pod is started again."""
    lab.run("wait")
    before, pid = restarts(lab), process(lab, component)
    denied = f"http://{lab.address('default/closed')}/"
    with attempts(lab, "client", denied) as closed, attempts(lab, "client", SERVICE) as served:
        time.sleep(0.5)
        kill(lab, component)
        time.sleep(2.5)
    assert len(closed) >= 5
    assert set(closed) == {"000"}, "a denied connection was let through"
    assert len(served) >= 20
    assert set(served) == {"200"}, "a Service did not go on"
    assert until(lambda: process(lab, component) not in (0, pid))
    lab.run("wait")
    assert restarts(lab) == before
    assert f"{component} was started again" in lab.run("status")


def test_an_agent_that_is_killed_again_and_again_never_opens(lab: Lab) -> None:
    denied = f"http://{lab.address('default/closed')}/"
    with attempts(lab, "open", denied) as closed:
        killed = 0
        for _ in range(60):
            with contextlib.suppress(subprocess.CalledProcessError):  # not started again yet
                kill(lab, "node-1/agent")
                killed += 1
            if killed == 6:
                break
            time.sleep(0.1)
    assert killed == 6
    assert len(closed) >= 10
    assert set(closed) == {"000"}
    lab.run("wait")


def test_what_the_api_has_acknowledged_is_there_after_kills(lab: Lab) -> None:
    for number in range(5):
        names = f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: kept-{number}}}\n"
        lab.run("apply", "--no-wait", "-f", str(lab.file(names)))
        pid = process(lab, "api")
        kill(lab, "api")
        assert until(lambda gone=pid: lab.process("status").returncode == 0 and process(lab, "api") != gone)  # type: ignore[misc]
    for number in range(5):
        again = f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: kept-{number}}}\n"
        assert "unchanged" in lab.run("apply", "--no-wait", "-f", str(lab.file(again)))


def test_pods_come_back_after_their_runtime_was_killed(lab: Lab) -> None:
    lab.run("wait")
    kill(lab, "node-2/runtime")
    assert until(lambda: lab.reaches("client", SERVICE))
    lab.run("wait")
    assert not lab.reaches("client", f"http://{lab.address('default/closed')}/")


def test_the_outside_host_comes_back(lab: Lab) -> None:
    assert until(lambda: lab.reaches("client", "http://203.0.113.10/"))
    kill(lab, "outside/runtime")
    assert until(lambda: lab.reaches("client", "http://203.0.113.10/"))


def test_a_component_that_is_not_there_is_named(lab: Lab) -> None:
    words = [*lab.words[:-1], _KILL, lab.name, "node-7/agent"]
    done = subprocess.run(words, env=lab.environment, capture_output=True, text=True, check=False, timeout=30)
    assert 'the lab has no component "node-7/agent"; it has: api, ' in done.stderr


def test_a_log_is_cut_while_its_component_runs(lab: Lab) -> None:
    log = lab.directory / "logs/node-1-proxy.log"
    with log.open("ab") as file:
        file.write(b"x" * (5 << 20))
    assert until(lambda: log.stat().st_size < 1 << 20)
    assert log.with_suffix(".log.1").stat().st_size == 1 << 20


# --- a machine on which it cannot be ----------------------------------------------------------------------------------


@contextlib.contextmanager
def _small_disk(lab: Lab, size: str) -> Iterator[tuple[Lab, Path]]:
    """The user's lab, on a disk of its own that only its processes see; and that disk."""
    place = lab.base.parents[1]
    tmpfs = f"mount -t tmpfs -o size={size},uid={NOBODY},gid={NOBODY},mode=0700 none {place} && echo && exec sleep 300"
    words = ["unshare", "-m", "--propagation", "private", "sh", "-c", tmpfs]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline(), "the tmpfs was not mounted"
            inside = ("nsenter", "-m", "-t", str(holder.pid), *lab.words)
            yield replace(lab, words=inside), Path(f"/proc/{holder.pid}/root{place}")
        finally:
            lab.__class__.process(replace(lab, words=("nsenter", "-m", "-t", str(holder.pid), *lab.words)), "down")
            holder.kill()


def _fill(disk: Path) -> Path:
    """A file that takes all the room there is."""
    path = disk / "filler"
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    return path


@pytest.mark.skipif(os.geteuid() != 0, reason="not root")
def test_a_lab_on_a_full_disk_says_so_and_leaves_nothing() -> None:
    with lab_of("user") as plain, _small_disk(plain, "16m") as (lab, disk):
        (disk / "gatewright/lab").mkdir(parents=True, mode=0o700)
        for one in (disk / "gatewright", disk / "gatewright/lab"):
            os.chown(one, NOBODY, NOBODY)
        filler = _fill(disk)
        error = lab.error("up", "-f", str(lab.file(CLUSTER)))
        assert "make room" in error
        assert error.count("\n") == 1
        assert list((disk / "gatewright/lab").iterdir()) == []
        filler.unlink()
        assert "is up" in lab.run("up", "--nodes", "2", "-f", str(lab.file(CLUSTER)))


@pytest.mark.skipif(os.geteuid() != 0, reason="not root")
def test_a_disk_that_fills_up_refuses_writes_and_the_lab_recovers() -> None:
    """What is acknowledged is kept, what is refused says why, and policies go on meanwhile."""
    with lab_of("user") as plain, _small_disk(plain, "16m") as (lab, disk):
        lab.run("up", "--nodes", "2", "-f", str(lab.file(CLUSTER)))
        denied = f"http://{lab.address('default/closed')}/"
        filler = _fill(disk)
        large = f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: big}}\ndata: {{a: {'x' * 200_000}}}\n"
        error = lab.error("apply", "--no-wait", "-f", str(lab.file(large)))
        assert "space" in error
        assert error.count("\n") == 1
        assert not lab.reaches("client", denied)
        assert lab.reaches("client", SERVICE)
        filler.unlink()
        assert until(lambda: lab.process("apply", "-f", str(lab.file(large))).returncode == 0)
        assert not lab.reaches("client", denied)


@pytest.fixture
def without(tmp_path: Path) -> Callable[[Lab, str], Lab]:
    """The lab with one program fewer to find on the machine."""

    def hide(lab: Lab, program: str) -> Lab:
        found: dict[str, Path] = {}
        for folder in reversed(lab.environment["PATH"].split(os.pathsep)):
            if Path(folder).is_dir():
                found |= {one.name: one for one in Path(folder).iterdir()}
        for name, path in found.items():
            if name != program:
                (tmp_path / name).symlink_to(path)
        return replace(lab, environment=lab.environment | {"PATH": str(tmp_path)})

    return hide


def test_without_openssl_one_line_says_what_to_install(without: Callable[[Lab, str], Lab]) -> None:
    with lab_of("root") as lab:
        error = without(lab, "openssl").error("up", "-f", str(lab.file(CLUSTER)))
        assert (
            error == "gatewright: the lab needs the program openssl for its certificates; install the package openssl\n"
        )
        assert not lab.directory.exists()


@pytest.mark.parametrize("network", ["enforcing", "flat"])
def test_without_nftables_one_line_says_what_to_install(without: Callable[[Lab, str], Lab], network: str) -> None:
    """Neither the command nor the library; also a flat lab needs them, for its service proxies."""
    missing = "import gatewright.kernel.nft as nft; nft.LIBRARY = 'libnftables-is-not-here.so'; "
    with lab_of("root") as lab:
        bare = replace(lab, words=(*lab.words[:-1], missing + lab.words[-1]))
        error = without(bare, "nft").error("up", "--network", network, "-f", str(lab.file(CLUSTER)))
        assert error.startswith("gatewright: nftables is not installed")
        assert error.count("\n") == 1
        assert not lab.directory.exists()


def test_a_kubeconfig_that_cannot_be_written_leaves_no_lab() -> None:
    with lab_of("root") as lab:
        file = lab.files / "kubeconfig"
        file.write_text("[1]\n")
        assert "mend it" in lab.error("up", "-f", str(lab.file(CLUSTER.replace("node-2", "node-1"))))
        assert file.read_text() == "[1]\n"
        assert not lab.directory.exists()


def test_objects_that_are_refused_leave_no_lab_and_no_context() -> None:
    with lab_of("root") as lab:
        file = lab.files / "kubeconfig"
        refused = (
            "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {clusterIP: 1.2.3.4, ports: [{port: 80}]}\n"
        )
        lab.error("up", "-f", str(lab.file(refused)))
        assert not file.exists()
        assert not lab.directory.exists()


def test_the_context_of_a_killed_lab_goes_when_it_comes_up_elsewhere() -> None:
    with lab_of("root") as lab:
        lab.run("up", "--nodes", "2", "-f", str(lab.file(CLUSTER)))
        first = lab.files / "kubeconfig"
        os.kill(lab.pid, 9)
        assert until(lambda: "killed" in lab.run("list"))
        lab.run("up", "--kubeconfig", str(lab.files / "second"))
        assert f"gatewright-{lab.name}" not in first.read_text()
        assert f"gatewright-{lab.name}" in (lab.files / "second").read_text()
        shutil.copy(lab.files / "second", lab.files / "kept")
        lab.run("down")
        assert f"gatewright-{lab.name}" not in (lab.files / "second").read_text()
