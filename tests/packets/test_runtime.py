"""The container runtime, with real pods: what stands, what runs, what answers, and that nothing of it is left."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import socket
import struct
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeVar

import msgspec
import pytest

from gatewright.kubeapi.channels import STDERR, STDOUT
from gatewright.lab import linux, sctp
from gatewright.lab.runtime.client import Runtime, RuntimeFailure
from gatewright.lab.runtime.model import (
    COMMAND,
    DEAD,
    LOST,
    NAME_SERVER,
    NAME_SERVER_IMAGE,
    SKIPPED,
    STAND_IN,
    ContainerEvent,
    ContainerSetup,
    Mount,
    PodEvent,
    PodSetup,
    PodState,
    Port,
    Volume,
    VolumeFile,
)
from gatewright.lab.runtime.wire import CreatePod, pack
from tests.packets import runtimes
from tests.packets.netns import sctp_init
from tests.packets.runtimes import NodeOfRuntime, fetch, links_of, processes_of, runtime_of, until

pytestmark = [pytest.mark.packets, pytest.mark.timeout(60)]

T = TypeVar("T")
_numbers = itertools.count(1)
USERS = ["root", "user"]
HTTP = Port(80)
LONG = ("sleep", "600")


@pytest.fixture(scope="module", params=USERS)
def node(request: pytest.FixtureRequest) -> Iterator[NodeOfRuntime]:
    with runtime_of(request.param, serve_names) as made:
        yield made


@pytest.fixture(params=USERS)
def fresh(request: pytest.FixtureRequest) -> Iterator[NodeOfRuntime]:
    with runtime_of(request.param) as made:
        yield made


def serve_names() -> None:
    """Stands for the cluster's name server."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("0.0.0.0", 53))
        os.write(1, b"serving names\n")
        while True:
            _, sender = server.recvfrom(512)
            server.sendto(f"names by process {os.getpid()}".encode(), sender)


def new_pod(**more: object) -> PodSetup:
    number = next(_numbers)
    setup: dict[str, object] = {
        "uid": f"uid-{number}", "namespace": "default", "name": f"pod-{number}",
        "hostname": f"pod-{number}", "link": f"pod{number}",
        "addresses": (f"10.244.0.{number}", f"fd00:10:244::{number:x}"),
        "files": {"etc/hosts": "127.0.0.1\tlocalhost\n", "etc/resolv.conf": "nameserver 10.96.0.10\n"},
    }  # fmt: skip
    return PodSetup(**setup | more)  # type: ignore[arg-type]


def play(node: NodeOfRuntime, work: Callable[[Runtime], Awaitable[T]]) -> T:
    """Do something with a connection to the runtime."""

    async def main() -> T:
        runtime = await Runtime.connect(node.path)
        try:
            return await asyncio.wait_for(work(runtime), 30)
        finally:
            await runtime.close()

    return asyncio.run(main())


async def run_in(runtime: Runtime, pod: PodSetup, container: str, *command: str, stdin: bytes = b"") -> tuple[int, str]:
    """(exit code, what it printed) of a program beside a container's."""
    talk = runtime.containers.find(pod.namespace, pod.name, container).start(command, stdin=bool(stdin), terminal=False)
    try:
        if stdin:
            await talk.write(stdin)
            talk.close_input()
        text = b""
        for channel in (STDOUT, STDERR):
            while data := await talk.outputs[channel].read():
                text += data
        return await talk.wait(), text.decode()
    finally:
        talk.release()


async def event(runtime: Runtime) -> ContainerEvent | PodEvent:
    return await asyncio.wait_for(runtime.events.get(), 10)


def log_of(runtime: Runtime, pod: PodSetup, container: str, *, previous: bool = False) -> str:
    """The text of a container's log."""
    path = runtime.containers.find(pod.namespace, pod.name, container).log(previous=previous)
    return "".join(f"{line.split(' ', 3)[3]}\n" for line in path.read_text().splitlines())


async def stands(runtime: Runtime, pod: PodSetup, *containers: ContainerSetup) -> None:
    await runtime.create_pod(pod)
    for container in containers:
        await runtime.start_container(pod.uid, container)


# Stand-ins


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("kind", ["TCP", "UDP"])
def test_a_stand_in_says_who_it_is(node: NodeOfRuntime, family: int, kind: str) -> None:
    pod = new_pod()
    ports = (Port(8080), Port(53, "UDP"))
    play(node, lambda runtime: stands(runtime, pod, ContainerSetup("main", ports=ports)))
    number = 8080 if kind == "TCP" else 53
    address = pod.addresses[family == 6]
    assert node.run(lambda: fetch(address, number, family, kind)) == f"default/{pod.name} main {number} {kind}\n"
    assert node.run(lambda: fetch(address, number + 1, family, kind)) == 111  # refused


