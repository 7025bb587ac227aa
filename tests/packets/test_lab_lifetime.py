"""A lab leaves nothing behind, however it ends, and starts only once."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

import pytest

from gatewright.lab.directory import start_time
from tests.packets.labs import Lab, lab_of
from tests.packets.test_lab import CLUSTER, ISOLATE

pytestmark = [pytest.mark.packets, pytest.mark.timeout(120)]


def _lines(*words: str) -> set[str]:
    return set(subprocess.run(words, capture_output=True, text=True, check=False).stdout.splitlines())


def _namespaces() -> dict[str, set[int]]:
    """Namespace (`net:[...]`) to the processes in it."""
    found: dict[str, set[int]] = {}
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            for kind in ("net", "mnt", "pid", "user", "uts", "ipc"):
                try:
                    found.setdefault(os.readlink(process / "ns" / kind), set()).add(int(process.name))
                except OSError:
                    continue
    return found


def _machine() -> dict[str, set[str]]:
    """What a lab could have changed in the machine's own namespaces."""
    return {
        "links": _lines("ip", "-o", "link", "show"),
        "named namespaces": _lines("ip", "netns", "list"),
        "tables": _lines("nft", "list", "tables"),
        "mounts": set(Path("/proc/self/mounts").read_text().splitlines()),
    }


def _gone(processes: set[int], within: float = 5) -> bool:
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        if not any(Path(f"/proc/{pid}").exists() for pid in processes):
            return True
        time.sleep(0.02)
    return False


def _now() -> int:
    """In clock ticks since boot, as processes' start times are."""
    return int(float(Path("/proc/uptime").read_text().split()[0]) * os.sysconf("SC_CLK_TCK"))


def _inhabited(namespaces: Iterable[str], before: int) -> set[str]:
    """Those that hold a process from before a moment: the kernel gives a dead namespace's number to the next one."""
    return {
        name
        for name, pids in _namespaces().items()
        if name in set(namespaces) and any((start_time(pid) or before) < before for pid in pids)
    }


