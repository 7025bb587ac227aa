"""A node of the lab: registers itself, runs the pods that are bound to it, and answers the API's calls.

An ordinary client of the API and of the runtime. Killed, it leaves the pods running, and the next one finds them; with
the API away nothing stops, and all is told when it is back.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gatewright.lab.api.resources import BY_PLURAL, Tree
from gatewright.lab.apiclient.events import Recorder
from gatewright.lab.apiclient.following import Change, Follower, Name
from gatewright.lab.apiclient.writing import Writer
from gatewright.lab.errors import LabError
from gatewright.lab.kubelet import node as nodes
from gatewright.lab.kubelet.environment import Lookup
from gatewright.lab.kubelet.outbox import PODS, Outbox, quietly
from gatewright.lab.kubelet.podspec import references
from gatewright.lab.kubelet.ranges import Ranges
from gatewright.lab.kubelet.runner import Runner
from gatewright.lab.kubelet.server import running
from gatewright.lab.kubelet.worker import PodWorker
from gatewright.lab.runtime.model import ContainerEvent, PodState
from gatewright.sources.kubeconfig import Where

PORT = 10250
CONFIG_MAPS, SECRETS, SERVICES = (BY_PLURAL["", name] for name in ("configmaps", "secrets", "services"))
_FOLLOWED = (PODS, CONFIG_MAPS, SECRETS, SERVICES, nodes.NODES)
COMPONENT = "kubelet"
_HEARTBEAT = "the node's heartbeat"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class KubeletSettings:
    """One node.

    `addresses` are the node's, IPv4 first; `folder` is the node's own, `authority` the folder of the endpoint that
    signs the keys (its `ca.crt` and `ca.key`); `resolver` is where the cluster's names are answered. Without
    `authority` the kubelet serves no exec, attach, logs and port-forward.
    """

    node: str
    addresses: tuple[str, ...]
    where: Where
    socket: Path
    folder: Path
    authority: Path | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[Tree, ...] = ()
    resolver: str = "10.96.0.10"
    port: int = PORT


class Kubelet:
    """Everything but the loop and its end. For the thread of the loop."""

    def __init__(self, settings: KubeletSettings, runner: Runner, outbox: Outbox, follower: Follower) -> None:
        self.node, self.addresses, self.resolver = settings.node, settings.addresses, settings.resolver
        self.runner = runner
        self.heartbeat: Heartbeat | None = None
        self.allocatable = nodes.resources()
        self._outbox, self._follower = outbox, follower
        self._ranges = Ranges(settings.folder / "ranges.json")
        self._versions = {6 if ":" in address else 4 for address in settings.addresses}
        self._workers: dict[str, PodWorker] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._names: set[Name] = set()
        self._waiting: dict[Name, Tree] = {}
        self._begun = False
        self._interested: dict[tuple[str, str, str], set[str]] = {}

    # What a pod asks of its home.

    def lookup(self, namespace: str) -> Lookup:
        """ConfigMaps and Secrets of a namespace, as they are now."""
        resources = {one.kind: one for one in (CONFIG_MAPS, SECRETS)}
        return lambda kind, name: self._follower.get(resources[kind], namespace, name)

    def services(self) -> Iterable[Tree]:
        """All Services."""
        return self._follower.all(SERVICES)

    def pod_addresses(self, uid: str) -> tuple[str, ...] | None:
        """Addresses for a pod."""
        return self._ranges.take(uid)

    def link(self) -> str:
        """A name for a link."""
        return self._ranges.link()

    def tell(self, pod: Tree, status: Tree) -> None:
        """Tell the API a status."""
        self._outbox.status(pod, status)

    def event(self, pod: Tree, kind: str, reason: str, message: str) -> None:
        """Tell an Event."""
        self._outbox.event(pod, kind, reason, message)

    def ended(self, pod: Tree) -> None:
        """Tell that a pod that is being deleted is gone."""
        self._outbox.ended(pod)

    # What the API and the runtime tell.

    def begin(self, found: Sequence[PodState]) -> None:
        """Begin with what runs, and with what should: everything has been listed."""
        self._begun = True
        self.networks_changed(self._follower.get(nodes.NODES, "", self.node))
        self._ranges.adopt({pod.uid: pod.addresses for pod in found if not pod.host_network})
        known = {pod.uid: pod for pod in found}
        trees = self._follower.all(PODS)
        for uid in known.keys() - {tree["metadata"]["uid"] for tree in trees}:
            orphan = known.pop(uid)
            self._names.add((orphan.namespace, orphan.name))
            self._tasks[uid] = asyncio.ensure_future(self._clear_away(orphan))
        for tree in trees:
            self._put(tree, known.get(tree["metadata"]["uid"]))

    def heard(self, changes: Iterable[Change]) -> None:
        """What has changed in the API. Before `begin` it is not of interest: that looks at everything."""
        for change in changes if self._begun else ():
            if change.resource is PODS:
                self._pod_changed(change)
            elif change.resource is nodes.NODES:
                self.networks_changed(change.after)
                if self.heartbeat is not None and change.after is not None:
                    self.heartbeat.heard(change.after)
            elif change.resource in (CONFIG_MAPS, SECRETS):
                for uid in tuple(self._interested.get((change.resource.kind, *change.name), ())):
                    self._workers[uid].references_changed()

    def networks_changed(self, tree: Tree | None) -> None:
        """The Node has changed: it may have pod ranges now."""
        spec = (tree or {}).get("spec") or {}
        cidrs = spec.get("podCIDRs") or ([spec["podCIDR"]] if spec.get("podCIDR") else [])
        if self._ranges.set_networks(cidrs, self._versions):
            for worker in self._workers.values():
                worker.look()

    async def listen(self) -> None:
        """Hear what the runtime tells, for ever."""
        while True:
            event = await self.runner.events.get()
            worker = self._workers.get(event.uid)
            if worker is None:
                continue
            if isinstance(event, ContainerEvent):
                worker.container_ended(event.container)
            else:
                worker.died()

    async def close(self) -> None:
        """Leave the pods as they are."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _pod_changed(self, change: Change) -> None:
        before, after = change.before, change.after
        if before is not None and (after is None or after["metadata"]["uid"] != before["metadata"]["uid"]):
            self._waiting.pop(change.name, None)
            if (worker := self._workers.get(before["metadata"]["uid"])) is not None:
                worker.gone()
        if after is not None:
            self._put(after, None)

    def _put(self, tree: Tree, found: PodState | None) -> None:
        metadata = tree["metadata"]
        name = (metadata["namespace"], metadata["name"])
        if (worker := self._workers.get(metadata["uid"])) is not None:
            worker.update(tree)
        elif name in self._names:  # the pod that has it is not gone yet
            self._waiting[name] = tree
        else:
            self._begin(tree, found)

    def _begin(self, tree: Tree, found: PodState | None) -> None:
        uid, namespace = tree["metadata"]["uid"], tree["metadata"]["namespace"]
        self._workers[uid] = worker = PodWorker(self, tree, found)
        self._names.add((namespace, tree["metadata"]["name"]))
        for kind, name in references(tree):
            self._interested.setdefault((kind, namespace, name), set()).add(uid)
        self._tasks[uid] = asyncio.ensure_future(self._live(worker))

    async def _live(self, worker: PodWorker) -> None:
        pod = worker.pod
        try:
            await worker.run()
        except LabError as error:
            _log.error("pod %s/%s: %s", pod.namespace, pod.name, error)
        del self._workers[pod.uid], self._tasks[pod.uid]
        for kind, name in references(pod.tree):
            self._interested.get((kind, pod.namespace, name), set()).discard(pod.uid)
        self._let_go(pod.uid, (pod.namespace, pod.name))

    async def _clear_away(self, pod: PodState) -> None:
        """Take away a pod that the API does not know."""
        while True:
            try:
                await self.runner.remove_pod(pod.uid)
                break
            except LabError as error:
                _log.warning("pod %s/%s is not in the API: %s", pod.namespace, pod.name, error)
                await asyncio.sleep(1)
        del self._tasks[pod.uid]
        self._let_go(pod.uid, (pod.namespace, pod.name))

    def _let_go(self, uid: str, name: Name) -> None:
        """Nothing is left of a pod: its name and addresses are free."""
        self._ranges.release(uid)
        self._outbox.forget(uid)
        self._names.discard(name)
        if (following := self._waiting.pop(name, None)) is not None:
            self._put(following, None)


