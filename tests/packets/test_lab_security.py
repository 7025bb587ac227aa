"""What runs in a lab reaches nothing of the machine that carries it, and a lab's secrets are its user's alone.

One program does the looking: it runs in an ordinary pod, in a pod on the network of its node and on the outside host,
tries everything it is told, and says what it got.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import secrets
import shutil
import socket
import ssl
import stat
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.packets.labs import Lab, lab_of
from tests.packets.test_lab import pod

pytestmark = [pytest.mark.packets, pytest.mark.timeout(180)]

PLACES = ("pod", "host", "outside")
_SLEEP = ", command: [sleep, '7177']"
_CLUSTER = (
    pod("pod", ports="[]", rest=_SLEEP)
    + pod("neighbour", ports="[]", rest=", command: [sleep, '7178']")
    + pod("server")
    + pod("host", ports="[]", rest=_SLEEP).replace("containers:", "hostNetwork: true, containers:")
)
_LOOK = """
import ctypes, errno, json, os, socket, stat, sys
from concurrent.futures import ThreadPoolExecutor
asked = json.load(sys.stdin)
libc = ctypes.CDLL(None, use_errno=True)

def connects(one):
    address, port = one
    family = socket.AF_UNIX if port is None else socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as tried:
        tried.settimeout(1)
        try:
            tried.connect(address if port is None else (address, port))
        except OSError:
            return False
    return True

def opens(path):
    try:
        os.listdir(path) if os.path.isdir(path) else open(path, "rb").close()
    except OSError:
        return os.path.lexists(path)
    return True

def refused(call, *arguments):
    return None if call(*arguments) == 0 else errno.errorcode[ctypes.get_errno()]

def text(path):
    with open(path) as file:
        return file.read()

def made(number):
    try:
        os.mknod("/tmp/device", stat.S_IFBLK | 0o600, number)
    except OSError as error:
        return errno.errorcode[error.errno]

def writes(path):
    try:
        with open(path, "r+") as file:
            file.write("1")
    except OSError:
        return False
    return True

with ThreadPoolExecutor(32) as pool:
    reached = list(pool.map(connects, asked["ports"]))
here = [one for one in os.listdir("/proc") if one.isdigit()]
devices = [os.path.join(folder, one) for folder, _, names in os.walk("/dev") for one in names]
print(json.dumps({
    "connected": [one for one, yes in zip(asked["ports"], reached) if yes],
    "found": [one for one in asked["paths"] if opens(one)],
    "links": [name for _, name in socket.if_nameindex()],
    "commands": [text(f"/proc/{one}/cmdline").split(chr(0)) for one in here if os.path.exists(f"/proc/{one}")],
    "descriptors": sorted(int(one) for one in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{one}")),
    "ptrace": [refused(libc.ptrace, 16, one, 0, 0) for one in asked["processes"]],
    "mount": refused(libc.mount, b"none", b"/tmp", b"tmpfs", 0, b""),
    "mknod": made(os.makedev(8, 0)),
    "block devices": [one for one in devices if stat.S_ISBLK(os.stat(one).st_mode)],
    "device names": sorted(os.listdir("/dev")),
    "writable": [one for one in asked["switches"] if writes(one)],
    "abstract": [one.split()[7] for one in text("/proc/net/unix").splitlines()[1:] if " @" in one],
    "environment": sorted(os.environ),
}))
"""
_SWITCHES = (
    "/proc/sys/kernel/hostname",
    "/proc/sys/kernel/core_pattern",
    "/proc/sys/vm/drop_caches",
    "/proc/sysrq-trigger",
    "/sys/kernel/uevent_helper",
)
_RUNTIMES = (
    "/run/docker.sock",
    "/var/run/docker.sock",
    "/run/containerd/containerd.sock",
    "/run/crio/crio.sock",
    "/run/dbus/system_bus_socket",
    "/run/gatewright",
)


@dataclass(frozen=True)
class Machine:
    """What the machine has that nobody in a lab may see: listeners, files, this process."""

    listeners: tuple[socket.socket, ...]
    abstract: str
    files: tuple[str, ...]

    @property
    def ports(self) -> list[tuple[str, int | None]]:
        """Where the listeners are, by loopback and by every address of the machine."""
        port = self.listeners[0].getsockname()[1]
        return [("\0" + self.abstract, None), *((address, port) for address in _addresses())]

    def was_reached(self) -> bool:
        """Whether somebody has connected to a listener."""
        for listener in self.listeners:
            with contextlib.suppress(BlockingIOError):
                listener.accept()[0].close()
                return True
        return False


def _addresses() -> list[str]:
    """Every address of the machine, loopback's first."""
    listed = json.loads(subprocess.run(["ip", "-j", "addr"], capture_output=True, check=True).stdout)
    found = [one["local"] for link in listed for one in link["addr_info"] if one["scope"] != "link"]
    return list(dict.fromkeys(["127.0.0.1", "::1", *found]))


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    """Listeners on every address of the machine, and a file in each folder that a lab must not see."""
    with contextlib.ExitStack() as stack:
        both = stack.enter_context(socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True))
        abstract = f"gatewright-{secrets.token_hex(4)}"
        local = stack.enter_context(socket.socket(socket.AF_UNIX))
        local.bind("\0" + abstract)
        local.listen()
        for listener in (both, local):
            listener.setblocking(False)
        files = []
        for folder in ("/root", "/home", "/run", "/tmp", "/var/tmp", "/dev/shm"):
            if os.access(folder, os.W_OK):
                directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="gatewright-", dir=folder))
                path = Path(directory, "secret")
                path.write_text("secret")
                path.chmod(0o644)
                path.parent.chmod(0o755)
                files.append(str(path))
        yield Machine((both, local), abstract, tuple(files))


