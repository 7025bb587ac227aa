"""The runtime's parts one at a time: its words, what it runs, its logs, its loop, the program that waits."""

from __future__ import annotations

import os
import platform
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewright.lab.errors import LabError
from gatewright.lab.runtime import inside, pause, wire
from gatewright.lab.runtime.loop import Loop
from gatewright.lab.runtime.model import (
    COMMAND,
    SKIPPED,
    STAND_IN,
    ContainerEvent,
    ContainerSetup,
    ContainerState,
    Mount,
    PodEvent,
    PodSetup,
    PodState,
    Port,
    Volume,
    VolumeFile,
)
from gatewright.lab.runtime.output import TOO_SLOW, Joined, Output
from gatewright.lab.runtime.places import log_file, pod_folder
from gatewright.lab.runtime.standin import answer
from gatewright.lab.runtime.wire import RuntimeFailure, Unpacker, pack

STATE = ContainerState("c", 1, "exited", COMMAND, 1.5, "note", pid=7, code=3, finished=2.5)
POD = PodSetup(
    "uid", "default", "web", "web", addresses=("10.244.0.1",), link="pod1", files={"etc/hosts": "x"},
    volumes={"v": Volume({"a": VolumeFile(b"\xff", 0o400)}), "e": Volume()}, labels={"app": "web"},
)  # fmt: skip
CONTAINER = ContainerSetup(
    "c", 2, "image:1", ("sh",), ("-c", "x"), {"A": "1"}, "/srv", (Port(80), Port(5, "SCTP", "s")), (Mount("v", "/v"),)
)
REQUESTS: list[wire.Request] = [
    wire.CreatePod(1, POD),
    wire.StartContainer(2, "uid", CONTAINER),
    wire.StopContainer(3, "uid", "c", 1.5),
    wire.RemovePod(4, "uid"),
    wire.UpdateVolumes(5, "uid", POD.volumes),
    wire.ListPods(6),
    wire.Execute(7, "uid", "c", ("sh", "-c"), True, False),
    wire.Attach(8, "uid", "c", True),
    wire.Release(7),
    wire.Connect(9, "uid", 6),
]
ANSWERS: list[wire.Answer] = [
    wire.Done(1, 2, STATE),
    wire.Failed(2, "why"),
    wire.Pods(3, (PodState("uid", "default", "web", 5, False, "pod1", ("10.244.0.1",), {}, (STATE,)),), "/folder"),
    wire.Removed("uid"),
    wire.Ended(4, 137, ""),
    ContainerEvent("uid", STATE),
    PodEvent("uid", "dead"),
]


@given(st.integers(1, 50))
def test_messages_may_come_in_any_pieces(size: int) -> None:
    for messages, unpack in ((REQUESTS, Unpacker().requests), (ANSWERS, Unpacker().answers)):
        data = b"".join(pack(message) for message in messages)
        pieces = [data[begin : begin + size] for begin in range(0, len(data), size)]
        assert [message for piece in pieces for message in unpack(piece)] == messages


@pytest.mark.parametrize(
    "data", [b"\xff\xff\xff\xff", b"\0\0\0\1x", b"\0\0\0\0", pack(wire.ListPods(1))[:4] + b"\xc0" * 40]
)
def test_what_is_no_message_is_refused(data: bytes) -> None:
    with pytest.raises(RuntimeFailure, match="message"):
        list(Unpacker().requests(data))


def test_an_answer_is_no_request() -> None:
    with pytest.raises(RuntimeFailure, match="cannot be read"):
        list(Unpacker().requests(pack(wire.Removed("x"))))


@pytest.mark.parametrize(
    ("container", "runs"),
    [
        (ContainerSetup("c", command=("sh", "-c"), arguments=("true",)), COMMAND),
        (ContainerSetup("c", command=("/bin/sh",)), COMMAND),
        (ContainerSetup("c", command=("no-such-program",)), STAND_IN),
        (ContainerSetup("c", command=("/etc/passwd",)), STAND_IN),
        (ContainerSetup("c"), STAND_IN),
        (ContainerSetup("c", arguments=("x",)), STAND_IN),
        (ContainerSetup("c", command=("no-such-program",), initial=True), SKIPPED),
        (ContainerSetup("c", initial=True), SKIPPED),
        (ContainerSetup("c", command=("true",), initial=True), COMMAND),
    ],
)
def test_what_runs(container: ContainerSetup, runs: str) -> None:
    found, arguments, note = inside.choose(container, {"PATH": os.environ["PATH"]})
    assert found == runs
    assert arguments == ((*container.command, *container.arguments) if runs == COMMAND else ())
    assert bool(note) == (runs != COMMAND and bool(container.command or container.arguments or container.initial))


def test_the_environment_has_the_runtimes_defaults_first() -> None:
    values = inside.environment({"HOME": "/home/x", "A": "1"}, "host")
    assert (values["HOME"], values["A"], values["HOSTNAME"]) == ("/home/x", "1", "host")
    assert "/usr/bin" in values["PATH"].split(":")


@pytest.mark.parametrize("name", ["..", ".", "", "a/b", "/x", "a\0b"])
def test_names_cannot_leave_the_folder_of_the_logs(name: str) -> None:
    for place in range(3):
        names = ["default", "web", "uid"]
        names[place] = name
        with pytest.raises(LabError, match="cannot be a name"):
            pod_folder(Path("/pods"), *names)
    with pytest.raises(LabError, match="cannot be a name"):
        log_file(Path("/pods/x"), name, 1)
    assert log_file(pod_folder(Path("/pods"), "default", "web", "uid"), "c", 3) == Path("/pods/default_web_uid/c/3.log")