def test_a_stand_in_speaks_http_and_reads_a_request_to_its_end(node: NodeOfRuntime) -> None:
    pod = new_pod()
    play(node, lambda runtime: stands(runtime, pod, ContainerSetup("main", ports=(HTTP,))))
    body = b"x" * 8_000_000
    head = f"POST / HTTP/1.1\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    said = node.run(lambda: fetch(pod.addresses[0], 80, text=head + body))
    assert said.startswith("HTTP/1.1 200 OK\r\n")
    assert said.endswith(f"default/{pod.name} main 80 TCP\n")


def test_no_process_stands_for_a_stand_in_but_the_nodes_one(fresh: NodeOfRuntime) -> None:
    async def work(runtime: Runtime) -> None:
        pods = [new_pod() for _ in range(6)]
        await asyncio.gather(*(stands(runtime, pod, ContainerSetup("main", ports=(HTTP,))) for pod in pods))

    before = processes_of(fresh)
    play(fresh, work)
    added = list(processes_of(fresh))
    for name in before:
        added.remove(name)
    assert len(added) == 6, added
    assert before.count("lab-stand-ins") == 1


def sctp_answer(address: str, port: int) -> tuple[int, bytes]:
    """(chunk type, the rest) of what comes back for an INIT; the type is 0 when nothing does. Run on the node."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_RAW, sctp.PROTOCOL) as made:
        made.settimeout(2)
        made.connect((address, 0))
        init = sctp_init(port, os.urandom(16))
        made.send(init)
        while True:
            try:
                data = made.recv(4096)
            except OSError:
                return 0, b""
            packet = data[20:] if family == socket.AF_INET else data
            if packet[2:4] == init[:2]:
                assert packet[8:12] == sctp.checksum(packet)
                assert packet[4:8] == init[16:20]  # the verification tag is the INIT's
                return packet[12], packet[16:]


@pytest.mark.parametrize("family", [4, 6])
def test_sctp_is_answered_without_the_kernels_help(node: NodeOfRuntime, family: int) -> None:
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_STREAM, sctp.PROTOCOL):
        pytest.skip("this kernel has SCTP")
    pod = new_pod()
    first, second = (
        ContainerSetup("one", ports=(Port(7000, "SCTP"),)),
        ContainerSetup("two", ports=(Port(7001, "SCTP"),)),
    )
    play(node, lambda runtime: stands(runtime, pod, first, second))
    address = pod.addresses[family == 6]
    for port, name in ((7000, "one"), (7001, "two")):
        kind, rest = node.run(partial(sctp_answer, address, port))
        assert kind == sctp.INIT_ACK
        assert f"default/{pod.name} {name} {port} SCTP\n".encode() in rest
    assert node.run(partial(sctp_answer, address, 7002))[0] == sctp.ABORT
    play(node, lambda runtime: runtime.stop_container(pod.uid, "two", 0))
    assert node.run(partial(sctp_answer, address, 7001))[0] == sctp.ABORT
    assert node.run(partial(sctp_answer, address, 7000))[0] == sctp.INIT_ACK


def test_stand_ins_come_back_with_all_their_sockets(fresh: NodeOfRuntime) -> None:
    async def work(runtime: Runtime) -> list[PodSetup]:
        pods = [new_pod() for _ in range(3)]
        ports = (HTTP, Port(53, "UDP"), Port(99, "SCTP"))
        for pod in pods:
            await stands(runtime, pod, ContainerSetup("main", ports=ports))
        return pods

    def stand_in() -> int:
        return next(int(one) for one in os.listdir("/proc") if one.isdigit() and _name(one) == "lab-stand-ins")

    pods = play(fresh, work)
    first = fresh.run(stand_in)
    fresh.run(lambda: os.kill(first, signal.SIGKILL))
    for pod in pods:  # at once: connections wait in the sockets meanwhile
        assert fresh.run(partial(fetch, pod.addresses[0], 80)) == f"default/{pod.name} main 80 TCP\n"
        assert fresh.run(partial(fetch, pod.addresses[1], 53, 6, "UDP")) == f"default/{pod.name} main 53 UDP\n"
    assert fresh.run(stand_in) != first


def _name(process: str) -> str:
    with contextlib.suppress(OSError):
        return Path("/proc", process, "comm").read_text().strip()
    return ""


def test_a_stand_in_that_is_stopped_gives_its_ports_back(node: NodeOfRuntime) -> None:
    async def work(runtime: Runtime) -> None:
        ports = (HTTP, Port(80, "UDP"))
        await stands(runtime, pod, ContainerSetup("main", ports=ports))
        for run in (1, 2, 3):
            await runtime.stop_container(pod.uid, "main", 5)
            ended = await event(runtime)
            assert isinstance(ended, ContainerEvent)
            assert (ended.container.run, ended.container.code) == (run - 1, 0)
            state = await runtime.start_container(pod.uid, ContainerSetup("main", run=run, ports=ports))
            assert state.runs == STAND_IN

    pod = new_pod()
    play(node, work)
    assert node.run(lambda: fetch(pod.addresses[0], 80, kind="UDP")) == f"default/{pod.name} main 80 UDP\n"


def test_two_containers_cannot_have_the_same_port(node: NodeOfRuntime) -> None:
    async def work(runtime: Runtime) -> None:
        await stands(runtime, pod, ContainerSetup("one", ports=(HTTP,)))
        with pytest.raises(RuntimeFailure, match=r"container two .*TCP 80\): Address already in use"):
            await runtime.start_container(pod.uid, ContainerSetup("two", ports=(HTTP,)))
        state = next(one for one in (await pod_state(runtime, pod)).containers if one.name == "two")
        assert (state.state, state.code) == ("exited", 128)

    pod = new_pod()
    play(node, work)
    assert node.run(lambda: fetch(pod.addresses[0], 80)) == f"default/{pod.name} one 80 TCP\n"


async def pod_state(runtime: Runtime, pod: PodSetup) -> PodState:
    return next(one for one in await runtime.pods() if one.uid == pod.uid)


# Programs


def test_a_program_of_the_machine_runs_and_its_end_is_told(node: NodeOfRuntime) -> None:
    async def work(runtime: Runtime) -> None:
        command = ("sh", "-c", "echo $GREETING; echo problem >&2; pwd; exit 7")
        setup = ContainerSetup(
            "main", command=command, environment={"GREETING": "hello"}, directory="/srv/made", ports=(HTTP,)
        )
        await runtime.create_pod(pod)
        state = await runtime.start_container(pod.uid, setup)
        assert (state.runs, state.state) == (COMMAND, "running")
        ended = await event(runtime)
        assert isinstance(ended, ContainerEvent)
        assert (ended.uid, ended.container.code, ended.container.state) == (pod.uid, 7, "exited")
        assert sorted(log_of(runtime, pod, "main").splitlines()) == ["/srv/made", "hello", "problem"]
        assert next(iter((await pod_state(runtime, pod)).containers)).code == 7

    pod = new_pod()
    play(node, work)


@pytest.mark.parametrize(
    ("setup", "runs", "said"),
    [
        (ContainerSetup("c", image="x:1", command=("no-such-program",), ports=(HTTP,)), STAND_IN, "x:1"),
        (ContainerSetup("c", command=("no-such-program",), initial=True), SKIPPED, "is not on this machine"),
        (ContainerSetup("c", initial=True), SKIPPED, "no command of its own"),
        (ContainerSetup("c", command=("true",), initial=True), COMMAND, ""),
    ],
    ids=["stand-in", "init without its program", "init without command", "init"],
)
def test_what_runs(node: NodeOfRuntime, setup: ContainerSetup, runs: str, said: str) -> None:
    async def work(runtime: Runtime) -> None:
        await runtime.create_pod(pod)
        state = await runtime.start_container(pod.uid, setup)
        assert state.runs == runs
        if setup.initial:
            ended = await event(runtime)
            assert isinstance(ended, ContainerEvent)
            assert (ended.container.code, ended.container.runs) == (0, runs)
        assert said in log_of(runtime, pod, "c")

    pod = new_pod()
    play(node, work)


def test_a_program_runs_as_another_user_where_there_is_one(node: NodeOfRuntime) -> None:
    async def work(runtime: Runtime) -> None:
        script = "id -u; id -g; echo opened > /dev/stdout; exec sleep 600"
        setup = ContainerSetup("c", command=("sh", "-c", script), user=1000, group=2000)
        await stands(runtime, pod, setup, ContainerSetup("s", user=1000))
        while "opened" not in log_of(runtime, pod, "c"):
            await asyncio.sleep(0.01)
        seen = log_of(runtime, pod, "c").split()
        assert seen[:2] in (["1000", "2000"], ["0", "0"])
        assert (seen[0] == "1000") == (os.stat(node.path).st_uid == 0)
        assert await run_in(runtime, pod, "c", "id", "-u") == (0, f"{seen[0]}\n")
        assert await run_in(runtime, pod, "s", "id", "-u") == (0, f"{seen[0]}\n")

    pod = new_pod()
    before = os.stat("/dev/null").st_uid
    play(node, work)
    assert os.stat("/dev/null").st_uid == before


def test_a_program_has_its_grace_and_no_more(node: NodeOfRuntime) -> None:
    async def work(runtime: Runtime) -> None:
        polite = ContainerSetup(
            "polite", command=("sh", "-c", "trap 'exit 5' TERM; echo up; while :; do sleep 0.02; done")
        )
        stubborn = ContainerSetup(
            "stubborn", command=("sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.02; done")
        )
        await stands(runtime, pod, polite, stubborn)
        for name in ("polite", "stubborn"):
            while "up" not in log_of(runtime, pod, name):
                await asyncio.sleep(0.01)
        begun = time.monotonic()
        await asyncio.gather(*(runtime.stop_container(pod.uid, name, 0.7) for name in ("polite", "stubborn")))
        assert 0.6 < time.monotonic() - begun < 15
        codes = {one.name: one.code for one in (await pod_state(runtime, pod)).containers}
        assert codes == {"polite": 5, "stubborn": 137}
        await runtime.stop_container(pod.uid, "stubborn", 0.7)  # once more is no error

    pod = new_pod()
    play(node, work)


def test_a_slow_end_holds_nobody_up(node: NodeOfRuntime) -> None:
    async def work(runtime: Runtime) -> None:
        slow, other = new_pod(), new_pod()
        await stands(
            runtime, slow, ContainerSetup("c", command=("sh", "-c", "trap '' TERM; echo up; while :; do sleep 1; done"))
        )
        while "up" not in log_of(runtime, slow, "c"):
            await asyncio.sleep(0.01)
        stopping = asyncio.ensure_future(runtime.stop_container(slow.uid, "c", 20))
        await asyncio.sleep(0.05)
        begun = time.monotonic()
        await stands(runtime, other, ContainerSetup("c", ports=(HTTP,)))
        await runtime.remove_pod(other.uid)
        assert time.monotonic() - begun < 10
        assert not stopping.done()
        begun = time.monotonic()
        await runtime.remove_pod(slow.uid)
        await stopping
        assert time.monotonic() - begun < 10

    play(node, work)


def test_what_a_program_leaves_in_its_group_ends_with_it(node: NodeOfRuntime) -> None:
    async def work(runtime: Runtime) -> None:
        main = ContainerSetup("main", command=("sh", "-c", "sleep 601 & exec sleep 0.1"))
        await stands(runtime, pod, main, ContainerSetup("other", command=LONG))
        await event(runtime)
        _, seen = await run_in(runtime, pod, "other", "ps", "-eo", "args")
        assert "sleep 600" in seen
        assert "sleep 601" not in seen

    pod = new_pod()
    play(node, work)


def test_orphans_are_reaped(node: NodeOfRuntime) -> None:
    async def work(runtime: Runtime) -> None:
        await stands(runtime, pod, ContainerSetup("main", command=LONG))
        await run_in(runtime, pod, "main", "sh", "-c", "setsid sh -c 'sleep 0.05; exit 1' >/dev/null 2>&1 &")
        await asyncio.sleep(0.3)
        _, seen = await run_in(runtime, pod, "main", "ps", "-eo", "stat,args")
        assert "Z" not in seen.replace("STAT", ""), seen

    pod = new_pod()
    play(node, work)


def test_a_container_that_cannot_start_says_why(node: NodeOfRuntime) -> None:
    async def work(runtime: Runtime) -> None:
        await runtime.create_pod(pod)
        lost = ContainerSetup("c", command=LONG, mounts=(Mount("none", "/x"),))
        with pytest.raises(
            RuntimeFailure, match=r'cannot start container c of pod default/.*no volume "none" in the pod'
        ):
            await runtime.start_container(pod.uid, lost)
        assert 'no volume "none"' in log_of(runtime, pod, "c")
        state = next(iter((await pod_state(runtime, pod)).containers))
        assert (state.state, state.code) == ("exited", 128)

    pod = new_pod()
    play(node, work)


def test_the_log_of_the_run_before_is_kept(node: NodeOfRuntime) -> None:
    async def work(runtime: Runtime) -> None:
        await runtime.create_pod(pod)
        for run in range(3):
            await runtime.start_container(pod.uid, ContainerSetup("c", run=run, command=("echo", f"run {run}")))
            await event(runtime)
        assert log_of(runtime, pod, "c") == "run 2\n"
        assert log_of(runtime, pod, "c", previous=True) == "run 1\n"
        folder = runtime.containers.find("default", pod.name, "c").log(previous=False).parent
        assert sorted(path.name for path in folder.iterdir()) == ["1.log", "2.log"]

    pod = new_pod()
    play(node, work)


def test_the_name_server_is_the_function_that_the_runtime_was_given(node: NodeOfRuntime) -> None:
    async def work(runtime: Runtime) -> None:
        await runtime.create_pod(pod)
        setup = ContainerSetup("dns", image=NAME_SERVER_IMAGE, ports=(Port(53, "UDP"),))
        state = await runtime.start_container(pod.uid, setup)
        assert state.runs == NAME_SERVER
        while "serving names" not in log_of(runtime, pod, "dns"):
            await asyncio.sleep(0.01)
        for secret in ("environ", "maps", "fd/1", "root/etc/hosts"):
            code, _ = await run_in(runtime, pod, "dns", "sh", "-c", f"cat /proc/2/{secret}")
            assert code != 0, f"whoever is in the pod must not see what the name server knows: {secret}"

    pod = new_pod()
    play(node, work)
    assert node.run(lambda: fetch(pod.addresses[0], 53, kind="UDP")) == "names by process 2"
    play(node, lambda runtime: runtime.remove_pod(pod.uid))


# Volumes


def test_volumes_are_seen_where_they_are_mounted_and_change_at_once(node: NodeOfRuntime) -> None:
    where = "/usr/share/not-there"

    async def work(runtime: Runtime) -> None:
        files = {"a": VolumeFile(b"one"), "deep/b": VolumeFile(b"\x00\xff", 0o400)}
        mounts = (
            Mount("config", where, read_only=True),
            Mount("scratch", "/data"),
            Mount("config", "/only", "a"),
        )
        volumes = {"config": Volume(files), "scratch": Volume()}
        changed = msgspec.structs.replace(pod, volumes=volumes, mount_points=tuple(mount.path for mount in mounts))
        await runtime.create_pod(changed)
        for name, command in (("program", LONG), ("stand-in", ())):
            await runtime.start_container(pod.uid, ContainerSetup(name, command=command, mounts=mounts))
            assert await run_in(runtime, pod, name, "cat", f"{where}/a", "/only") == (0, "oneone")
            assert await run_in(runtime, pod, name, "stat", "-Lc", "%a %s", f"{where}/deep/b") == (0, "400 2\n")
            assert (await run_in(runtime, pod, name, "touch", f"{where}/new"))[0] != 0
            assert await run_in(runtime, pod, name, "sh", "-c", f"echo {name} > /data/file") == (0, "")
        assert await run_in(runtime, pod, "program", "cat", "/data/file") == (0, "stand-in\n")
        await runtime.update_volumes(pod.uid, {"config": Volume({"a": VolumeFile(b"two")})})
        assert await run_in(runtime, pod, "program", "sh", "-c", f"cat {where}/a; ls {where}") == (0, "twoa\n")

    pod = new_pod()
    play(node, work)


# What a pod cannot do


def test_a_pod_sees_neither_the_machine_nor_its_rights(node: NodeOfRuntime, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")

    async def work(runtime: Runtime) -> None:
        await stands(runtime, pod, ContainerSetup("stand-in"), ContainerSetup("program", command=LONG))
        for name in ("stand-in", "program"):
            code, seen = await run_in(
                runtime, pod, name, "sh", "-c", "ls -A /home /root; hostname; ls -A /proc | grep -c '^[0-9]'"
            )
            assert code == 0, seen
            assert pod.hostname in seen.splitlines()
            assert int(seen.split()[-1]) < 8
            for forbidden in (
                "mount -t tmpfs none /mnt", "mknod /tmp/disk b 8 0", "echo 1 > /proc/sys/kernel/printk",
                "ip link del eth0", "nsenter -t 1 -n true", f"ls {tmp_path}", "unshare -m true",
            ):  # fmt: skip
                code, _ = await run_in(runtime, pod, name, "sh", "-c", forbidden)
                assert code != 0, forbidden
            assert await run_in(runtime, pod, name, "sh", "-c", "kill -9 1; sleep 0.1; echo alive") == (0, "alive\n")
            _, links = await run_in(runtime, pod, name, "ip", "-o", "link")
            assert len(links.splitlines()) == 2

    pod = new_pod()
    play(node, work)


def test_what_a_pod_writes_stays_in_the_pod(node: NodeOfRuntime) -> None:
    async def work(runtime: Runtime) -> None:
        one, other = new_pod(), new_pod()
        for pod in (one, other):
            await stands(runtime, pod, ContainerSetup("c"))
        written = "/etc/gatewright-test /tmp/gatewright-test /var/lib/gatewright-test"
        assert (await run_in(runtime, one, "c", "touch", *written.split()))[0] == 0
        for path in written.split():
            assert (await run_in(runtime, other, "c", "test", "-e", path))[0] == 1
            assert not os.path.exists(path)

    play(node, work)


def test_a_host_network_pod_is_in_the_nodes_network(node: NodeOfRuntime) -> None:
    async def work(runtime: Runtime) -> None:
        await stands(runtime, pod, ContainerSetup("c", ports=(Port(8123), Port(7123, "SCTP"))))
        assert sorted(await links(runtime)) == sorted(links_of(node))
        for where in (host, inner):
            await runtime.remove_pod(where.uid)

    async def links(runtime: Runtime) -> list[str]:
        _, seen = await run_in(runtime, pod, "c", "sh", "-c", "ip -o link | cut -d: -f2 | cut -d@ -f1")
        return seen.split()

    pod = host = new_pod(host_network=True, link="", addresses=())
    inner = new_pod()
    play(node, lambda runtime: stands(runtime, inner, ContainerSetup("c")))
    assert links_of(node).count(inner.link) == 1
    play(node, lambda runtime: stands_and_answers(runtime, node, pod))
    play(node, lambda runtime: runtime.remove_pod(pod.uid))
    play(node, work)
    assert node.run(lambda: fetch("127.0.0.1", 8123)) == 111


async def stands_and_answers(runtime: Runtime, node: NodeOfRuntime, pod: PodSetup) -> None:
    await stands(runtime, pod, ContainerSetup("c", ports=(Port(8123),)))
    assert node.run(lambda: fetch("127.0.0.1", 8123)) == f"default/{pod.name} c 8123 TCP\n"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"sysctls": {"kernel.hostname": "x"}}, 'sysctl "kernel.hostname" is not the pod\'s own'),
        ({"sysctls": {"net.no.such": "1"}}, 'cannot set sysctl "net.no.such"'),
        ({"sysctls": {"net/../kernel/hostname": "x"}}, "is not the pod's own"),
        ({"link": "x" * 16}, "its link x"),
        ({"link": ""}, "needs a link and an address"),
        ({"addresses": ()}, "needs a link and an address"),
        ({"addresses": ("10.244.0.1000",)}, "does not appear to be"),
        ({"volumes": {"v": Volume({"../../etc/passwd": VolumeFile(b"")})}}, "leaves the volume"),
        ({"volumes": {"../v": Volume()}}, "leaves the volume"),
        ({"files": {"../etc/hosts": ""}}, "leaves the pod"),
        ({"name": "../x"}, "cannot be a name"),
    ],
)
def test_a_pod_that_cannot_be_made_leaves_nothing(node: NodeOfRuntime, change: dict[str, object], why: str) -> None:
    async def work(runtime: Runtime) -> None:
        with pytest.raises(RuntimeFailure, match=why.replace(".", r"\.")):
            await runtime.create_pod(pod)
        assert all(one.uid != pod.uid for one in await runtime.pods())
        await runtime.remove_pod(pod.uid)

    before = links_of(node)
    pod = new_pod(**change)
    play(node, work)
    until(lambda: links_of(node) == before, 3)
    assert not [path for path in node.pods.iterdir() if pod.uid in path.name]


def test_the_pods_own_sysctls(node: NodeOfRuntime) -> None:
    async def work(runtime: Runtime) -> None:
        await stands(runtime, pod, ContainerSetup("c"))
        assert await run_in(runtime, pod, "c", "cat", "/proc/sys/net/ipv4/tcp_keepalive_time") == (0, "1234\n")

    pod = new_pod(sysctls={"net.ipv4.tcp_keepalive_time": "1234"})
    play(node, work)


# Nothing is left


def mounts_of(node: NodeOfRuntime) -> int:
    return node.run(lambda: len(Path("/proc/self/mountinfo").read_text().splitlines()))


def test_nothing_is_left_of_a_pod_that_is_removed(fresh: NodeOfRuntime) -> None:
    async def work(runtime: Runtime) -> None:
        pods = [new_pod() for _ in range(5)]
        await asyncio.gather(*(
            stands(runtime, pod, ContainerSetup("s", ports=(HTTP, Port(5, "SCTP"))), ContainerSetup("p", command=LONG))
            for pod in pods
        ))  # fmt: skip
        talks = [runtime.containers.find("default", pod.name, name).start(LONG, stdin=True, terminal=terminal)
                 for pod in pods for name in ("s", "p") for terminal in (False, True)]  # fmt: skip
        while processes_of(fresh).count("sleep") < 25:
            await asyncio.sleep(0.05)
        assert len(links_of(fresh)) == 6
        begun = time.monotonic()
        await asyncio.gather(*(runtime.remove_pod(pod.uid) for pod in pods))
        assert time.monotonic() - begun < 15
        assert await asyncio.gather(*(talk.wait() for talk in talks)) == [137] * 20
        for talk in talks:
            talk.release()
        assert await runtime.pods() == []

    def opened() -> tuple[int, int]:
        counts = {name: len(os.listdir(f"/proc/{one}/fd")) for one in os.listdir("/proc") if one.isdigit()
                  if (name := _name(one)) in ("lab-runtime", "lab-stand-ins")}  # fmt: skip
        return counts["lab-runtime"], counts["lab-stand-ins"]

    before = processes_of(fresh), links_of(fresh), mounts_of(fresh), fresh.run(opened), list(fresh.pods.iterdir())
    play(fresh, work)
    after = processes_of(fresh), links_of(fresh), mounts_of(fresh), fresh.run(opened), list(fresh.pods.iterdir())
    assert after == before


def test_a_link_goes_though_somebody_holds_a_socket_of_the_pod(node: NodeOfRuntime) -> None:
    async def work(runtime: Runtime) -> None:
        await stands(runtime, pod, ContainerSetup("c", ports=(HTTP,)))
        held = await runtime.containers.connect("default", pod.name, 80)
        await runtime.remove_pod(pod.uid)
        assert pod.link not in links_of(node)
        held.close()

    pod = new_pod()
    play(node, work)


def test_a_pod_may_be_removed_while_it_is_made(node: NodeOfRuntime) -> None:
    """Mostly it is not made yet; a busy machine may have been slower to ask than to make it."""

    async def work(runtime: Runtime) -> None:
        making = asyncio.ensure_future(runtime.create_pod(pod))
        await asyncio.sleep(0)
        await runtime.remove_pod(pod.uid)
        (failure,) = await asyncio.gather(making, return_exceptions=True)
        assert str(failure or said) == said
        assert pod.uid not in {one.uid for one in await runtime.pods()}

    pod = new_pod()
    said = f"cannot start pod default/{pod.name}: it was removed meanwhile"
    play(node, work)
    assert pod.link not in links_of(node)


def test_no_two_pods_have_the_same_link(node: NodeOfRuntime) -> None:
    async def work(runtime: Runtime) -> None:
        await stands(runtime, pod, ContainerSetup("c", ports=(HTTP,)))
        other = new_pod(link=pod.link)
        with pytest.raises(
            RuntimeFailure, match=f"link {pod.link} of pod default/{other.name} is pod default/{pod.name}'s"
        ):
            await runtime.create_pod(other)
        await runtime.remove_pod(other.uid)

    pod = new_pod()
    play(node, work)
    assert node.run(lambda: fetch(pod.addresses[0], 80)) == f"default/{pod.name} c 80 TCP\n"


def test_a_sandbox_that_dies_is_told_and_removed(node: NodeOfRuntime) -> None:
    async def work(runtime: Runtime) -> None:
        await stands(runtime, pod, ContainerSetup("s", ports=(HTTP,)), ContainerSetup("p", command=LONG))
        pid = (await pod_state(runtime, pod)).pid
        node.run(lambda: os.kill(pid, signal.SIGKILL))
        events = [await event(runtime) for _ in range(3)]
        assert PodEvent(pod.uid, DEAD) in events
        codes = {one.container.name: one.container.code for one in events if isinstance(one, ContainerEvent)}
        assert codes == {"s": 137, "p": 137}
        assert (await pod_state(runtime, pod)).pid == 0
        with pytest.raises(RuntimeFailure, match="does not run on this node"):
            await runtime.start_container(pod.uid, ContainerSetup("c"))
        await runtime.remove_pod(pod.uid)

    pod = new_pod()
    play(node, work)
    assert pod.link not in links_of(node)


# Deaths


def test_a_kubelet_that_comes_back_finds_everything(node: NodeOfRuntime) -> None:
    async def before(runtime: Runtime) -> None:
        done = ContainerSetup("done", command=("sh", "-c", "sleep 0.2; exit 4"))
        await stands(runtime, pod, ContainerSetup("s", ports=(HTTP,)), ContainerSetup("p", command=LONG), done)
        runtime.containers.find("default", pod.name, "s").start(("sleep", "602"), stdin=False, terminal=False)
        await asyncio.sleep(0.1)

    async def after(runtime: Runtime) -> PodState:
        await asyncio.sleep(0.3)
        _, seen = await run_in(runtime, pod, "s", "ps", "-eo", "args")
        assert "sleep 602" not in seen, "a program ends with its client"
        assert log_of(runtime, pod, "s").startswith("a stand-in")
        return await pod_state(runtime, pod)

    pod = new_pod(labels={"app": "web"})
    play(node, before)
    state = play(node, after)
    assert (state.namespace, state.name, state.addresses, state.labels) == (
        "default",
        pod.name,
        pod.addresses,
        {"app": "web"},
    )
    assert [(one.name, one.state, one.code) for one in state.containers] == [
        ("s", "running", None), ("p", "running", None), ("done", "exited", 4),
    ]  # fmt: skip


def test_a_pod_whose_kubelet_leaves_before_it_stands_can_be_made_by_the_next(node: NodeOfRuntime) -> None:
    async def work(runtime: Runtime) -> None:
        while True:
            with contextlib.suppress(RuntimeFailure):
                await runtime.create_pod(pod)
                return
            await asyncio.sleep(0.02)

    pod = new_pod()
    with socket.socket(socket.AF_UNIX) as made:
        made.connect(str(node.path))
        made.sendall(pack(CreatePod(1, new_pod(uid=pod.uid))))  # the next gives it another link and other addresses
    play(node, work)
    assert play(node, lambda runtime: pod_state(runtime, pod)).pid
    play(node, lambda runtime: runtime.create_pod(pod))  # once more changes nothing
    with pytest.raises(RuntimeFailure, match=f"pod default/{pod.name} .* is there already"):
        play(node, lambda runtime: runtime.create_pod(new_pod(uid=pod.uid, name=pod.name)))


def test_a_runtime_that_is_killed_takes_everything_with_it(fresh: NodeOfRuntime) -> None:
    async def work(runtime: Runtime) -> None:
        escaped = ContainerSetup("e", command=("sh", "-c", "setsid sleep 603 & exec sleep 600"))
        await stands(runtime, pod, ContainerSetup("s", ports=(HTTP,)), escaped)
        await run_in(runtime, pod, "s", "sh", "-c", "setsid sleep 604 >/dev/null 2>&1 &")
        talk = runtime.containers.find("default", pod.name, "e").start(("sleep", "605"), stdin=False, terminal=False)
        while processes_of(fresh).count("sleep") < 4:
            await asyncio.sleep(0.05)
        fresh.kill_runtime()
        with pytest.raises(RuntimeFailure, match="the node's runtime has ended"):
            await talk.wait()
        talk.release()
        assert await event(runtime) == PodEvent(pod.uid, LOST)
        with pytest.raises(RuntimeFailure, match="the node's runtime is not there"):
            await runtime.create_pod(new_pod())
        until(lambda: processes_of(fresh) == empty, 5)
        until(lambda: links_of(fresh) == ["lo"], 5)
        fresh.start_runtime()
        while not runtime.connected:
            await asyncio.sleep(0.02)
        assert await runtime.pods() == []
        assert not [path for path in fresh.pods.iterdir() if not path.name.startswith(".")]
        await stands(runtime, pod, ContainerSetup("s", ports=(HTTP,)))

    pod = new_pod()
    empty = [name for name in processes_of(fresh) if name not in ("lab-runtime", "lab-stand-ins")]
    play(fresh, work)
    assert fresh.run(lambda: fetch(pod.addresses[0], 80)) == f"default/{pod.name} s 80 TCP\n"


def test_a_runtime_that_is_asked_to_end_ends_its_pods(fresh: NodeOfRuntime) -> None:
    play(fresh, lambda runtime: stands(runtime, new_pod(), ContainerSetup("c", command=LONG)))
    assert "sleep" in processes_of(fresh)
    fresh.ask("end")
    until(lambda: "sleep" not in processes_of(fresh), 5)
    until(lambda: links_of(fresh) == ["lo"], 5)
    assert not fresh.path.exists()


def test_links_that_an_older_runtime_has_left_are_removed(fresh: NodeOfRuntime) -> None:
    async def work(runtime: Runtime) -> None:
        await stands(runtime, pod, ContainerSetup("s", ports=(HTTP,)))
        held = await runtime.containers.connect("default", pod.name, 80)  # keeps the network, and so the link
        fresh.kill_runtime()
        await asyncio.sleep(0.2)
        assert pod.link in links_of(fresh)
        fresh.start_runtime()
        assert links_of(fresh) == ["lo"]
        held.close()

    pod = new_pod()
    play(fresh, work)


def test_a_client_that_speaks_nonsense_is_left(node: NodeOfRuntime) -> None:
    for data in (b"\xff" * 8, struct.pack("!I", 3) + b"abc", b"GET / HTTP/1.1\r\n\r\n"):
        with socket.socket(socket.AF_UNIX) as made:
            made.settimeout(5)
            made.connect(str(node.path))
            made.sendall(data)
            assert made.recv(10) == b""
    assert isinstance(play(node, lambda runtime: runtime.pods()), list)


def test_without_a_proc_of_its_own_a_pod_sees_the_nodes_and_cannot_write_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = linux.mount

    def refusing(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
        if kind == "proc":
            raise PermissionError(1, "Operation not permitted", target)
        real(source, target, kind, flags, data)

    async def work(runtime: Runtime) -> None:
        await stands(runtime, pod, ContainerSetup("s", ports=(HTTP,)), ContainerSetup("p", command=LONG))
        for name in ("s", "p"):
            assert await run_in(runtime, pod, name, "echo", "x") == (0, "x\n")
            assert (await run_in(runtime, pod, name, "sh", "-c", "echo 1 > /proc/sys/kernel/printk"))[0] != 0
            assert (await run_in(runtime, pod, name, "sh", "-c", "echo 0 > /proc/self/oom_score_adj"))[0] != 0
        await runtime.remove_pod(pod.uid)

    monkeypatch.setattr(linux, "mount", refusing)
    pod = new_pod()
    with runtime_of("root") as node:
        play(node, work)
        assert links_of(node) == ["lo"]


class _WithoutSix(socket.socket):
    """What a kernel without IPv6 gives."""

    def __init__(self, family: int = -1, kind: int = -1, protocol: int = -1, fileno: int | None = None) -> None:
        if family == socket.AF_INET6:
            raise OSError(97, "Address family not supported by protocol")
        super().__init__(family, kind, protocol, fileno)


def test_a_kernel_without_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(runtime: Runtime) -> None:
        ports = (HTTP, Port(53, "UDP"), Port(99, "SCTP"))
        await stands(runtime, pod, ContainerSetup("s", ports=ports))
        with await runtime.containers.connect("default", pod.name, 80):
            pass
        with pytest.raises(ConnectionRefusedError):
            await runtime.containers.connect("default", pod.name, 81)

    pod = new_pod()
    address = pod.addresses[0]
    with monkeypatch.context() as patched:
        patched.setattr(socket, "socket", _WithoutSix)
        patched.setattr(runtimes, "kernel_families", lambda: (4,))
        with runtime_of("root") as node:
            play(node, work)
            assert node.run(lambda: fetch(address, 80)) == f"default/{pod.name} s 80 TCP\n"
            assert node.run(lambda: fetch(address, 53, kind="UDP")) == f"default/{pod.name} s 53 UDP\n"
            assert node.run(lambda: sctp_answer(address, 99))[0] in (sctp.INIT_ACK, 0)