@pytest.fixture(scope="module", params=["root", "user"])
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    with lab_of(request.param) as made:
        made.environment["GATEWRIGHT_TEST_SECRET"] = "secret"
        made.up(_CLUSTER)
        yield made


@pytest.fixture(scope="module")
def seen(lab: Lab, machine: Machine) -> dict[str, dict[str, Any]]:
    """What the program found in each place."""
    question = {
        "ports": [*machine.ports, *_ways_round(lab, machine), ("127.0.0.1", _api_port(lab)), ("::1", _api_port(lab))],
        "paths": [
            *machine.files,
            *_RUNTIMES,
            str(lab.directory),
            *map(str, lab.directory.rglob("*")),
            "/.gatewright/x",
        ],
        "processes": [os.getpid(), lab.pid],
        "switches": _SWITCHES,
    }
    found = {}
    for place in PLACES:
        said = lab.run("exec", place, "-i", "--", "python3", "-c", _LOOK, stdin=json.dumps(question), timeout=120)
        found[place] = json.loads(said)
    return found


def _api_port(lab: Lab) -> int:
    return int(_cluster(lab)["server"].rpartition(":")[2])


def _cluster(lab: Lab) -> dict[str, str]:
    found: dict[str, str] = yaml.safe_load(lab.run("kubeconfig"))["clusters"][0]["cluster"]
    return found


def _ways_round(lab: Lab, machine: Machine) -> list[tuple[str, int | None]]:
    """The listener's port at each hop that packets of the lab pass: none may be a way out."""
    port = machine.listeners[0].getsockname()[1]
    hops = ("169.254.1.1", "172.31.255.1", "203.0.113.10", "fd00:10:31::1", "10.96.0.1")
    return [(hop, port) for hop in (*hops, *lab.status()["nodes"][0]["addresses"])]


@pytest.mark.parametrize("place", PLACES)
def test_no_listener_of_the_machine_is_reached(
    lab: Lab, machine: Machine, seen: dict[str, dict[str, Any]], place: str
) -> None:
    assert seen[place]["connected"] == []
    assert not machine.was_reached()


