"""No pod reaches the machine: its network, files, processes and devices, and no other user reaches the lab."""

from __future__ import annotations

import json
import os
import shutil
import socket
import stat
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.packets.labs import NOBODY, Lab, lab_of

pytestmark = [pytest.mark.packets, pytest.mark.timeout(120)]

PODS = """---
apiVersion: v1
kind: Pod
metadata: {name: plain}
spec: {containers: [{name: main, image: none, ports: [{containerPort: 80}]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: host}
spec: {hostNetwork: true, containers: [{name: main, image: none, ports: [{containerPort: 8181}]}]}
"""
EVERYWHERE = pytest.mark.parametrize("pod", ["plain", "host", "outside"])


@pytest.fixture(scope="module", params=["root", "user"])
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    with lab_of(request.param) as made:
        made.up(PODS)
        yield made


@dataclass(frozen=True)
class Listener:
    """A port of the machine's loopback, and who has come to it."""

    port: int
    visitors: list[object]


@pytest.fixture
def listener() -> Iterator[Listener]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        found = Listener(server.getsockname()[1], [])

        def serve() -> None:
            while True:
                try:
                    connection, address = server.accept()
                except OSError:
                    return
                found.visitors.append(address)
                connection.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield found
        server.shutdown(socket.SHUT_RDWR)
        thread.join(timeout=5)


def _server(lab: Lab) -> str:
    return str(json.loads(lab.run("kubeconfig"))["clusters"][0]["cluster"]["server"])


@EVERYWHERE
def test_the_machines_loopback_is_not_reached(lab: Lab, pod: str, listener: Listener) -> None:
    with socket.create_connection(("127.0.0.1", listener.port)):
        pass
    for address in ("127.0.0.1", "0.0.0.0", "169.254.1.1", "172.31.255.1"):
        assert not lab.reaches(pod, f"http://{address}:{listener.port}/")
    port = _server(lab).rpartition(":")[2]
    assert lab.process("exec", pod, "--", "curl", "-ks", "--max-time", "1", f"https://127.0.0.1:{port}/").returncode
    assert len(listener.visitors) == 1, "somebody other than the test itself came"


@EVERYWHERE
def test_the_machines_links_and_routes_are_not_seen(lab: Lab, pod: str) -> None:
    own = {one["ifname"]: one.get("address") for one in json.loads(_of_the_machine("ip", "-j", "link"))}
    seen = lab.exec(pod, "cat", "/proc/net/dev")
    addresses = lab.exec(pod, "ip", "-j", "link")
    assert "lo:" in seen
    for name, address in own.items():
        if name != "lo" and address:
            assert address not in addresses, f"link {name} of the machine"