def _own_namespaces(lab: Lab) -> dict[str, set[int]]:
    """The namespaces that only this lab's processes are in: those below its first process."""
    family = {lab.pid}
    parents = {}
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                parents[int(process.name)] = int((process / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    while grown := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= grown
    return {name: pids for name, pids in _namespaces().items() if pids <= family}


@pytest.mark.parametrize("user", ["root", "user"])
def test_down_leaves_nothing(user: str) -> None:
    with lab_of(user) as lab:
        before = _machine()
        lab.up(CLUSTER + ISOLATE)
        assert _machine() == before, "the machine's own namespaces were touched while the lab was up"
        inside = _own_namespaces(lab)
        assert len([name for name in inside if name.startswith("net:")]) >= 5, "a namespace for each pod and the node"
        end = _now()
        lab.run("down")
        assert _gone(set().union(*inside.values()))
        assert not _inhabited(inside, end)
        assert not lab.directory.exists()
        assert _machine() == before
        assert "is not up" in lab.run("down")


@pytest.mark.parametrize("user", ["root", "user"])
def test_a_killed_lab_leaves_nothing_and_starts_again(user: str) -> None:
    """Its pods are stopped first, so that none can leave by itself: the kernel must end them."""
    with lab_of(user) as lab:
        before = _machine()
        lab.up(CLUSTER)
        inside = _own_namespaces(lab)
        for pid in set().union(*inside.values()) - {lab.pid}:
            os.kill(pid, signal.SIGSTOP)
        end = _now()
        os.kill(lab.pid, signal.SIGKILL)
        assert _gone(set().union(*inside.values()))
        assert not _inhabited(inside, end)
        assert _machine() == before
        assert "was killed" in lab.error("status")
        assert re.search(rf"^{lab.name}\b.*killed$", lab.run("list"), re.MULTILINE)
        assert "is up" in lab.up(CLUSTER)
        assert lab.reaches("client", "http://server:8000/")


def test_a_lab_whose_directory_is_removed_ends() -> None:
    with lab_of("root") as lab:
        lab.up(CLUSTER)
        inside = _own_namespaces(lab)
        shutil.rmtree(lab.directory)
        assert _gone(set().union(*inside.values()), within=15)


def test_a_second_up_is_refused_and_harms_nothing() -> None:
    with lab_of("root") as lab:
        lab.up(CLUSTER)
        pid = lab.pid
        assert "is up already" in lab.error("up", "-f", str(lab.file(CLUSTER)))
        assert lab.pid == pid
        assert lab.reaches("client", "http://server:8000/")


def test_of_two_at_the_same_time_one_wins() -> None:
    with lab_of("root") as lab:
        words = [*lab.words, "lab", "up", "-f", str(lab.file(CLUSTER))]
        environment = lab.environment | {"GATEWRIGHT_LAB": lab.name}
        racers = [subprocess.Popen(words, env=environment, stderr=subprocess.PIPE, text=True) for _ in range(3)]
        errors = [racer.communicate(timeout=60)[1] for racer in racers]
        codes = sorted(racer.returncode for racer in racers)
        assert codes == [0, 2, 2], errors
        assert all("up already" in error or "another process" in error for error in errors if error)
        assert lab.reaches("client", "http://server:8000/")


@pytest.mark.parametrize("after", [0.15, 0.3, 0.45])
def test_an_interrupted_up_leaves_nothing(after: float) -> None:
    """Interrupted before it answers, no lab stays; interrupted while it waits for pods, a whole one stays."""
    with lab_of("root") as lab:
        words = [*lab.words, "lab", "up", "-f", str(lab.file(CLUSTER))]
        environment = lab.environment | {"GATEWRIGHT_LAB": lab.name}
        with subprocess.Popen(words, env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as up:
            time.sleep(after)
            up.send_signal(signal.SIGINT)
            up.wait(timeout=30)
        listed = lab.run("list")
        if lab.name in listed:
            lab.run("status")
            lab.run("down")
        command = f"lab up -f {words[-1]}".encode().replace(b" ", b"\0")
        deadline = time.monotonic() + 5
        while _processes_with(command) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert _processes_with(command) == []


def _processes_with(command: bytes) -> list[str]:
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                if command in (process / "cmdline").read_bytes():
                    found.append(process.name)
            except OSError:
                continue
    return found


def test_a_lab_that_cannot_start_leaves_nothing() -> None:
    with lab_of("root") as lab:
        error = lab.error("up", "-f", str(lab.file(CLUSTER.replace("{name: client,", "{name: client, namespace: x,"))))
        assert "namespace" in error
        assert not lab.directory.exists()


def test_where_namespaces_are_forbidden_one_line_says_what_to_allow() -> None:
    """In a user namespace that allows no others, without any capability: what a locked down machine looks like."""
    with lab_of("user") as lab:
        limit = "echo 0 > /proc/sys/user/max_user_namespaces"
        drop = "exec setpriv --bounding-set -all --inh-caps -all --no-new-privs --"
        python = shlex.join([*lab.words[-3:], "lab", "up", "-f", str(lab.file(CLUSTER))])
        words = [*lab.words[:-3], "unshare", "-Ur", "sh", "-c", f"{limit}; {drop} {python}"]
        done = subprocess.run(words, env=lab.environment, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 2
        assert done.stderr.startswith("gatewright: no permission to make namespaces: run as root, or allow")
        assert done.stderr.count("\n") == 1
        assert list(lab.base.iterdir()) == []


@pytest.mark.parametrize("name", ["../x", "a/b", "", "A", "x" * 41])
def test_a_name_cannot_leave_the_directory(name: str) -> None:
    with lab_of("root") as lab:
        assert "lab name" in lab.error("down", "--name", name)
