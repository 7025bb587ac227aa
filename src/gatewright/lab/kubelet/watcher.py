"""One run of a container, watched: its postStart hook, its startup probe, then liveness and readiness side by side.

Without a readiness probe a container is ready once its declared TCP ports accept (docs/design/0083). Where a stand-in
runs, or a probe asks by gRPC, which the lab does not speak, the ports answer in its place; an Event says so.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Protocol

from gatewright.lab.api.resources import Tree
from gatewright.lab.kubelet.checks import Asked, Failed, ask, connects
from gatewright.lab.kubelet.containers import Containers
from gatewright.lab.kubelet.machine import Run
from gatewright.lab.kubelet.podspec import Part
from gatewright.lab.kubelet.probes import Probe, Purpose, Tally, awaited_ports, counted, pause, probe_of
from gatewright.lab.runtime.model import STAND_IN

_PORT_PATIENCE = 1.0
_HOOK_PATIENCE = 3600.0


class Kill(Protocol):
    """Ends a run of a container; a grace of None is the pod's."""

    def __call__(self, name: str, run: Run, grace: float | None, why: str) -> None:
        """`why` follows "Container NAME "."""


class Watcher:
    """`started` and `ready` are what is known now; `changed` is called when they become different."""

    def __init__(
        self,
        containers: Containers,
        asked: Asked,
        part: Part,
        run: Run,
        *,
        changed: Callable[[], None],
        event: Callable[[str, str, str], None],
        kill: Kill,
    ) -> None:
        self.started = self.ready = False
        self._containers, self._asked, self._part, self._run = containers, asked, part, run
        self._changed, self._event, self._kill = changed, event, kill
        self._task: asyncio.Task[None] | None = None

    def begin(self, *, started: bool = False, ready: bool = False) -> None:
        """Watch. `started` and `ready`: what is known of a run that another kubelet has watched."""
        tree = self._part.tree
        self.started = started or not (self._hook() or tree.get("startupProbe"))
        self.ready = ready
        if self.started and not awaited_ports(tree) and not (tree.get("readinessProbe") or tree.get("livenessProbe")):
            self.ready = True
        else:
            self._task = asyncio.ensure_future(self._watch())

    def end(self) -> None:
        """The run has ended, or nobody wants to know any more."""
        self.started = self.ready = False
        if self._task is not None:
            self._task.cancel()

    def _hook(self) -> Tree | None:
        """The postStart hook, where it can be run: a stand-in has no programs."""
        hook: Tree | None = (self._part.tree.get("lifecycle") or {}).get("postStart")
        return None if hook and "exec" in hook and self._run.runs == STAND_IN else hook

    def _probe(self, purpose: Purpose) -> Probe | None:
        """A probe that can be asked; where it cannot be, an Event tells what counts in its place."""
        probe = probe_of(self._part, purpose)
        if probe is None:
            return None
        if probe.kind == "grpc":
            what = f"the lab asks no grpc probes: of container {self._part.name}, its TCP ports decide"
        elif probe.kind == "exec" and self._run.runs == STAND_IN:
            what = (
                f"a stand-in has no programs: exec probes of container {self._part.name} are not run, its ports decide"
            )
        else:
            return probe
        self._event("Warning", "ProbeReplaced", what)
        return None

    async def _watch(self) -> None:
        if not self.started and not await self._start_up():
            return
        if not self.started:
            self.started = True
            self._changed()
        liveness, readiness = self._probe("liveness"), self._probe("readiness")
        await asyncio.gather(
            self._keep_asking(liveness) if liveness else _nothing(),
            self._keep_asking(readiness) if readiness else self._await_ports(),
        )

    async def _start_up(self) -> bool:
        """Whether the hook and the startup probe let the container go on."""
        if hook := self._hook():
            try:
                await ask(self._containers, self._asked, hook, _HOOK_PATIENCE)
            except Failed as error:
                self._event("Warning", "FailedPostStartHook", f"PostStartHook failed: {error}")
                self._kill(self._part.name, self._run, None, "failed postStart hook")
                return False
        startup = self._probe("startup")
        return startup is None or await self._keep_asking(startup)

    async def _keep_asking(self, probe: Probe) -> bool:
        """Ask for as long as the purpose wants. Whether a startup probe passed; others end by a failure or never."""
        tally, new = Tally(), probe.purpose == "readiness" and probe.successes == 1
        await asyncio.sleep(max(0.0, probe.delay))
        while True:
            tally = counted(tally, probe, await self._answer(probe))
            if probe.purpose == "readiness":
                self._set_ready(bool(tally.passed))
            elif tally.passed is False:
                self._kill(self._part.name, self._run, probe.grace, f"failed {probe.purpose} probe, will be restarted")
                return False
            elif tally.passed and probe.purpose == "startup":
                return True
            new = new and not tally.passed
            if new and await self._becomes_ready(probe):
                tally, new = counted(tally, probe, True), False
            else:
                await asyncio.sleep(0.0 if new else probe.period)

    async def _becomes_ready(self, probe: Probe) -> bool:
        """Whether a container that was never ready becomes so before it is to be asked again; asks now and then.

        A program that needs a second to start would wait for the period, ten seconds mostly, before anybody sees it.
        """
        loop, looks = asyncio.get_running_loop(), 0
        until = loop.time() + probe.period
        while (left := until - loop.time()) > 0:
            await asyncio.sleep(min(left, pause(looks)))
            looks += 1
            if loop.time() >= until:
                break
            with contextlib.suppress(Failed):
                await ask(self._containers, self._asked, probe.action, probe.timeout)
                self._set_ready(True)
                await asyncio.sleep(max(0.0, until - loop.time()))
                return True
        return False

    async def _answer(self, probe: Probe) -> bool:
        try:
            await ask(self._containers, self._asked, probe.action, probe.timeout)
        except Failed as error:
            self._event("Warning", "Unhealthy", f"{probe.purpose.title()} probe failed: {error}")
            return False
        return True

    async def _await_ports(self) -> None:
        left, looks = set(awaited_ports(self._part.tree)), 0
        while left and not self.ready:
            for port in sorted(left):
                try:
                    async with asyncio.timeout(_PORT_PATIENCE):
                        await connects(self._asked.address, port)
                except (Failed, TimeoutError):
                    break
                left.discard(port)
            if left:
                await asyncio.sleep(pause(looks))
                looks += 1
        self._set_ready(True)

    def _set_ready(self, ready: bool) -> None:
        if ready != self.ready:
            self.ready = ready
            self._changed()


async def _nothing() -> None:
    """No probe."""