def _of_the_machine(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


@EVERYWHERE
def test_the_machines_files_are_not_seen(lab: Lab, pod: str) -> None:
    places = [str(lab.directory), str(lab.files), "/run/docker.sock", "/var/run/docker.sock", "/run/containerd"]
    homes = [str(Path.home()), "/root", "/home"]
    mark = lab.files / "mark"
    mark.write_text("seen")
    assert lab.exec(pod, "sh", "-c", "echo here") == "here\n"
    for place in [*places, str(mark)]:
        assert lab.process("exec", pod, "--", "test", "-e", place).returncode == 1, place
    for home in homes:
        inside = lab.exec(pod, "sh", "-c", f"ls -A {home} 2>/dev/null; true").split()
        assert inside == [], f"{home}: {inside}"
    token = json.loads(lab.run("kubeconfig"))["users"][0]["user"]["token"]
    search = f"grep -rlsF {token} /run /tmp /etc /var /home /root 2>/dev/null; true"
    assert lab.exec(pod, "sh", "-c", search) == "", "the token of the lab's administrator"
    assert lab.exec(pod, "sh", "-c", "find / -xdev -name ca.key 2>/dev/null; true") == ""


@EVERYWHERE
def test_only_the_pods_own_processes_are_seen(lab: Lab, pod: str) -> None:
    """Neither the machine's nor the lab's: nothing to read in /proc, and nothing to trace or kill."""
    seen = lab.exec(pod, "sh", "-c", "cat /proc/[0-9]*/comm").split()
    assert not {"lab-api", "gatewright-lab", "lab-kubelet", "lab-agent", "lab-proxy", "pytest"} & set(seen), seen
    environments = lab.exec(pod, "sh", "-c", "cat /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n'; true")
    assert "GATEWRIGHT_LAB=" not in environments


@EVERYWHERE
def test_nothing_can_be_mounted_and_no_device_is_there(lab: Lab, pod: str) -> None:
    devices = set(lab.exec(pod, "ls", "/dev").split())
    assert "null" in devices
    assert not {one for one in devices if one.startswith(("sd", "vd", "nvme", "loop", "mem", "kmem", "kvm", "dm-"))}
    for words in (
        ("mount", "-t", "tmpfs", "none", "/mnt"),
        ("mount", "--bind", "/proc/1/root", "/mnt"),
        ("mknod", "/tmp/disk", "b", "8", "0"),
        ("umount", "/proc"),
    ):
        assert lab.process("exec", pod, "--", *words).returncode, words
    root = lab.exec(pod, "sh", "-c", "ls -di /proc/1/root/ / | awk '{print $1}' | sort -u | wc -l; true")
    assert root.strip() in ("1", "0")


@EVERYWHERE
def test_the_machines_settings_cannot_be_written(lab: Lab, pod: str) -> None:
    for path in ("/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/sys/kernel/uevent_helper"):
        assert lab.process("exec", pod, "--", "sh", "-c", f"echo x > {path}").returncode, path
    assert Path("/proc/sys/kernel/core_pattern").read_text() != "x\n"


@EVERYWHERE
def test_what_a_pod_writes_stays_in_the_pod(lab: Lab, pod: str) -> None:
    """Even where it is root of the machine's user: its directories are copies."""
    lab.process("exec", pod, "--", "sh", "-c", "echo x > /usr/bin/gatewright-mark; echo x > /etc/gatewright-mark")
    assert not Path("/usr/bin/gatewright-mark").exists()
    assert not Path("/etc/gatewright-mark").exists()


@EVERYWHERE
def test_passwords_and_keys_of_the_machine_are_not_read(lab: Lab, pod: str) -> None:
    assert lab.exec(pod, "cat", "/etc/passwd")
    secrets = "/etc/shadow /etc/gshadow /etc/sudoers /etc/ssh/ssh_host_*_key /etc/ssl/private/* /etc/kubernetes/*"
    assert lab.exec(pod, "sh", "-c", f"cat {secrets} 2>/dev/null; true") == ""
    assert lab.process("exec", pod, "--", "umount", "/etc/shadow").returncode


# --- from the machine's side ------------------------------------------------------------------------------------------


def test_what_is_secret_is_the_owners_alone(lab: Lab) -> None:
    """The directories keep everybody else out; the keys do so by themselves, too."""
    owner = 0 if lab.base == Path("/run/gatewright/lab") else NOBODY if os.geteuid() == 0 else os.geteuid()
    for directory in (lab.base, lab.directory, lab.directory / "api"):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700, directory
        assert directory.stat().st_uid == owner
    secrets = [lab.directory / "kubeconfig", lab.directory / "internal.kubeconfig", lab.directory / "control"]
    secrets += [one for one in lab.directory.rglob("*") if one.suffix in (".key", ".sock") or "token" in one.name]
    assert any(one.name == "ca.key" for one in secrets)
    for path in secrets:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


@pytest.mark.skipif(os.geteuid() != 0, reason="not root")
def test_another_user_gets_nowhere(lab: Lab) -> None:
    other = ("setpriv", "--reuid=65533", "--regid=65533", "--clear-groups", "--")
    for name in ("kubeconfig", "internal.kubeconfig", "control", "api/ca.key"):
        done = subprocess.run([*other, "cat", str(lab.directory / name)], capture_output=True, text=True, check=False)
        assert done.returncode
        assert "Permission denied" in done.stderr
    for header in ((), ("-H", "Authorization: Bearer wrong")):
        words = [*other, "curl", "-ks", "--max-time", "5", *header, f"{_server(lab)}/api/v1/secrets"]
        answer = json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
        assert (answer["kind"], answer["code"]) in {("Status", 401), ("Status", 403)}


def test_kubectl_works_with_the_kubeconfig(lab: Lab) -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    words = ["kubectl", "--kubeconfig", str(lab.directory / "kubeconfig"), "get", "pods", "-o", "name"]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.split() == ["pod/host", "pod/plain"]
