"""A machine that lacks something a lab needs, or runs out of it: said in one line, and nothing is left or lost.

Each machine is this one with some mounts of its own, in a mount namespace that ends with the test: the rest of the
machine never sees them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.packets.labs import NOBODY, Lab, lab_of
from tests.packets.test_lab import ISOLATE, pod

pytestmark = [
    pytest.mark.packets,
    pytest.mark.timeout(180),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can change what a machine looks like"),
]
_BASE = Path("/run/gatewright/lab")
_WITHOUT_LIBNFTABLES = """
for library in $(ldconfig -p | sed -n 's/.*libnftables.* => //p'); do mount --bind /dev/null "$library"; done
"""
_PROGRAMS = ("env", "ip", "nsenter", "nft", "openssl", "setpriv", "sh", "unshare")


@contextlib.contextmanager
def machine(lab: Lab, script: str, *, without: str = "") -> Iterator[Lab]:
    """The lab on a machine where a script of mounts has run, and where PATH leads to every program but one."""
    with lab.files.joinpath("ready").open("w+") as ready:
        words = ["unshare", "--mount", "sh", "-ec", f"{script}\necho ready\nexec sleep 600"]
        holder = subprocess.Popen(words, stdout=ready)
        try:
            deadline = time.monotonic() + 20
            while not Path(ready.name).read_text():
                assert holder.poll() is None, "the machine's script failed"
                assert time.monotonic() < deadline
                time.sleep(0.01)
            enter = ("nsenter", f"--mount=/proc/{holder.pid}/ns/mnt", f"--wd={lab.files}")
            there = dataclasses.replace(lab, words=(*enter, *lab.words), environment=dict(lab.environment))
            if without:
                there.environment["PATH"] = _programs_but(lab.files / "bin", without)
            try:
                yield there
            finally:
                there.process("down")
        finally:
            holder.kill()
            holder.wait()


def _programs_but(folder: Path, without: str) -> str:
    folder.mkdir()
    for name in _PROGRAMS:
        found = shutil.which(name)
        if name != without and found:
            (folder / name).symlink_to(found)
    return str(folder)


def _refusal(lab: Lab, *arguments: str) -> str:
    """The one line by which a lab is refused that leaves nothing."""
    said = lab.error("up", "-f", str(lab.file(pod("server"))), *arguments)
    assert said.count("\n") == 1, said
    assert lab.name not in lab.run("list")
    assert not lab.directory.exists()
    return said


@pytest.mark.parametrize("network", ["enforcing", "flat"])
@pytest.mark.parametrize("user", ["root", "user"])
def test_without_nftables(user: str, network: str) -> None:
    with lab_of(user) as lab, machine(lab, _WITHOUT_LIBNFTABLES, without="nft") as there:
        started = time.monotonic()
        assert "nftables is not installed" in _refusal(there, "--network", network)
        assert time.monotonic() - started < 20, "it waited for agents that cannot run"


def test_the_library_is_enough_without_the_nft_command() -> None:
    """So the test before shows more than that a machine with mounts of its own has no labs."""
    with lab_of("root") as lab, machine(lab, "", without="nft") as there:
        there.up(pod("server") + ISOLATE)
        assert "1 NetworkPolicy enforced" in there.run("status")


@pytest.mark.parametrize("user", ["root", "user"])
def test_without_openssl(user: str) -> None:
    with lab_of(user) as lab, machine(lab, "", without="openssl") as there:
        assert "install the package openssl" in _refusal(there)


@pytest.mark.parametrize("user", ["root", "user"])
def test_a_read_only_proc_sys(user: str) -> None:
    """As in a container: root's lab has a /proc of its own; a user may not mount one that shows more, and is told."""
    script = "mount --bind /proc/sys /proc/sys; mount -o remount,bind,ro /proc/sys"
    with lab_of(user) as lab, machine(lab, script) as there:
        if user == "root":
            there.up(pod("client") + pod("server"))
            assert there.exec("client", "curl", "-gs", "--max-time", "5", f"http://{there.address('default/server')}/")
        else:
            assert "is /proc/sys read-only here?" in _refusal(there)


