"""The pods of a node and what is done with them. Nothing here waits: who asks is answered when it is done.

Everything a pod has goes with its sandbox, the first process of its PID namespace: the kernel ends the others, and
takes mounts and the link away with the last of them. docs/design/0081 says what holds when.
"""

from __future__ import annotations

import ipaddress
import shutil
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gatewright.lab.errors import LabError
from gatewright.lab.runtime import inside, pause
from gatewright.lab.runtime.held import Nobody, Pod, PodNetwork, Reply, reason, send_signal
from gatewright.lab.runtime.launch import Launch, Namespaces, Told
from gatewright.lab.runtime.loop import Loop
from gatewright.lab.runtime.model import DEAD, ContainerSetup, PodEvent, PodSetup, PodState, Volume
from gatewright.lab.runtime.places import pod_folder
from gatewright.lab.runtime.running import Runner
from gatewright.lab.runtime.standins import StandIns
from gatewright.lab.runtime.wire import Answer, Changed, Removed

_LINK_LOOKED_AT = 0.02
_LINK_GONE_WITHIN = 1.0
"""Seconds the kernel has to take a pod's link away with its network, before it is told to."""
_KILLED = 128 + signal.SIGKILL


class Node:
    """All pods. `tell` gets what everybody is to know; `serve_names` runs in containers of the name server's image."""

    def __init__(
        self,
        loop: Loop,
        folder: Path,
        network: PodNetwork,
        stand_ins: StandIns,
        serve_names: Callable[[], None] | None,
        tell: Callable[[Answer], None],
    ) -> None:
        self._loop, self._folder, self._network = loop, folder, network
        self._tell = tell
        self._mount_point = folder / ".root"
        self._mount_point.mkdir(exist_ok=True)
        self._program = pause.prepared()
        self._own = Namespaces()
        self._pods: dict[str, Pod] = {}
        self._runner = Runner(loop, self._own, stand_ins, serve_names, tell, self._go_on_removing)

    @property
    def pods(self) -> tuple[PodState, ...]:
        """All that are made and not removed."""
        return tuple(pod.state for pod in self._pods.values() if pod.up)

    def end(self) -> None:
        """End every pod, without waiting."""
        for pod in self._pods.values():
            send_signal(pod.launch, signal.SIGKILL)

    # Sandboxes

    def create(self, setup: PodSetup, reply: Reply) -> None:
        """Make a pod's sandbox; one that stands just so is made. Raises LabError, OSError."""
        there = self._pods.get(setup.uid)
        if there is not None and there.up and not there.dead and there.removing is None and there.setup == setup:
            reply.done()
            return
        if there is not None:
            raise LabError(f"pod {setup.namespace}/{setup.name} ({setup.uid}) is there already")
        if not setup.host_network:
            self._require_link(setup)
        folder = pod_folder(self._folder, setup.namespace, setup.name, setup.uid)
        uid = setup.uid
        with self._own.children_in(None):
            launch = Launch(
                self._loop,
                lambda tell: inside.be_sandbox(setup, self._mount_point, self._program, tell),
                heard=lambda words: self._heard(uid, words),
                started=lambda told: self._made(uid, told, reply),
                ended=lambda _: self._died(uid),
            )
        folder.mkdir(exist_ok=True)
        self._pods[uid] = Pod(setup, folder, launch)
        reply.hold(lambda: self.remove(uid, Nobody()))  # who asks instead must be able to ask for the same pod

    def _require_link(self, setup: PodSetup) -> None:
        if not setup.link or not setup.addresses:
            raise LabError(f"pod {setup.namespace}/{setup.name} needs a link and an address, or the host's network")
        for pod in self._pods.values():
            if pod.setup.link == setup.link:  # ending this one would take the other's away
                raise LabError(f"link {setup.link} of pod {setup.namespace}/{setup.name} is pod {pod.name}'s")

    def _heard(self, uid: str, words: dict[str, Any]) -> None:
        pod = self._pods[uid]
        if "made" not in words or pod.setup.host_network or pod.removing is not None:
            return
        try:
            addresses = [ipaddress.ip_address(text) for text in pod.setup.addresses]
            self._network.attach(pod.setup.link, pod.launch.pid, addresses)
        except (OSError, LabError, ValueError) as error:
            pod.failed = f"its link {pod.setup.link}: {reason(error)}"

    def _made(self, uid: str, told: Told, reply: Reply) -> None:
        pod = self._pods[uid]
        pod.failed = told.failed or pod.failed
        if not pod.failed and "built" not in told.words:
            pod.failed = "it was removed meanwhile" if pod.removing is not None else "its first process ended at once"
        if not pod.failed:
            pod.up = True
            reply.let_go()
            self._tell(Changed(pod.state))
            reply.done()
            return
        reply.failed(f"cannot start pod {pod.name}: {pod.failed}")
        if pod.removing is None:
            self.remove(uid, Nobody())

    def _died(self, uid: str) -> None:
        pod = self._pods[uid]
        pod.dead = True
        pod.launch.close()
        self._runner.end_stand_ins(pod, _KILLED)
        if pod.removing is None and pod.up:
            self._tell(Changed(pod.state))
            self._tell(PodEvent(uid, DEAD))
        self._go_on_removing(pod)

    def remove(self, uid: str, reply: Reply | Nobody) -> None:
        """End a pod and everything of it; a pod that is not there is gone."""
        pod = self._pods.get(uid)
        if pod is None:
            reply.done()
            return
        if pod.removing is None:
            pod.removing = []
            pod.killed = time.monotonic()
            send_signal(pod.launch, signal.SIGKILL)
        pod.removing.append(reply)  # type: ignore[arg-type]
        self._go_on_removing(pod)

    def _go_on_removing(self, pod: Pod) -> None:
        if pod.removing is None or not pod.dead or pod.children or pod.closing or pod.detached:
            return
        if not pod.setup.host_network and _exists(pod.setup.link):
            if time.monotonic() - pod.killed < _LINK_GONE_WITHIN:
                self._loop.after(_LINK_LOOKED_AT, lambda: self._go_on_removing(pod))
                return
            self._network.detach(pod.setup.link)  # somebody holds a socket of the pod's network
        pod.detached = True
        shutil.rmtree(pod.folder, ignore_errors=True)
        del self._pods[pod.setup.uid]
        if pod.up:
            self._tell(Removed(pod.setup.uid))
        for reply in pod.removing:
            reply.done()

    def update(self, uid: str, volumes: dict[str, Volume], reply: Reply) -> None:
        """Give volumes of a pod other files. Raises LabError, OSError."""
        pod = self._up(uid)
        sandbox = pod.launch.handle

        def started(told: Told) -> None:
            if told.failed:
                reply.failed(f"cannot change the volumes of pod {pod.name}: {told.failed}")
            else:
                reply.done()

        self._runner.count(pod, Launch(
            self._loop, lambda tell: inside.change_volumes(sandbox, volumes, tell),
            started=started, ended=lambda _: self._runner.counted(pod),
        ))  # fmt: skip

    def _up(self, uid: str) -> Pod:
        pod = self._pods.get(uid)
        if pod is None or not pod.up or pod.dead or pod.removing is not None:
            raise LabError(f"pod {uid} does not run on this node")
        return pod

    # What is done in pods

    def start(self, uid: str, setup: ContainerSetup, reply: Reply) -> None:
        """Start a container. Raises LabError, OSError."""
        self._runner.start(self._up(uid), setup, reply)

    def stop(self, uid: str, name: str, grace: float, reply: Reply) -> None:
        """End a container; one that is not there has ended."""
        pod = self._pods.get(uid)
        if pod is None:
            reply.done()
        else:
            self._runner.stop(pod, name, grace, reply)

    def execute(self, uid: str, name: str, command: tuple[str, ...], stdin: bool, reply: Reply) -> None:
        """Run a program beside a container's own, with pipes. Raises LabError, OSError."""
        self._runner.execute(self._up(uid), name, command, stdin, reply)

    def execute_on_terminal(self, uid: str, name: str, command: tuple[str, ...], reply: Reply) -> None:
        """Run a program beside a container's own, on a terminal. Raises LabError, OSError."""
        self._runner.execute_on_terminal(self._up(uid), name, command, reply)

    def attach(self, uid: str, name: str, stdin: bool, reply: Reply) -> None:
        """Join a container's program. Raises LabError, OSError."""
        self._runner.attach(self._up(uid), name, stdin, reply)

    def connect(self, uid: str, family: int, reply: Reply) -> None:
        """Make a socket in a pod's network. Raises LabError, OSError."""
        self._runner.connect(self._up(uid), family, reply)


def _exists(link: str) -> bool:
    try:
        socket.if_nametoindex(link)
    except OSError:
        return False
    return True
