"""One pod and what keeps it as its spec says: asks the state machine, does what it says, tells what came of it.

A thin shell: what to do is decided in `machine.py`, what to tell in `podstatus.py`. One task a pod and one a step under
way, so that a pod that hangs holds up no other.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Coroutine, Iterable

from gatewright.lab.api.resources import Tree
from gatewright.lab.errors import LabError
from gatewright.lab.kubelet import machine
from gatewright.lab.kubelet.checks import Asked, Failed, ask
from gatewright.lab.kubelet.downward import Facts, Unresolved
from gatewright.lab.kubelet.home import Home
from gatewright.lab.kubelet.machine import Run, View
from gatewright.lab.kubelet.podspec import Part, read_pod, seconds_of
from gatewright.lab.kubelet.podstatus import Known, pod_status
from gatewright.lab.kubelet.runs import CONFIGURATION, Runs
from gatewright.lab.kubelet.setup import container_setup, pod_setup
from gatewright.lab.kubelet.volumes import MountFailure, replaced, volumes
from gatewright.lab.kubelet.watcher import Watcher
from gatewright.lab.runtime.model import STAND_IN, ContainerState, PodState, Volume

SETTLING = 0.06
"""Seconds that a change of status waits for more, so that a pod that starts is told in few writes."""
_LOST = 1.0
"""Seconds before the runtime is asked again for what it did not do."""
_RETRY = 5.0
"""Seconds before a reference that leads nowhere is looked at again, if nothing happens."""
_LEAST_GRACE = 2.0
"""Seconds that a container has after a preStop hook that took all of its grace (as with a real kubelet)."""
_VOLUMES = ""
"""What the task that changes volumes is called among those of containers."""
_log = logging.getLogger(__name__)


class PodWorker:
    """One pod on this node. `run` is its life; everything else tells it what has changed."""

    def __init__(self, home: Home, tree: Tree, found: PodState | None = None) -> None:
        """`found`: what the runtime runs of it already."""
        self.pod = read_pod(tree)
        self._home = home
        self._wake = asyncio.Event()
        self._stands = found is not None and found.pid != 0
        self._stale = found is not None and not self._stands
        self._gone = False
        self._addresses: tuple[str, ...] = found.addresses if found else ()
        self._runs = Runs()
        self._busy: dict[str, asyncio.Task[None]] = {}
        self._watchers: dict[str, Watcher] = {}
        self._volumes: dict[str, Volume] = {}
        self._failure = ("", "")
        self._over = found is None and self.pod.finished
        self._removed = False
        self._link = ""
        self._set_up_wait = 0.0
        self._end_by: float | None = None
        self._told_at = 0.0
        self._said: set[str] = set()
        self._start_time = seconds_of(self.pod.status.get("startTime")) or time.time()
        if found is not None:
            self._adopt(found)

    # What others tell it.

    def update(self, tree: Tree) -> None:
        """The object has changed."""
        before, self.pod = self.pod, read_pod(tree)
        if self.pod.deleting and (not before.deleting or self.pod.grace < before.grace):
            self._shorten()
        old, new = before.tree["metadata"], tree["metadata"]
        if any(old.get(name) != new.get(name) for name in ("labels", "annotations")):
            self.references_changed()
        self._wake.set()

    def look(self) -> None:
        """Something has changed that a pod may wait for."""
        self._wake.set()

    def gone(self) -> None:
        """The object is gone: nothing of it is to be left."""
        self._gone = True
        self._wake.set()

    def references_changed(self) -> None:
        """A ConfigMap or Secret that the pod may refer to has changed."""
        self._runs.references_changed()
        if self._stands and self.pod.spec.get("volumes") and _VOLUMES not in self._busy:
            self._begin(_VOLUMES, self._refresh_volumes())
        self._wake.set()

    def container_ended(self, state: ContainerState) -> None:
        """A run of a container has ended."""
        if (ended := self._runs.ended(state, _now())) is not None:
            self._take_end(state.name, ended)

    def died(self) -> None:
        """The sandbox is gone, and every container in it: it is made anew."""
        self._stands, self._stale = False, True
        for name in self._runs.lose(time.time()):
            self._stop_watching(name)
        if not self._leaving:
            self._event("Normal", "SandboxChanged", "Pod sandbox changed, it will be killed and re-created.")
        self._wake.set()

    # Its life.

    async def run(self) -> None:
        """Live until the object is gone, and nothing of the pod is left here."""
        try:
            while not self._gone:
                self._wake.clear()
                again = await self._step()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(again):  # not wait_for, which loses a cancellation now and then
                        await self._wake.wait()
        finally:
            for name in list(self._watchers):
                self._stop_watching(name)
            await _cancelled(self._busy.values())
        while not await self._remove():
            await asyncio.sleep(_LOST)

    async def _step(self) -> float | None:
        """Do the next thing; seconds until the next look."""
        if self._over:
            return await self._after_the_end()
        if not self._stands and not self._leaving and not machine.has_ended(self._view()):
            wait = await self._set_up()
            if wait is not None:
                return wait
        again = self._deadline()
        decision = machine.decide(self._view(), _now())
        for name in decision.stop:
            self._begin(name, self._stop(name, self._grace_left(), "Stopping container"))
        for name in decision.start:
            self._begin(name, self._start(self.pod.part(name)))
        if decision.over:
            self._over = True
            self._tell()
            return 0.0
        self._tell_soon()
        if decision.again is not None:
            due = max(0.0, decision.again - _now())
            again = due if again is None else min(again, due)
        return again if self._told_at == 0.0 else min(SETTLING, again if again is not None else SETTLING)

    def _view(self) -> View:
        started = frozenset(name for name, watcher in self._watchers.items() if watcher.started)
        busy = frozenset(self._busy) - {_VOLUMES}
        return View(self.pod, self._runs.newest, started, self._runs.due, busy, self._runs.done, self._leaving)

    @property
    def _leaving(self) -> bool:
        return self._gone or self.pod.deleting or bool(self._failure[0])

    async def _after_the_end(self) -> float | None:
        """All has ended: what is left stays, for its logs, until the object is to go."""
        if self.pod.deleting and not self._removed:
            if not await self._remove():
                return _LOST
            self._removed = True
            self._home.ended(self.pod.tree)
        return None

    async def _remove(self) -> bool:
        try:
            await self._home.runner.remove_pod(self.pod.uid)
        except LabError as error:
            _log.warning("pod %s/%s: %s", self.pod.namespace, self.pod.name, error)
            return False
        self._stands = False
        return True

    # The sandbox.

    async def _set_up(self) -> float | None:
        """Make the sandbox; None when it stands, else seconds until the next attempt."""
        home, pod = self._home, self.pod
        if self._stale:
            await _cancelled(self._busy.values())  # what was under way in the old sandbox
            if not await self._remove():
                return _LOST
            self._stale = False
        try:
            addresses = tuple(home.addresses) if pod.host_network else home.pod_addresses(pod.uid)
            if addresses is None:
                self._tell()
                return _RETRY
            self._addresses = addresses
            self._link = self._link or home.link()
            setup = pod_setup(pod, self._facts(), home.lookup(pod.namespace), home.node, home.resolver, self._link)
            self._tell()
            await home.runner.create_pod(setup)
        except MountFailure as error:
            self._once("Warning", "FailedMount", str(error))
            self._tell()
            return _RETRY
        except LabError as error:
            self._once("Warning", "FailedCreatePodSandBox", f"Failed to create pod sandbox: {error}")
            self._tell()
            self._stale, self._link = True, ""
            self._set_up_wait = machine.back_off(self._set_up_wait, 0.0)
            return self._set_up_wait
        self._volumes, self._link = setup.volumes, ""
        self._runs.begin_anew(pod)
        self._stands, self._set_up_wait = True, 0.0
        for line in replaced(pod.tree):
            self._once("Warning", "VolumeReplaced", line)
        return None

    def _facts(self) -> Facts:
        return Facts(self.pod.tree, self._addresses, self._home.addresses, self._home.allocatable)

    async def _refresh_volumes(self) -> None:
        with contextlib.suppress(MountFailure):  # what is there stays, as in a cluster
            wanted = volumes(self._facts(), self._home.lookup(self.pod.namespace))
            changed = {
                name: one for name, one in wanted.items() if one.files is not None and one != self._volumes.get(name)
            }
            if changed:
                await self._home.runner.update_volumes(self.pod.uid, changed)
                self._volumes = {**self._volumes, **changed}

    def _adopt(self, found: PodState) -> None:
        """Take over what runs. What the API says of it counts where the runtime cannot know better."""
        status = self.pod.status
        every = (*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ()))
        known: dict[str, Tree] = {one["name"]: one for one in every}
        self._runs.adopt(found.containers, known, _now())
        if self._stands and self.pod.spec.get("volumes"):
            self._begin(_VOLUMES, self._refresh_volumes())
        for part in self.pod.parts:
            run, told = self._runs.newest.get(part.name), known.get(part.name) or {}
            if self._stands and run is not None and run.running and part.kind != "init":
                same = told.get("restartCount") == run.number
                self._watch(part, run, same and bool(told.get("started")), same and bool(told.get("ready")))

    # Containers.

    def _begin(self, name: str, work: Coroutine[None, None, None]) -> None:
        task = asyncio.ensure_future(work)
        self._busy[name] = task

        def done(_: asyncio.Task[None]) -> None:
            if self._busy.get(name) is task:
                del self._busy[name]
            if not task.cancelled() and (error := task.exception()) is not None:
                _log.error("pod %s/%s: %s", self.pod.namespace, self.pod.name, error, exc_info=error)
                self._runs.due[name] = _now() + machine.LONGEST_BACK_OFF
            self._wake.set()

        task.add_done_callback(done)

    async def _start(self, part: Part) -> None:
        home, pod, name = self._home, self.pod, part.name
        number = self._runs.following(name)
        try:
            setup = container_setup(pod, part, number, self._facts(), home.lookup(pod.namespace), home.services())
            state = await home.runner.start_container(pod.uid, setup)
        except Unresolved as error:
            self._hold(name, CONFIGURATION, str(error), _now() + _RETRY)
            return
        except LabError as error:
            self._hold(name, "CreateContainerError", str(error), self._runs.put_off(name, _now()))
            return
        run = self._runs.begun(state, _now())
        self._tell_started(part, run)
        if not run.running:
            self._take_end(name, run)
        elif part.kind != "init":
            self._watch(part, run)

    def _take_end(self, name: str, run: Run) -> None:
        self._stop_watching(name)
        part = self.pod.part(name)
        over = self._leaving or machine.is_done(part, run, self.pod) or machine.has_ended(self._view())
        if not over:
            self._event("Warning", "BackOff", self._back_off_words(name))
        self._wake.set()

    def _hold(self, name: str, reason: str, message: str, until: float) -> None:
        self._runs.hold(name, reason, message, until)
        self._once("Warning", "Failed", f"Error: {message}")

    def _tell_started(self, part: Part, run: Run) -> None:
        image = str(part.tree.get("image") or "")
        if image:
            self._event(
                "Normal",
                "Pulled",
                f'Container image "{image}" already present on machine and can be accessed by the pod',
            )
        self._event("Normal", "Created", f"Container created: {part.name}")
        self._event("Normal", "Started", f"Container started: {part.name}")
        if run.runs == STAND_IN:
            why = f" ({run.note})" if run.note else ""
            line = f"container {part.name}: its program is not on this machine{why}; listeners stand in on its ports"
            self._once("Normal", "StandIn", line)

    async def _stop(self, name: str, grace: float, why: str) -> None:
        """End a container; its preStop hook has part of the time that it has."""
        part, run = self.pod.part(name), self._runs.newest[name]
        message = f"{why} {name}" if why.startswith("Stopping") else f"Container {name} {why}"
        self._event("Normal", "Killing", message)
        began = _now()
        hook = (part.tree.get("lifecycle") or {}).get("preStop")
        if hook and grace > 0 and not (run.runs == STAND_IN and "exec" in hook):
            try:
                await ask(self._home.runner.containers, self._asked(part), hook, grace)
            except Failed as error:
                self._event("Warning", "FailedPreStopHook", f"PreStopHook failed: {error}")
            grace = max(grace - (_now() - began), min(_LEAST_GRACE, grace))
        try:
            await self._home.runner.stop_container(self.pod.uid, name, grace)
        except LabError as error:
            _log.warning("pod %s/%s: cannot stop %s: %s", self.pod.namespace, self.pod.name, name, error)
            await asyncio.sleep(_LOST)

    def kill(self, name: str, run: Run, grace: float | None, why: str) -> None:
        """A probe or a hook wants this run of a container ended; what follows is up to the restart policy."""
        if self._runs.newest.get(name) == run and name not in self._busy and not self._leaving:
            self._begin(name, self._stop(name, self.pod.grace if grace is None else grace, why))

    def _watch(self, part: Part, run: Run, started: bool = False, ready: bool = False) -> None:
        watcher = Watcher(
            self._home.runner.containers,
            self._asked(part),
            part,
            run,
            changed=self._changed,
            event=self._event,
            kill=self.kill,
        )
        self._watchers[part.name] = watcher
        watcher.begin(started=started, ready=ready)

    def _asked(self, part: Part) -> Asked:
        return Asked(self.pod.namespace, self.pod.name, part.tree, self._addresses or self._home.addresses)

    def _stop_watching(self, name: str) -> None:
        if (watcher := self._watchers.pop(name, None)) is not None:
            watcher.end()

    def _changed(self) -> None:
        self._wake.set()

    # Ends.

    def _deadline(self) -> float | None:
        """Seconds until activeDeadlineSeconds is over, None where there is none; the pod fails when it is."""
        limit = self.pod.spec.get("activeDeadlineSeconds")
        if limit is None or self._leaving:
            return None
        left = self._start_time + float(limit) - time.time()
        if left <= 0:
            words = "Pod was active on the node longer than the specified deadline"
            self._failure = ("DeadlineExceeded", words)
            self._event("Normal", "DeadlineExceeded", words)
            return 0.0
        return left

    def _shorten(self) -> None:
        """The time that containers have to end has become shorter: stop them anew."""
        grace = 0.0 if self._gone else self.pod.grace
        end = _now() + grace
        stamp = seconds_of(self.pod.tree["metadata"].get("deletionTimestamp"))
        if stamp is not None and not self._gone:
            end = min(end, _now() + max(0.0, stamp + 1 - time.time()))
        if self._end_by is None or end < self._end_by:
            self._end_by = end
            for name in [name for name in self._busy if self._runs.is_running(name)]:
                self._busy.pop(name).cancel()

    def _grace_left(self) -> float:
        if self._end_by is None:
            if self.pod.deleting:
                self._shorten()
            else:
                self._end_by = _now() + self.pod.grace
        return max(0.0, (self._end_by or 0.0) - _now())

    # Telling.

    def _tell_soon(self) -> None:
        """Tell in a moment: what comes until then is told together."""
        now = _now()
        if self._told_at == 0.0:
            self._told_at = now + SETTLING
        elif now >= self._told_at:
            self._tell()

    def _tell(self) -> None:
        self._told_at = 0.0
        if self._gone:
            return
        self._home.tell(self.pod.tree, pod_status(self._known(), time.time()))

    def _known(self) -> Known:
        return Known(
            self._view(),
            self._stands,
            self._start_time,
            self._addresses,
            self._home.addresses,
            frozenset(name for name, watcher in self._watchers.items() if watcher.ready),
            self._runs.last,
            self._runs.waiting,
            self._failure,
            self._over,
        )

    def _event(self, kind: str, reason: str, message: str) -> None:
        self._home.event(self.pod.tree, kind, reason, message)

    def _once(self, kind: str, reason: str, message: str) -> None:
        if message not in self._said:
            self._said.add(message)
            self._event(kind, reason, message)

    def _back_off_words(self, name: str) -> str:
        pod = self.pod
        return f"Back-off restarting failed container {name} in pod {pod.name}_{pod.namespace}({pod.uid})"


def _now() -> float:
    return time.monotonic()


async def _cancelled(tasks: Iterable[asyncio.Task[None]]) -> None:
    waiting = list(tasks)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
