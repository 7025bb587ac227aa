"""What is known of the containers of one pod: their runs, and when each may start again. Knows no clock but by asking.

Of each container the newest run and the one before, the wait that its last end has led to, and why it cannot be started
where it cannot. A new kubelet fills this from the runtime and from the status that the API has (`adopt`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from gatewright.lab.api.resources import Tree
from gatewright.lab.kubelet.machine import FIRST_BACK_OFF, Run, back_off, back_off_after, is_done, run_of
from gatewright.lab.kubelet.podspec import PodSpec, seconds_of
from gatewright.lab.runtime.model import ContainerState

CONFIGURATION = "CreateContainerConfigError"
"""Why a container waits whose environment refers to what is not there."""
_KILLED = 137


@dataclass(slots=True)
class Runs:
    """Changed in place. `now` is a monotonic time throughout, `due` too."""

    newest: dict[str, Run] = field(default_factory=dict)
    last: dict[str, Run] = field(default_factory=dict)
    due: dict[str, float] = field(default_factory=dict)
    """When a container may start again at the earliest."""
    waiting: dict[str, tuple[str, str]] = field(default_factory=dict)
    """(reason, message) of containers that cannot be started yet."""
    done: frozenset[str] = frozenset()
    """Containers that were done in a sandbox before this one."""
    _waits: dict[str, float] = field(default_factory=dict)
    _early: dict[str, ContainerState] = field(default_factory=dict)
    """Ends that were heard of before the start was."""

    def is_running(self, name: str) -> bool:
        """Whether a container runs."""
        return (run := self.newest.get(name)) is not None and run.running

    def following(self, name: str) -> int:
        """The number of a container's next run."""
        before = self.newest.get(name) or self.last.get(name)
        return 0 if before is None else before.number + 1

    def begun(self, state: ContainerState, now: float) -> Run:
        """A run has begun; it may have ended already."""
        name = state.name
        self.waiting.pop(name, None)
        if (before := self.newest.get(name)) is not None:
            self.last[name] = before
        self.newest[name] = run = run_of(state)
        if not run.running:
            self.due[name] = now + FIRST_BACK_OFF
        if (early := self._early.pop(name, None)) is not None:
            self.ended(early, now)
        return self.newest[name]

    def ended(self, state: ContainerState, now: float) -> Run | None:
        """A run has ended; None where that is no news."""
        name, run = state.name, self.newest.get(state.name)
        if run is None or run.number < state.run:
            self._early[name] = state
            return None
        if run.number != state.run or not run.running:
            return None
        self.newest[name] = over = run_of(state)
        self.put_off(name, now, over.finished - over.started)
        return over

    def hold(self, name: str, reason: str, message: str, until: float) -> None:
        """A container cannot be started; it is tried again then."""
        self.waiting[name] = (reason, message)
        self.due[name] = until

    def put_off(self, name: str, now: float, ran_for: float = 0.0) -> float:
        """Let a container wait longer than the last time; until when."""
        self._waits[name] = wait = back_off(self._waits.get(name, 0.0), ran_for)
        self.due[name] = now + wait
        return self.due[name]

    def references_changed(self) -> None:
        """What has waited for a reference is tried again."""
        for name, (reason, _) in self.waiting.items():
            if reason == CONFIGURATION:
                self.due.pop(name, None)

    def lose(self, wall: float) -> list[str]:
        """The sandbox is gone at this time (seconds since 1970); the containers that have ended with it."""
        lost = [name for name, run in self.newest.items() if run.running]
        for name in lost:
            self.newest[name] = replace(self.newest[name], running=False, finished=wall, code=_KILLED)
        return lost

    def begin_anew(self, pod: PodSpec) -> None:
        """In a new sandbox everything runs again but what is done; numbers go on."""
        for part in pod.parts:
            run = self.newest.get(part.name)
            if run is not None and not (part.kind == "main" and is_done(part, run, pod)):
                self.last[part.name] = self.newest.pop(part.name)
        self.done = frozenset(self.newest)
        self.due.clear()

    def adopt(self, states: Iterable[ContainerState], known: dict[str, Tree], now: float) -> None:
        """Take over what a runtime runs; `known` are the container statuses that the API has, by name."""
        for state in states:
            name = state.name
            self.newest[name] = run = run_of(state)
            self._waits[name] = back_off_after(run.number)
            if not run.running:
                self.due[name] = now + self._waits[name]
            if last := _run_before(run, known.get(name) or {}):
                self.last[name] = last


def _run_before(run: Run, known: Tree) -> Run | None:
    """The run before this one, as the API has it."""
    last = (known.get("lastState") or {}).get("terminated")
    if not last or known.get("restartCount") != run.number:
        return None
    started, finished = seconds_of(last.get("startedAt")) or 0.0, seconds_of(last.get("finishedAt")) or 0.0
    return Run(run.number - 1, False, started, finished, int(last.get("exitCode") or 0), run.runs)