@pytest.mark.parametrize(
    ("heard", "said"),
    [
        (b"", b"me\n"),
        (b"hello", b"me\n"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n", None),
        (b"HEAD / HTTP/1.1\r\n\r\n", b"Content-Length: 3\r\nConnection: close\r\n\r\n"),
        (b"GET / HTTP/1.1\r\n\r\n", b"\r\n\r\nme\n"),
        (b"GET /" + b"x" * 70_000, b"\r\n\r\nme\n"),
    ],
    ids=["silence", "no HTTP", "half a request", "HEAD", "GET", "a request without end"],
)
def test_the_stand_in_says_who_it_is(heard: bytes, said: bytes | None) -> None:
    found = answer(b"me\n", heard)
    assert found is said if said is None else found is not None and found.endswith(said)


# The loop; it is the main thread's, and this is one


@pytest.fixture
def loop() -> Iterator[Loop]:
    before = signal.getsignal(signal.SIGCHLD)
    yield Loop()
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, before)


def test_times_come_in_their_order_and_a_cancelled_one_does_not(loop: Loop) -> None:
    seen: list[str] = []
    loop.after(0.02, lambda: seen.append("late"))
    loop.after(0.03, loop.stop)
    loop.after(0.01, lambda: seen.append("never")).cancel()
    loop.after(0.0, lambda: seen.append("soon"))
    loop.run()
    assert seen == ["soon", "late"]


def test_children_are_reaped_with_their_codes_and_strangers_too(loop: Loop) -> None:
    codes: dict[str, int] = {}

    def ended(name: str, code: int) -> None:
        codes[name] = code
        if len(codes) == 2:
            loop.stop()

    stranger = subprocess.Popen([sys.executable, "-c", ""])
    for name, command in {"three": "exit 3", "killed": "kill -9 $$"}.items():
        pid = os.posix_spawn("/bin/sh", ["sh", "-c", command], dict(os.environ))
        loop.expect(pid, lambda code, name=name: ended(name, code), group=False)  # type: ignore[misc]
    loop.run()
    assert codes == {"three": 3, "killed": 137}
    stranger.wait()


def test_one_mistake_does_not_end_the_loop(loop: Loop, capsys: pytest.CaptureFixture[str]) -> None:
    near, far = socket.socketpair()
    seen: list[str] = []

    def broken() -> None:
        seen.append("called")
        raise ValueError("a mistake about one pod")

    with near, far:
        loop.watch(near.fileno(), broken)
        far.send(b"x")
        loop.after(0.0, lambda: 1 // 0)
        loop.after(0.05, loop.stop)
        loop.run()
    assert seen == ["called"], "what fails is watched no more, or it would fail for ever"
    said = capsys.readouterr().err
    assert "a mistake about one pod" in said
    assert "ZeroDivisionError" in said


# Output


def test_output_is_written_down_and_passed_on(loop: Loop, tmp_path: Path) -> None:
    output = Output(loop, tmp_path / "log")
    reader, writer = os.pipe()
    output.add("stdout", reader)
    left: list[str] = []
    joined = Joined(("stdout",), left.append)
    output.join(joined)
    os.write(writer, b"hello\n")
    loop.after(0.02, loop.stop)
    loop.run()
    assert os.read(joined.readers[0], 100) == b"hello\n"
    os.write(writer, b"last")
    output.end()
    assert [line.split(" ", 2)[2] for line in (tmp_path / "log").read_text().splitlines()] == ["F hello", "P last"]
    assert os.read(joined.readers[0], 100) == b"last"
    assert os.read(joined.readers[0], 100) == b""
    assert left == [""]
    os.close(writer)
    os.close(joined.readers[0])


def test_who_reads_too_slowly_is_cut_off_and_nobody_waits(loop: Loop, tmp_path: Path) -> None:
    output = Output(loop, tmp_path / "log")
    reader, writer = os.pipe()
    output.add("stdout", reader)
    left: list[str] = []
    joined = Joined(("stdout",), left.append)
    output.join(joined)
    os.set_blocking(writer, False)
    for _ in range(100):
        while select.select([], [writer], [], 0)[1]:
            try:
                os.write(writer, b"x" * 4095 + b"\n")
            except BlockingIOError:
                break
        loop.after(0.0, loop.stop)
        loop.run()
        loop._stopped = False
        if left:
            break
    assert left == [TOO_SLOW]
    output.end()
    os.close(writer)
    os.close(joined.readers[0])


# The program that waits


def test_the_program_that_waits_waits_and_is_small() -> None:
    if platform.machine() not in ("x86_64", "aarch64"):
        pytest.skip("here it is sleep")
    descriptor = pause.prepared()
    pid = os.fork()
    if pid == 0:
        pause.wait(descriptor, os.defpath)
    try:
        for _ in range(500):
            if "pause" in Path(f"/proc/{pid}/cmdline").read_text():
                break
            select.select([], [], [], 0.01)
        assert os.waitpid(pid, os.WNOHANG) == (0, 0)
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        held = next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
        assert held <= 64
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(descriptor)


def test_another_machine_has_sleep() -> None:
    assert pause.program("s390x") is None
    for machine in ("x86_64", "aarch64"):
        made = pause.program(machine)
        assert made is not None
        assert made.startswith(b"\x7fELF\x02\x01\x01")
        assert len(made) < 200


def test_setups_cross_the_socket_as_they_are() -> None:
    for one in (POD, CONTAINER):
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(one), type=type(one)) == one