class Heartbeat:
    """Keeps the Node and its Lease. Its work is done by the outbox' thread."""

    def __init__(self, settings: KubeletSettings, outbox: Outbox, port: int) -> None:
        self._settings, self._outbox, self._port = settings, outbox, port
        self._uid = ""
        self._told = 0.0
        self._doubted = False

    async def beat(self) -> None:
        """For ever."""
        while True:
            self._outbox.first(_HEARTBEAT, self._write)
            await asyncio.sleep(nodes.RENEWED_EVERY)

    def heard(self, tree: Tree) -> None:
        """The Node has changed. Whoever says that it is not well has not heard of it: it is told anew at once."""
        if self._uid == tree["metadata"]["uid"] and not nodes.is_ready(tree):
            self._doubted = True
            self._outbox.first(_HEARTBEAT, self._write)

    def _write(self, writer: Writer) -> None:
        now, name = time.time(), self._settings.node
        if self._doubted:
            self._told, self._doubted = 0.0, False
        if not self._uid or now - self._told >= nodes.TOLD_EVERY:
            self._register(writer, now)
            self._told = now
        lease = nodes.lease(name, self._uid, now)
        spec = {"spec": lease["spec"]}
        if not quietly(lambda: writer.patch(nodes.LEASES, nodes.LEASE_NAMESPACE, name, spec), "NotFound"):
            writer.create(nodes.LEASES, nodes.LEASE_NAMESPACE, lease)

    def _register(self, writer: Writer, now: float) -> None:
        settings = self._settings
        made = nodes.node_object(settings.node, settings.labels)
        if settings.taints:
            made["spec"]["taints"] = list(settings.taints)
        if not quietly(lambda: writer.create(nodes.NODES, "", made), "AlreadyExists"):
            labels = {"metadata": {"labels": nodes.own_labels(settings.node, settings.labels)}}
            writer.patch(nodes.NODES, "", settings.node, labels)
        known = writer.get(nodes.NODES, "", settings.node)
        self._uid = known["metadata"]["uid"]
        status = nodes.node_status(settings.node, settings.addresses, self._port, now, known.get("status") or {})
        writer.patch(nodes.NODES, "", settings.node, {"status": status}, "status")


