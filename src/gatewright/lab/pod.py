"""A pod from inside: the first process of its namespaces, which starts its containers, reaps, restarts and reports.

`become` is what a freshly forked child of the lab calls. It speaks with the lab over one socket of JSON messages: it
says `made` when its namespaces stand, waits for `go` (its network and the policies that isolate it are in force by
then), and reports every change of a container. When it dies, the kernel ends everything in the pod.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gatewright.lab import container as containers
from gatewright.lab import linux, rootfs
from gatewright.lab.containerlog import ContainerLog
from gatewright.lab.errors import LabError
from gatewright.objects.core import ConfigMap, Container, PodSpec

_NAMESPACES = linux.NEWNS | linux.NEWUTS | linux.NEWIPC
_FIRST_BACK_OFF, _LONGEST_BACK_OFF, _STABLE = 1.0, 30.0, 60.0
ZONE_DIRECTORY = "/run/zone"
"""Where the name server's pod finds its zone."""


@dataclass(frozen=True, slots=True)
class PodStart:
    """All a pod needs to know to start."""

    namespace: str
    name: str
    hostname: str
    spec: PodSpec
    config_maps: Mapping[str, ConfigMap]
    files: Mapping[str, str]
    mount_point: Path
    logs: Mapping[str, int]
    """Container name to the descriptor of its log."""
    zone: Path | None = None
    """The directory of the zone, for the pod that is the name server."""


@dataclass(slots=True)
class _Running:
    """One container of the pod and what became of it."""

    container: Container
    initial: bool
    always: bool
    log: ContainerLog
    pid: int = 0
    output: int = -1
    restarts: int = 0
    back_off: float = _FIRST_BACK_OFF
    due: float | None = None
    since: float = 0.0
    done: bool = False
    report: dict[str, object] = field(default_factory=dict)


def become(start: PodStart, channel: socket.socket) -> None:
    """Be the pod's first process, until killed. Exits; never returns."""
    code = 1
    try:
        _forget_the_lab({channel.fileno(), *start.logs.values()})
        linux.unshare(_NAMESPACES)
        if not start.spec.host_network:
            linux.unshare(linux.NEWNET)
            _set_up_network()
        channel.send(b'{"made": true}')
        if start.zone is not None:
            from gatewright.lab import nameserver  # noqa: F401  (before the pod's root hides the package)
        binds = {str(start.zone): ZONE_DIRECTORY} if start.zone is not None else {}
        rootfs.build(start.mount_point, start.hostname, start.files, binds)
        notes = containers.volume_notes(start.spec) + containers.fill_volumes(start.spec, start.config_maps)
        channel.send(json.dumps({"notes": notes}).encode())
        if channel.recv(64):
            _Pod(start, channel).run()
        code = 0
    except (OSError, LabError) as error:
        with contextlib.suppress(OSError):
            channel.send(json.dumps({"failed": str(error)}).encode())
    finally:
        os._exit(code)


def _forget_the_lab(kept: set[int]) -> None:
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    os.setsid()
    linux.set_process_name("lab-pod")
    last = 2
    for descriptor in sorted(kept):
        os.closerange(last + 1, descriptor)
        last = descriptor
    os.closerange(last + 1, 65536)
    nothing = os.open("/dev/null", os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nothing, standard)


_SWITCHES = {
    "ipv4/ip_unprivileged_port_start": "0",
    "ipv4/icmp_ratelimit": "0",
    "ipv6/icmp/ratelimit": "0",
    "ipv6/conf/default/addr_gen_mode": "1",
    "ipv6/conf/default/accept_ra": "0",
}


def _set_up_network() -> None:
    """Low ports for any program, every refusal told (no limit on ICMP errors), no addresses that nobody asked for."""
    for name, value in _SWITCHES.items():
        with contextlib.suppress(OSError):
            Path("/proc/sys/net", name).write_text(value)