def test_the_listeners_can_be_reached_from_the_machine_itself(machine: Machine) -> None:
    """Or the test before would pass whatever the lab did."""
    for address, port in machine.ports:
        family = socket.AF_UNIX if port is None else socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family) as tried:
            tried.settimeout(5)
            tried.connect(address if port is None else (address, port))
        assert machine.was_reached(), address


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may do all of it")
def test_on_the_machine_itself_the_same_program_finds_and_may_everything(machine: Machine) -> None:
    """In a mount namespace of its own, and without the machine's switches, which are not for trying."""
    with subprocess.Popen(["sleep", "600"]) as traced:
        try:
            paths = [*machine.files, "/proc/1/root"]
            question = {"ports": machine.ports, "paths": paths, "processes": [traced.pid], "switches": []}
            words = ["unshare", "--mount", sys.executable, "-c", _LOOK]
            done = subprocess.run(words, input=json.dumps(question), capture_output=True, text=True, check=True)
        finally:
            traced.kill()
    found = json.loads(done.stdout)
    assert found["connected"] == [list(one) for one in machine.ports]
    assert found["found"] == paths
    assert (found["ptrace"], found["mount"], found["mknod"]) == ([None], None, None)
    assert ["sleep", "600", ""] in found["commands"]
    assert f"@{machine.abstract}" in found["abstract"]
    while machine.was_reached():
        pass


@pytest.mark.parametrize("place", PLACES)
def test_the_program_reaches_what_it_may(lab: Lab, place: str) -> None:
    question = {
        "ports": [(lab.address("default/server"), 80), ("172.31.255.1", 6443)],
        "paths": ["/usr/bin/env"],
        "processes": [],
        "switches": ["/dev/null"],
    }
    found = json.loads(lab.run("exec", place, "-i", "--", "python3", "-c", _LOOK, stdin=json.dumps(question)))
    assert [len(found[what]) for what in ("connected", "found", "writable")] == [2, 1, 1]


@pytest.mark.parametrize("place", PLACES)
def test_only_links_of_the_lab_are_seen(seen: dict[str, dict[str, Any]], place: str) -> None:
    links = set(seen[place]["links"])
    assert {"lo", "eth0"} <= links
    rest = {name for name in links - {"lo", "eth0"} if not name.startswith("pod")}
    assert rest <= _OF_NEW_NAMESPACES, "links that neither the lab makes nor the kernel puts into every namespace"
    if place != "host":
        assert not any(name.startswith("pod") for name in links)


_OF_NEW_NAMESPACES = set(
    subprocess.run(
        ["unshare", "-rn", "ls", "/proc/self/net/dev_snmp6"], capture_output=True, text=True, check=False
    ).stdout.split()
)


@pytest.mark.parametrize("place", PLACES)
def test_no_file_of_the_machine_or_of_the_lab_is_seen(
    machine: Machine, seen: dict[str, dict[str, Any]], place: str
) -> None:
    assert seen[place]["found"] == []
    assert any(path.startswith("/tmp/") for path in machine.files)


@pytest.mark.parametrize("place", PLACES)
def test_only_processes_of_the_pod_are_seen(seen: dict[str, dict[str, Any]], place: str) -> None:
    commands = [words for words in seen[place]["commands"] if words[0]]
    sleeping = [words[1] for words in commands if words[0] == "sleep"]
    assert sleeping == ([] if place == "outside" else ["7177"])
    assert len(commands) <= 3, "its first process, its program, and the one that looks"
    assert set(seen[place]["ptrace"]) <= {"EPERM", "ESRCH"}


@pytest.mark.parametrize("place", PLACES)
def test_nothing_of_the_machine_can_be_mounted_made_or_switched(seen: dict[str, dict[str, Any]], place: str) -> None:
    found = seen[place]
    assert (found["mount"], found["mknod"]) == ("EPERM", "EPERM")
    assert (found["block devices"], found["writable"]) == ([], [])
    allowed = {"null", "zero", "full", "random", "urandom", "tty", "fd", "stdin", "stdout", "stderr", "pts", "ptmx"}
    assert set(found["device names"]) <= allowed | {"shm"}


@pytest.mark.parametrize("place", PLACES)
def test_a_program_inherits_nothing_of_the_lab(seen: dict[str, dict[str, Any]], place: str) -> None:
    found = seen[place]
    assert found["descriptors"] == [0, 1, 2]
    assert found["abstract"] == []
    assert not {"GATEWRIGHT_TEST_SECRET", "GATEWRIGHT_LAB", "KUBECONFIG"} & set(found["environment"])