@pytest.mark.parametrize("user", ["root", "user"])
@pytest.mark.parametrize(
    ("size", "why"),
    [
        ("4k", " KiB left, a lab needs 8192 KiB: make room"),
        ("4m", " KiB left, a lab needs 8192 KiB: make room"),
        ("64m,nr_inodes=4", "No space left on device"),
    ],
)
def test_a_disk_that_is_full_before(user: str, size: str, why: str) -> None:
    with lab_of(user) as lab, _small_disk(lab, size) as there:
        assert why in _refusal(there)


@contextlib.contextmanager
def _small_disk(lab: Lab, size: str) -> Iterator[Lab]:
    place, owner = (_BASE, 0) if lab.base == _BASE else (lab.files / "runtime", NOBODY)
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    with machine(lab, f"mount -t tmpfs -o size={size},mode=700,uid={owner},gid={owner} none {place}") as there:
        yield there


@pytest.mark.parametrize("user", ["root", "user"])
def test_a_disk_that_fills_while_the_lab_is_up(user: str) -> None:
    """What cannot be kept is refused, what was promised holds, and with room again all goes on by itself."""
    with lab_of(user) as lab, _small_disk(lab, "48m") as there:
        there.up(pod("client") + pod("server") + ISOLATE)
        url = f"http://{there.address('default/server')}/"
        assert not there.reaches("client", url)
        inside = list(there.words[:3])
        full = there.base / "full"
        subprocess.run(
            [*inside, "dd", "if=/dev/zero", f"of={full}", "bs=1k"], stderr=subprocess.DEVNULL, check=False, timeout=60
        )
        more = there.file(ISOLATE.replace("app: server", "app: client").replace("isolate", "more"))
        said = there.error("apply", "-f", str(more))
        assert "could not be written to disk" in said
        assert said.count("\n") == 1
        if kubectl := shutil.which("kubectl"):
            words = [*inside, kubectl, "--kubeconfig", str(there.directory / "kubeconfig"), "create", "-f", str(more)]
            refused = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
            assert refused.returncode == 1
            assert "could not be written to disk" in refused.stderr
        assert not there.reaches("client", url), "a policy stopped being enforced"
        assert "default/isolate" in there.run("status")
        assert "default/more" not in there.run("status")
        subprocess.run([*inside, "rm", str(full)], check=True)
        there.run("apply", "-f", str(more))
        assert "2 NetworkPolicies enforced" in there.run("status")
        there.run("delete", "-f", str(there.file(ISOLATE)))
        there.run("wait", "--timeout", "30")
        assert there.reaches("client", url)


def test_a_kubeconfig_that_cannot_be_written_takes_the_lab_down() -> None:
    with lab_of("root") as lab:
        folder = lab.files / "read-only"
        folder.mkdir()
        with machine(lab, f"mount -t tmpfs -o ro none {folder}") as there:
            said = _refusal(there, "--kubeconfig", str(folder / "config"))
            assert f"cannot write {folder / 'config'}: Read-only file system" in said
            assert "the lab has been taken down again" in said


def test_down_removes_the_lab_though_the_kubeconfig_became_read_only() -> None:
    with lab_of("root") as lab:
        folder = lab.files / "read-only"
        folder.mkdir()
        file = folder / "config"
        with machine(lab, f"mount -t tmpfs none {folder}") as there:
            there.up(pod("server"), "--kubeconfig", str(file))
            subprocess.run([*there.words[:3], "mount", "-o", "remount,ro", str(folder)], check=True)
            said = there.error("down")
            assert f'lab "{lab.name}" is down, but its context could not be removed: cannot write {file}' in said
            assert not lab.directory.exists()
            assert "is not up" in there.run("down")


def test_manifests_that_are_refused_leave_the_kubeconfig_as_it_was() -> None:
    with lab_of("root") as lab:
        file = Path(lab.environment["KUBECONFIG"])
        file.write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "Config", "current-context": "mine"}))
        before = (file.read_text(), file.stat())
        said = lab.error("up", "-f", str(lab.file(pod("server", namespace="nowhere"))))
        assert "nowhere" in said
        assert not lab.directory.exists()
        assert (file.read_text(), file.stat()) == before
