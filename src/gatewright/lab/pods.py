"""The pods of a lab seen from outside: started, connected, watched for readiness, stopped.

A pod starts in three steps, so that fifty start side by side and none is reachable before its policies are in force:
`create` forks its first process, `connect` gives it its link once its namespaces stand, `release` lets its containers
start. It is ready when every declared TCP port of its containers accepts a connection from the node.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import json
import os
import signal
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gatewright.engine.addresses import IPAddress
from gatewright.lab import pod as inside
from gatewright.lab.container import COMMAND
from gatewright.lab.directory import LabDirectory
from gatewright.lab.errors import LabError
from gatewright.lab.network.node import NodeNetwork
from gatewright.lab.workloads import PodPlan
from gatewright.objects.core import ConfigMap

_MADE_WITHIN = 20.0
"""Seconds a pod's namespaces may take."""


@dataclass(slots=True)
class RunningPod:
    """One pod that has been started."""

    plan: PodPlan
    addresses: tuple[IPAddress, ...]
    link: str
    pid: int
    channel: socket.socket
    started: float
    containers: dict[str, dict[str, Any]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    failed: str = ""
    ready: bool = False
    probes: dict[int, socket.socket] = field(default_factory=dict)
    accepted: set[int] = field(default_factory=set)

    @property
    def key(self) -> str:
        """`namespace/name`."""
        return self.plan.key

    @property
    def tcp_ports(self) -> set[int]:
        """The TCP ports that must accept before the pod is ready."""
        ports = (port for one in self.plan.pod.spec.containers for port in one.ports)
        return {port.container_port for port in ports if port.protocol == "TCP"}

    @property
    def phase(self) -> str:
        """Pending, Running, Succeeded or Failed, as an API server would say."""
        if self.failed:
            return "Failed"
        names = [container.name for container in self.plan.pod.spec.containers]
        states = [self.containers.get(name, {}).get("state", "pending") for name in names]
        if all(state in ("completed", "failed") for state in states):
            return "Failed" if "failed" in states else "Succeeded"
        return "Running" if any(state != "pending" for state in states) else "Pending"

    @property
    def status(self) -> str:
        """What `kubectl get pods` would show."""
        if self.failed:
            return "Error"
        states = {str(one["state"]) for one in self.containers.values()}
        if "waiting" in states:
            return "CrashLoopBackOff"
        return "Completed" if self.phase == "Succeeded" else "Error" if self.phase == "Failed" else self.phase

    @property
    def restarts(self) -> int:
        """How often its containers were restarted."""
        return sum(int(one["restarts"]) for one in self.containers.values())

    @property
    def settled(self) -> bool:
        """Whether there is nothing more to wait for: it is ready, or it has ended well."""
        return self.ready or self.phase == "Succeeded"


def create(
    plan: PodPlan,
    addresses: tuple[IPAddress, ...],
    link: str,
    directory: LabDirectory,
    config_maps: Mapping[str, ConfigMap],
    files: Mapping[str, str],
    zone: Path | None,
) -> RunningPod:
    """Fork the pod's first process in a new PID namespace. Raises LabError."""
    namespace, name = plan.pod.namespace, plan.pod.name
    spec = plan.pod.spec
    logs: dict[str, int] = {}
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        for container in (*spec.init_containers, *spec.containers):
            path = log_path(directory, namespace, name, container.name)
            logs[container.name] = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        start = inside.PodStart(
            namespace, name, plan.hostname, spec, config_maps, files, directory.mount_point, logs, zone
        )
        pid = _fork_into_new_pid_namespace(start, far)
    except OSError as error:
        near.close()
        raise LabError(f"cannot start pod {plan.key}: {error.strerror} ({error.filename or 'fork'})") from error
    finally:
        far.close()
        for descriptor in logs.values():
            os.close(descriptor)
    near.setblocking(False)
    return RunningPod(plan, addresses, link, pid, near, time.monotonic())


def _fork_into_new_pid_namespace(start: inside.PodStart, channel: socket.socket) -> int:
    """Children of this process go to a new PID namespace for one fork, then to its own again (pid_namespaces(7))."""
    from gatewright.lab import linux

    own = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    try:
        linux.unshare(linux.NEWPID)
        gc.freeze()
        pid = os.fork()
        if pid == 0:
            inside.become(start, channel)
        linux.setns(own, linux.NEWPID)
        return pid
    finally:
        os.close(own)


def log_path(directory: LabDirectory, namespace: str, pod: str, container: str) -> Path:
    """The log of one container; names cannot hold `_` or `/`, so no two share a file and none leaves the directory."""
    name = f"{namespace}_{pod}_{container}.log"
    if "/" in name:
        raise LabError(f'pod {namespace}/{pod}: "{container}" cannot be a container name')
    return directory.pod_logs / name


def connect(pod: RunningPod, network: NodeNetwork) -> None:
    """Wait until the pod's namespaces stand and give it its link; a host-network pod has the node's."""
    pod.channel.settimeout(_MADE_WITHIN)
    try:
        message = pod.channel.recv(65536)
    except TimeoutError:
        message = b""
    finally:
        pod.channel.setblocking(False)
    told = json.loads(message or b'{"failed": "its first process ended at once"}')
    if "failed" in told:
        raise LabError(f"cannot start pod {pod.key}: {told['failed']}")
    if pod.plan.pod.spec.host_network:
        return
    try:
        network.attach(pod.link, pod.pid, pod.addresses)
    except OSError as error:
        raise LabError(f"cannot connect pod {pod.key}: {error.filename}: {error.strerror}") from error


def release(pod: RunningPod) -> None:
    """Let the pod's containers start."""
    with contextlib.suppress(OSError):
        pod.channel.send(b"go")


def stop(pod: RunningPod, network: NodeNetwork) -> None:
    """End the pod at once, and wait until its processes are gone."""
    network.detach(pod.link)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pod.pid, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pod.pid, 0)
    pod.channel.close()
    for probe in pod.probes.values():
        probe.close()