class _Pod:
    def __init__(self, start: PodStart, channel: socket.socket) -> None:
        self._start = start
        self._channel = channel
        self._selector = selectors.DefaultSelector()
        spec = start.spec
        always = spec.restart_policy == "Always"
        self._waiting = [
            *(self._entry(one, one.restart_policy != "Always", one.restart_policy == "Always")
              for one in spec.init_containers),
            *(self._entry(one, False, always) for one in spec.containers),
        ]  # fmt: skip
        self._started: list[_Running] = []

    def _entry(self, container: Container, initial: bool, always: bool) -> _Running:
        return _Running(container, initial, always, ContainerLog(self._start.logs[container.name]))

    def run(self) -> None:
        """Start the containers in order and look after them until the lab closes the channel."""
        wake, wakeup = socket.socketpair()
        for end in (wake, wakeup):
            end.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wakeup.fileno(), warn_on_full_buffer=False)
        self._selector.register(wake, selectors.EVENT_READ)
        self._selector.register(self._channel, selectors.EVENT_READ)
        while True:
            self._advance()
            dues = [one.due for one in self._started if one.due is not None]
            timeout = max(0.0, min(dues) - time.monotonic()) if dues else None
            for key, _ in self._selector.select(timeout):
                if key.fileobj is wake:
                    with contextlib.suppress(BlockingIOError):
                        wake.recv(4096)
                elif key.fileobj is self._channel:
                    if not self._channel.recv(64):
                        return
                else:
                    self._pump(key.data)
            self._reap()

    def _advance(self) -> None:
        """Start what may start now: the next containers, unless an init container has to end first; due restarts."""
        while self._waiting and not any(one.initial and not one.done for one in self._started):
            entry = self._waiting.pop(0)
            self._started.append(entry)
            self._launch(entry)
        for entry in self._started:
            if entry.due is not None and entry.due <= time.monotonic():
                entry.due = None
                self._launch(entry)

    def _launch(self, entry: _Running) -> None:
        readable, writable = os.pipe()
        told, tell = os.pipe()
        entry.pid = os.fork()
        if entry.pid == 0:
            _contain(self._start, entry.container, entry.initial, writable, tell)
        os.close(writable)
        os.close(tell)
        message = _read_all(told)
        os.close(told)
        entry.output = readable
        entry.since = time.monotonic()
        self._selector.register(readable, selectors.EVENT_READ, entry)
        self._report(entry, state="running", pid=entry.pid, **json.loads(message or b"{}"))

    def _pump(self, entry: _Running) -> None:
        data = os.read(entry.output, 65536)
        if data:
            entry.log.write(data)
        else:
            self._selector.unregister(entry.output)
            os.close(entry.output)
            entry.output = -1

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            entry = next((one for one in self._started if one.pid == pid), None)
            if entry is not None:
                self._ended(entry, os.waitstatus_to_exitcode(status))

    def _ended(self, entry: _Running, code: int) -> None:
        while entry.output >= 0 and _readable(entry.output):
            self._pump(entry)
        if entry.output >= 0:
            self._selector.unregister(entry.output)
            os.close(entry.output)
            entry.output = -1
        entry.pid = 0
        policy = self._start.spec.restart_policy
        again = entry.always or (code != 0 and policy != "Never") or (entry.initial and code != 0)
        if not again:
            entry.done = True
            self._report(entry, state="completed" if code == 0 else "failed", code=code, pid=0)
            return
        if time.monotonic() - entry.since > _STABLE:
            entry.back_off = _FIRST_BACK_OFF
        entry.due = time.monotonic() + entry.back_off
        entry.back_off = min(entry.back_off * 2, _LONGEST_BACK_OFF)
        entry.restarts += 1
        self._report(entry, state="waiting", code=code, pid=0)

    def _report(self, entry: _Running, **changes: object) -> None:
        entry.report |= {
            "container": entry.container.name, "initial": entry.initial, "restarts": entry.restarts, **changes
        }  # fmt: skip
        self._channel.send(json.dumps(entry.report).encode())


def _contain(start: PodStart, container: Container, initial: bool, output: int, tell: int) -> None:
    """The forked child that becomes a container. Tells what it runs before it does; exits."""
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.closerange(3, tell)
        os.closerange(tell + 1, 65536)
        linux.unshare(linux.NEWNS)
        containers.mount_volumes(container)
        values = containers.environment(container, start.hostname)
        choice = containers.choose(container, values, initial)
        if start.zone is not None:
            choice = containers.Choice(containers.NAME_SERVER)
        os.write(tell, json.dumps({"runs": choice.runs, "note": choice.note}).encode())
        os.close(tell)
        if choice.runs == containers.SKIPPED:
            os._exit(0)
        containers.run(container, values, choice, f"{start.namespace}/{start.name}", _serve_names)
    except OSError as error:
        text = f"cannot start container {container.name}: {error.filename or ''}: {error.strerror}\n"
        os.write(2, text.encode())
        os._exit(128)
    except BaseException:  # noqa: BLE001  (the child must never return into the parent's code)
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(1)


def _serve_names() -> None:
    from gatewright.lab import nameserver

    nameserver.serve(Path(ZONE_DIRECTORY))


def _read_all(descriptor: int) -> bytes:
    data = b""
    while part := os.read(descriptor, 65536):
        data += part
    return data


def _readable(descriptor: int) -> bool:
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        return bool(selector.select(0))
