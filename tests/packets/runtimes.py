"""A node for tests of the container runtime: its namespaces, and the runtime forked into them, as root or as a user.

with runtime_of("root") as node:
    runtime = await Runtime.connect(node.path)

The node is the first process of a PID namespace of its own, so nothing of it outlives the block.
"""

from __future__ import annotations

import contextlib
import gc
import ipaddress
import json
import os
import pickle
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import pytest

from gatewright.lab import linux
from gatewright.lab.enter import call_on_node
from gatewright.lab.network.node import NodeNetwork
from gatewright.lab.network.rtnetlink import Netlink, address
from gatewright.lab.network.switches import kernel_families
from gatewright.lab.runtime.server import RuntimeSettings, serve

T = TypeVar("T")
NOBODY = 65534
WAIT = 20.0
ADDRESSES = (ipaddress.ip_address("172.31.255.1"), ipaddress.ip_address("fd00:10:31::1"))
"""The node's own, on its loopback: there is no fabric."""


@dataclass(frozen=True)
class NodeOfRuntime:
    """A node whose runtime runs. `pid` is the node's first process as this machine counts."""

    path: Path
    pods: Path
    pid: int
    control: socket.socket

    def ask(self, word: str) -> int:
        """Tell the node's first process to do something; what it answers."""
        self.control.send(word.encode())
        return int(self.control.recv(64))

    def run(self, function: Callable[[], T]) -> T:
        """What a function returns on the node, in a process that has joined its namespaces."""
        found: T = pickle.loads(call_on_node(self.pid, lambda _: pickle.dumps(function()), b""))
        return found

    def kill_runtime(self) -> None:
        """Kill it, and wait until it is gone."""
        self.ask("kill")
        self.path.unlink()  # or the next would seem to be there already

    def start_runtime(self) -> None:
        """Start it again."""
        self.ask("start")
        until(self.path.exists)


def until(condition: Callable[[], bool], seconds: float = WAIT) -> None:
    """Wait until it comes true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.01)


@contextlib.contextmanager
def runtime_of(user: str, serve_names: Callable[[], None] | None = None) -> Iterator[NodeOfRuntime]:
    """A node and its runtime, gone when the block ends; `user` is root or another; skips where that cannot be."""
    if user == "root" and os.geteuid() != 0:
        pytest.skip("not root")
    with tempfile.TemporaryDirectory(prefix="gatewright-") as made:
        folder = Path(made)
        if user != "root" and os.geteuid() == 0:
            os.chown(folder, NOBODY, NOBODY)
        settings = RuntimeSettings(
            "node", folder / "runtime.sock", folder / "pods", lambda: NodeNetwork(kernel_families()), serve_names
        )
        near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        gc.collect()
        outer = os.fork()
        if outer == 0:
            near.close()
            _be_node(user, settings, far)
        far.close()
        try:
            near.settimeout(WAIT)
            told = json.loads(near.recv(4096) or b'{"failed": "it ended at once"}')
            if "failed" in told:
                pytest.skip(f"this machine does not let {user} make namespaces: {told['failed']}")
            until(settings.socket.exists)
            yield NodeOfRuntime(settings.socket, settings.pods, told["pid"], near)
        finally:
            near.close()
            os.waitpid(outer, 0)
            with contextlib.suppress(OSError):
                said = (folder / "runtime.log").read_text()
                assert not said, said


def _be_node(user: str, settings: RuntimeSettings, control: socket.socket) -> NoReturn:
    """Make the namespaces; the child that is their first process is the node."""
    try:
        if user != "root":
            _be_nobody()
        linux.unshare(linux.NEWPID)
        pid = os.fork()
        if pid == 0:
            _serve_node(settings, control)
        control.send(json.dumps({"pid": pid}).encode())
        control.close()
        os.waitpid(pid, 0)
    except OSError as error:
        control.send(json.dumps({"failed": str(error)}).encode())
    finally:
        os._exit(0)


def _be_nobody() -> None:
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        linux._libc.prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE: or the maps belong to root
    user, group = os.geteuid(), os.getegid()
    linux.unshare(linux.NEWUSER)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {user} 1")
    Path("/proc/self/gid_map").write_text(f"0 {group} 1")


def _serve_node(settings: RuntimeSettings, control: socket.socket) -> NoReturn:
    try:
        linux.unshare(linux.NEWNS | linux.NEWNET | linux.NEWUTS | linux.NEWIPC)
        linux.mount("none", "/", "", linux.MS_REC | linux.MS_PRIVATE)
        with contextlib.suppress(OSError):
            linux.mount("proc", "/proc", "proc", linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC)
        NodeNetwork(kernel_families()).set_up()
        netlink = Netlink()
        lo = netlink.index("lo")
        netlink.run(address(lo, one) for one in ADDRESSES if one.version in kernel_families())
        pid = _fork_runtime(settings)
        signal.signal(signal.SIGCHLD, lambda *_: _reap(pid))
        while word := control.recv(64):
            if word == b"kill":
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                _reap()
            elif word == b"end":
                os.kill(pid, signal.SIGTERM)
                os.waitpid(pid, 0)
                _reap()
            elif word == b"start":
                pid = _fork_runtime(settings)
            control.send(str(pid).encode())
    finally:
        os._exit(1)


def _reap(but: int = 0) -> None:
    """Orphans of the node are its first process', which must not leave them: a pod's namespace waits for them."""
    while True:
        try:
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if found is None or found.si_pid == but:
            return
        with contextlib.suppress(ChildProcessError):  # the signal came in between, and its handler was here, too
            os.waitpid(found.si_pid, 0)


def _fork_runtime(settings: RuntimeSettings) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            log = os.open(settings.socket.with_name("runtime.log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            nothing = os.open(os.devnull, os.O_RDONLY)
            for number, descriptor in enumerate((nothing, log, log)):
                os.dup2(descriptor, number)
            os.closerange(3, 1 << 16)
            serve(settings)
        except BaseException:
            import traceback

            traceback.print_exc()
            raise
        finally:
            os._exit(1)
    return pid


def processes_of(node: NodeOfRuntime) -> list[str]:
    """The names of all processes of the node, its first process among them."""
    found: list[str] = node.run(_processes)
    return found


def _processes() -> list[str]:
    names = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                names.append(Path("/proc", entry, "comm").read_text().strip())
    return sorted(names)


def links_of(node: NodeOfRuntime) -> list[str]:
    """The names of the node's links."""
    found: list[str] = node.run(lambda: [name for _, name in socket.if_nameindex()])
    return found


def fetch(address: str, port: int, family: int = 4, kind: str = "TCP", text: bytes = b"") -> Any:
    """What a port says; an error's number where there is none. To be run on the node."""
    made = socket.socket(
        socket.AF_INET if family == 4 else socket.AF_INET6, socket.SOCK_STREAM if kind == "TCP" else socket.SOCK_DGRAM
    )
    with made:
        made.settimeout(3)
        try:
            made.connect((address, port))
            if text or kind == "UDP":
                made.sendall(text or b"x")
            data = b""
            while part := made.recv(4096):
                data += part
                if kind == "UDP":
                    break
            return data.decode()
        except OSError as error:
            return error.errno or str(error)