def hear(pod: RunningPod) -> bool:
    """Take in what the pod reports; whether it is still there."""
    while True:
        try:
            data = pod.channel.recv(65536)
        except BlockingIOError:
            return True
        except OSError:
            data = b""
        if not data:
            return False
        message = json.loads(data)
        if "container" in message:
            pod.containers[message["container"]] = message
            if message["state"] in ("waiting", "failed") and not message["initial"]:
                pod.ready = False
                pod.accepted.clear()
        pod.notes += message.get("notes", [])
        pod.failed = message.get("failed", pod.failed)


def check_ready(pod: RunningPod) -> bool:
    """Look a little further into whether the pod is ready, without waiting; whether that changed something."""
    if pod.ready or pod.failed or pod.phase in ("Succeeded", "Failed"):
        return False
    states = [pod.containers.get(one.name, {}).get("state") for one in pod.plan.pod.spec.containers]
    if any(state != "running" for state in states):
        return False
    for port in pod.tcp_ports - pod.accepted:
        if _accepts(pod, port):
            pod.accepted.add(port)
    pod.ready = pod.accepted >= pod.tcp_ports
    return pod.ready


def _accepts(pod: RunningPod, port: int) -> bool:
    probe = pod.probes.pop(port, None)
    if probe is None:
        address = pod.addresses[0]
        probe = socket.socket(socket.AF_INET if address.version == 4 else socket.AF_INET6)
        probe.setblocking(False)
        code = probe.connect_ex((str(address), port))
    else:
        code = probe.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code == 0:
            code = probe.connect_ex((str(pod.addresses[0]), port))
    if code in (0, errno.EISCONN):
        probe.close()
        return True
    if code in (errno.EINPROGRESS, errno.EALREADY):
        pod.probes[port] = probe
    else:
        probe.close()
    return False


def runs(pod: RunningPod) -> str:
    """What runs in the pod, in short: its commands' programs, or what stands in."""
    words = []
    for container in pod.plan.pod.spec.containers:
        choice = pod.containers.get(container.name, {}).get("runs", "")
        words.append(os.path.basename(container.command[0]) if choice == COMMAND else str(choice))
    return ",".join(dict.fromkeys(filter(None, words)))