async def keep_node(settings: KubeletSettings, runner: Runner, stop: asyncio.Event) -> None:
    """Be a node's kubelet until `stop` is set. Raises LabError when it cannot begin."""
    loop = asyncio.get_running_loop()
    settings.folder.mkdir(parents=True, exist_ok=True)

    def heard(changes: list[Change]) -> None:  # by the watching threads, and by the outbox for what it has written
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(kubelet.heard, changes)

    fields = {"Pod": f"spec.nodeName={settings.node}", "Node": f"metadata.name={settings.node}"}
    follower = Follower(settings.where, _FOLLOWED, heard, fields=fields)
    writer = Writer(settings.where, follower, COMPONENT)
    recorder = Recorder(writer, COMPONENT, time.time, settings.node)
    outbox = Outbox(writer, recorder, lambda namespace, name: follower.get(PODS, namespace, name))
    kubelet = Kubelet(settings, runner, outbox, follower)
    thread = threading.Thread(target=outbox.run, name="outbox", daemon=True)
    thread.start()
    tasks: list[asyncio.Task[None]] = []
    try:
        async with _served(settings, runner) as port:
            heartbeat = kubelet.heartbeat = Heartbeat(settings, outbox, port)
            tasks.append(asyncio.ensure_future(heartbeat.beat()))
            follower.start()
            if await _listed(follower, stop):
                kubelet.begin(await runner.pods())
                tasks.append(asyncio.ensure_future(kubelet.listen()))
                await stop.wait()
    finally:
        follower.stop()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await kubelet.close()
        outbox.stop()
        await asyncio.to_thread(thread.join, 15.0)


async def _listed(follower: Follower, stop: asyncio.Event) -> bool:
    """Wait until everything has been listed once, or the end has come; whether it has been."""
    while not stop.is_set():
        if follower.complete:
            return True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.02):
                await stop.wait()
    return False


@contextlib.asynccontextmanager
async def _served(settings: KubeletSettings, runner: Runner) -> AsyncIterator[int]:
    """The kubelet's server, and the port that it has."""
    if settings.authority is None:
        yield settings.port
        return
    keys = settings.folder / "keys"
    async with running(runner.containers, settings.authority, settings.addresses, settings.port, keys) as served:
        yield served.port