@pytest.mark.parametrize("place", PLACES)
def test_passwords_and_keys_of_the_machine_are_not_read(lab: Lab, place: str) -> None:
    assert lab.exec(place, "cat", "/etc/passwd")
    secrets = "/etc/shadow /etc/gshadow /etc/sudoers /etc/ssh/ssh_host_*_key /etc/ssl/private/* /etc/kubernetes/*"
    assert lab.exec(place, "sh", "-c", f"cat {secrets} 2>/dev/null; true") == ""
    assert lab.process("exec", place, "--", "umount", "/etc/shadow").returncode


def test_two_labs_with_the_same_addresses_do_not_see_each_other(lab: Lab) -> None:
    twin = dataclasses.replace(lab, name=f"twin-{secrets.token_hex(4)}")
    try:
        twin.up(pod("client") + pod("twin"), "--no-kubeconfig")
        address = twin.address("default/twin")
        own = {entry["addresses"][0] for entry in lab.status()["pods"]}
        theirs = {entry["addresses"][0] for entry in twin.status()["pods"]}
        assert address in own | theirs
        assert own & theirs, "the labs share no address: this test shows nothing"
        assert twin.exec("client", "curl", "-gs", "--max-time", "5", f"http://{address}/").startswith("default/twin ")
        assert "twin" not in lab.run(
            "exec", "pod", "--", "curl", "-gs", "--max-time", "1", f"http://{address}/", code=None
        )
        server = lab.address("default/server")
        assert "default/server" not in twin.run(
            "exec", "client", "--", "curl", "-gs", "--max-time", "1", f"http://{server}/", code=None
        )
        mine = "\n".join(map(str, twin.directory.rglob("*")))
        question = {"ports": [], "paths": mine.split("\n"), "processes": [twin.pid], "switches": []}
        found = json.loads(lab.run("exec", "host", "-i", "--", "python3", "-c", _LOOK, stdin=json.dumps(question)))
        assert found["found"] == []
    finally:
        twin.process("down")


def test_other_users_are_kept_out_of_the_directory(lab: Lab) -> None:
    assert stat.S_IMODE(lab.directory.stat().st_mode) == 0o700
    assert stat.S_IMODE(lab.base.stat().st_mode) == 0o700
    secret = [one for one in lab.directory.rglob("*") if one.suffix == ".key" or "kubeconfig" in one.name]
    sockets = [one for one in lab.directory.rglob("*") if one.is_socket()]
    assert len(secret) >= 3, "the keys of the authority and of the servers, and the kubeconfigs"
    assert len(sockets) >= 4, "the supervisor's, the runtimes' and the agent's"
    assert {str(one): oct(one.stat().st_mode & 0o077) for one in secret + sockets if one.stat().st_mode & 0o077} == {}


def test_the_users_kubeconfig_is_the_users_alone(lab: Lab) -> None:
    file = lab.environment.get("KUBECONFIG") or f"{lab.environment['HOME']}/.kube/config"
    assert stat.S_IMODE(os.stat(file).st_mode) == 0o600


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("setpriv") is None, reason="cannot become another user")
def test_another_user_opens_nothing(lab: Lab) -> None:
    words = ["setpriv", "--reuid=54321", "--regid=54321", "--clear-groups", "cat"]
    for path in (lab.directory / "kubeconfig", lab.directory / "pid", lab.directory / "lab.log"):
        done = subprocess.run([*words, str(path)], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (1, "")
        assert "Permission denied" in done.stderr


@pytest.mark.parametrize("token", [None, "wrong", ""])
def test_without_the_token_the_api_answers_nobody(lab: Lab, token: str | None) -> None:
    anybody = ssl.create_default_context()
    anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    for path in ("/api/v1/pods", "/api/v1/namespaces/default/secrets", "/apis", "/openapi/v3", "/metrics"):
        request = urllib.request.Request(f"{_cluster(lab)['server']}{path}", headers=headers)
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, context=anybody, timeout=10)
        assert refused.value.code == 401, path


def test_from_a_pod_the_api_wants_the_token_too(lab: Lab) -> None:
    for place in PLACES:
        words = ("curl", "-ks", "-o", "/dev/null", "-w", "%{http_code}", "https://172.31.255.1:6443/api/v1/pods")
        assert lab.exec(place, *words) == "401", place
