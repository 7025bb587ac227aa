"""The lab process: one loop that owns the node's network, the pods, the Services and the policies of one lab.

It is the first process of its own PID namespace, so its death, however it comes, is the death of all of the lab. One
thread and one selector: a request is carried out at once and completely or not at all; what takes time (pods getting
ready) is watched from the loop, and a `wait` request is answered when there is nothing left to wait for.
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
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from gatewright.engine.addresses import IPAddress
from gatewright.errors import GatewrightError, InvalidInput
from gatewright.kernel.nft import Nft
from gatewright.lab import cluster, pods, services, views
from gatewright.lab.addresses import NODE_ADDRESSES, OUTSIDE_ADDRESSES, SERVICE_CIDRS, Plan
from gatewright.lab.cluster import NAME_SERVER, Desired, Key
from gatewright.lab.container import environment
from gatewright.lab.control import Answer, Control
from gatewright.lab.directory import LabDirectory
from gatewright.lab.enforcement import Enforcement
from gatewright.lab.errors import LabError
from gatewright.lab.network.node import NodeNetwork
from gatewright.lab.network.plan import OUTSIDE
from gatewright.lab.podfiles import OUTSIDE_HOST, pod_files
from gatewright.lab.pods import RunningPod
from gatewright.lab.services import Backend
from gatewright.lab.wire import Message, objects_from_json, objects_to_json, placed
from gatewright.lab.zone import ZONE_FILE, Zone, zone_of
from gatewright.objects.kinds import resource_name
from gatewright.objects.meta import Object

_LOOK = 0.02
"""Seconds between looks at pods that are not ready yet."""
_NAMES_WITHIN = 5.0
_IDLE = 5.0
"""Seconds between looks at whether the lab can still be reached."""


@dataclass(slots=True)
class _Waiting:
    """A client that waits for the lab to settle."""

    until: float
    answer: Answer


class Lab:
    """One lab, from the inside. The calling process is in the lab's namespaces already."""

    def __init__(self, directory: LabDirectory, plan: Plan, enforcement: Enforcement) -> None:
        self._directory = directory
        self._plan = plan
        self._enforcement = enforcement
        self._nft = Nft()
        self._network = NodeNetwork(plan.families)
        self._objects: dict[Key, Object] = {}
        self._desired = Desired({})
        self._pods: dict[str, RunningPod] = {}
        self._outside: RunningPod | None = None
        self._links = 0
        self._selector = selectors.DefaultSelector()
        self._waiting: list[_Waiting] = []
        self._stale = False
        self._finished: dict[str, str] = {}

    def start(self, objects: Iterable[Object]) -> None:
        """Bring the lab up with these objects. Raises GatewrightError."""
        self._network.set_up()
        self._network.own(NODE_ADDRESSES, SERVICE_CIDRS)
        addresses = tuple(address for address in OUTSIDE_ADDRESSES if address.version in self._plan.families)
        files = pod_files(OUTSIDE_HOST, addresses)
        self._outside = pods.create(OUTSIDE_HOST, addresses, OUTSIDE, self._directory, {}, files, None)
        pods.connect(self._outside, self._network)
        self._selector.register(self._outside.channel, selectors.EVENT_READ, self._outside)
        pods.release(self._outside)
        self._change({item.key: placed(item) for item in objects})

    def run(self, listener: socket.socket) -> None:
        """Answer requests, as long as the control socket is where it was: a lab that nobody can reach ends."""
        place = _identity(self._directory.socket)
        wake, wakeup = socket.socketpair()
        for end in (wake, wakeup):
            end.setblocking(False)
        control = Control(listener, self._selector, self._answer)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wakeup.fileno(), warn_on_full_buffer=False)
        self._selector.register(wake, selectors.EVENT_READ)
        while _identity(self._directory.socket) == place:
            unsettled = any(not pod.settled and not pod.failed for pod in self._pods.values())
            busy = unsettled or self._waiting or control.busy
            for key, _ in self._selector.select(_LOOK if busy else _IDLE):
                if key.fileobj is wake:
                    with contextlib.suppress(BlockingIOError):
                        wake.recv(4096)
                elif isinstance(key.data, RunningPod):
                    self._hear_pod(key.data)
                else:
                    control.hear(key)
            control.forget_slow()
            self._reap()
            self._look()

    # --- changing the cluster -------------------------------------------------------------------------------------

    def _change(self, objects: Mapping[Key, Object]) -> None:
        """Make the lab be what the objects say; all of it or nothing. Raises GatewrightError."""
        before = self._desired
        after = cluster.desire(objects, self._plan, before)
        stop, start = cluster.changed(before, after)
        leaving = [
            cluster.with_status(before.pods[key].pod, before.addresses[key], "Running")
            for key in stop - set(after.pods)
        ]
        finished = {key: phase for key, phase in self._finished.items() if key not in start}
        self._enforcement.program(after.snapshot_objects(finished, leaving))
        self._objects, self._desired, self._finished = dict(objects), after, finished
        for key in sorted(stop):
            self._remove(key)
        for key in set(self._pods) - start:
            self._pods[key].plan = after.pods[key]
        self._add(sorted(start))
        self._publish()
        if leaving:
            self._enforcement.program(after.snapshot_objects(finished))

    def _add(self, keys: list[str]) -> None:
        created = []
        for key in keys:
            plan = self._desired.pods[key]
            self._links += 1
            zone = self._directory.zone if key == NAME_SERVER else None
            config_maps = self._desired.config_maps(plan.pod.namespace)
            addresses = self._desired.addresses[key]
            files = pod_files(plan, addresses)
            pod = pods.create(plan, addresses, f"pod{self._links}", self._directory, config_maps, files, zone)
            self._pods[key] = pod
            created.append(pod)
        for pod in created:
            try:
                pods.connect(pod, self._network)
            except LabError as error:
                pod.failed = str(error)
        for pod in sorted(created, key=lambda one: one.key != NAME_SERVER):
            self._selector.register(pod.channel, selectors.EVENT_READ, pod)
            pods.release(pod)
            if pod.key == NAME_SERVER:
                self._wait_for_names(pod)

    def _wait_for_names(self, pod: RunningPod) -> None:
        """Programs that look a name up as they start find the name server answering, as in a cluster that stands."""
        deadline = time.monotonic() + _NAMES_WITHIN
        while not pod.ready and not pod.failed and time.monotonic() < deadline:
            pods.hear(pod)
            pods.check_ready(pod)
            time.sleep(0.005)
        self._publish()

    def _remove(self, key: str) -> None:
        pod = self._pods.pop(key)
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(pod.channel)
        pods.stop(pod, self._network)
        for container in (*pod.plan.pod.spec.init_containers, *pod.plan.pod.spec.containers):
            path = pods.log_path(self._directory, pod.plan.pod.namespace, pod.plan.pod.name, container.name)
            path.unlink(missing_ok=True)

    def _backends(self) -> tuple[Backend, ...]:
        return tuple(Backend(pod.plan.pod, pod.plan.hostname, pod.addresses, pod.ready) for pod in self._pods.values())

    def _publish(self) -> None:
        """Put Services and names in force as the pods are now."""
        backends = self._backends()
        found, allocations = self._desired.services, self._desired.allocations
        self._nft.run(services.program(found, allocations, backends, self._plan.families))
        namespaces = [name for kind, _, name in self._desired.objects if kind == "Namespace"]
        _write_zone(self._directory.zone, zone_of(found, allocations, backends, namespaces))
        self._stale = False

    # --- watching -------------------------------------------------------------------------------------------------

    def _hear_pod(self, pod: RunningPod) -> None:
        was_ready = pod.ready
        if not pods.hear(pod):
            self._selector.unregister(pod.channel)
            pod.failed = pod.failed or "its first process ended"
            pod.ready = False
        self._stale |= was_ready != pod.ready
        if pod.key in self._pods and pod.phase in ("Succeeded", "Failed") and self._finished.get(pod.key) != pod.phase:
            pod.ready = False
            self._finished[pod.key] = pod.phase
            self._stale = True
            try:
                self._enforcement.program(self._desired.snapshot_objects(self._finished))
            except GatewrightError as error:
                self._log(error)

    def _log(self, error: GatewrightError) -> None:
        """Nobody asked, so nobody can be told but the lab's log; the next change tries again."""
        self._stale = False
        sys.stderr.write(f"{error}\n")
        sys.stderr.flush()

    def _look(self) -> None:
        changes = [pods.check_ready(pod) for pod in self._pods.values()]
        self._stale |= any(changes)
        unsettled = [pod for pod in self._pods.values() if not pod.settled]
        if self._stale:
            try:
                self._publish()
            except GatewrightError as error:
                self._log(error)
        now = time.monotonic()
        hopeless = bool(unsettled) and all(pod.failed or pod.phase == "Failed" for pod in unsettled)
        for waiting in [one for one in self._waiting if not unsettled or hopeless or one.until <= now]:
            self._waiting.remove(waiting)
            waiting.answer({"unready": [views.why(self._directory, pod) for pod in unsettled]})

    def _reap(self) -> None:
        while True:
            try:
                pid, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return

    # --- requests -------------------------------------------------------------------------------------------------

    def _answer(self, request: Message, answer: Answer) -> None:
        try:
            if request.get("op") == "wait":
                self._waiting.append(_Waiting(time.monotonic() + float(request["timeout"]), answer))
                return
            operation = _OPERATIONS.get(str(request.get("op")))
            if operation is None:
                raise LabError(f"the lab does not know the request {request.get('op')!r}")
            answer(operation(self, request))
        except InvalidInput as error:
            answer({"problems": [[problem.where, problem.what] for problem in error.problems]})
        except GatewrightError as error:
            answer({"error": str(error)})
        except (KeyError, TypeError, ValueError, OSError) as error:
            answer({"error": f"the lab could not do that: {type(error).__name__}: {error}"})

    def apply(self, request: Message) -> Message:
        """Create or change objects."""
        lines, objects = [], dict(self._objects)
        for item in objects_from_json(request["objects"]):
            known = objects.get(item.key)
            same = known is not None and _same(known, item)
            lines.append(f"{resource_name(item)} {'unchanged' if same else 'configured' if known else 'created'}")
            objects[item.key] = item
        self._change(objects)
        return {"lines": lines, "warnings": list(self._desired.warnings)}

    def delete(self, request: Message) -> Message:
        """Delete objects."""
        lines, missing, keys = [], [], []
        for item in objects_from_json(request["objects"]):
            if item.key in self._objects:
                keys.append(item.key)
                scope = f" from {item.namespace} namespace" if item.namespace else ""
                name = resource_name(item).replace("/", ' "', 1) + '"'
                lines.append(f"{name} deleted{scope}")
            else:
                missing.append(f'{resource_name(item).partition("/")[0]} "{item.name}" not found')
        self._change(cluster.without(self._objects, keys))
        return {"lines": lines, "missing": missing}

    def status(self, _: Message) -> Message:
        """Everything there is to see."""
        backends, allocations = self._backends(), self._desired.allocations
        return {
            "network": self._enforcement.name,
            "enforces": self._enforcement.enforces,
            "nodeAddresses": _texts(NODE_ADDRESSES, self._plan.families),
            "outsideAddresses": _texts(OUTSIDE_ADDRESSES, self._plan.families),
            "podCIDRs": [str(network) for network in self._plan.pod_networks],
            "pods": [views.pod_status(self._pods[key]) for key in sorted(self._pods)],
            "services": [views.service_status(one, allocations, backends) for one in self._desired.services],
            "policies": [f"{one.namespace}/{one.name}" for one in self._desired.policies],
            "warnings": list(self._desired.warnings),
        }

    def locate(self, request: Message) -> Message:
        """What `lab exec` needs to enter a pod: process ids, the container's environment and directory."""
        name = str(request["pod"])
        pod = self._pod(name)
        spec = pod.plan.pod.spec
        wanted = request.get("container") or spec.containers[0].name
        container = next((one for one in (*spec.containers, *spec.init_containers) if one.name == wanted), None)
        if container is None:
            names = ", ".join(one.name for one in spec.containers)
            raise LabError(f"container {wanted} is not in pod {name}; it has: {names}")
        pid = pod.containers.get(wanted, {}).get("pid", 0)
        if not pid:
            raise LabError(f"container {wanted} of pod {name} is not running; see: gatewright lab logs {name}")
        return {
            "pid": pod.pid,
            "container": pid,
            "environment": environment(container, pod.plan.hostname),
            "directory": container.working_dir or "/",
        }

    def containers(self, request: Message) -> Message:
        """The names of a pod's containers, the first one first."""
        spec = self._pod(str(request["pod"])).plan.pod.spec
        return {"containers": [one.name for one in (*spec.containers, *spec.init_containers)]}

    def _pod(self, name: str) -> RunningPod:
        pod = self._outside if name == OUTSIDE else self._pods.get(name)
        if pod is None:
            namespace, _, short = name.partition("/")
            raise LabError(f'pods "{short}" not found in namespace "{namespace}"; see: gatewright lab status')
        return pod

    def objects(self, _: Message) -> Message:
        """The cluster as the engine sees it, and where each pod is, for the probe."""
        assert self._outside is not None
        everything = self._desired.snapshot_objects(self._finished)
        return {
            "objects": objects_to_json(everything),
            "pids": {key: pod.pid for key, pod in self._pods.items()} | {OUTSIDE: self._outside.pid},
        }


_OPERATIONS: dict[str, Callable[[Lab, Message], Message]] = {
    "apply": Lab.apply,
    "delete": Lab.delete,
    "status": Lab.status,
    "locate": Lab.locate,
    "containers": Lab.containers,
    "objects": Lab.objects,
}


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _same(left: Object, right: Object) -> bool:
    return bool(msgspec.structs.replace(left, origin=None) == msgspec.structs.replace(right, origin=None))


def _texts(addresses: Iterable[IPAddress], families: Iterable[int]) -> list[str]:
    wanted = set(families)
    return [str(address) for address in addresses if address.version in wanted]


def _write_zone(directory: Path, zone: Zone) -> None:
    """Replace the zone file whole, so that the name server never reads half of one."""
    new = directory / "zone.new"
    new.write_text(json.dumps(zone.to_json()))
    new.replace(directory / ZONE_FILE)
