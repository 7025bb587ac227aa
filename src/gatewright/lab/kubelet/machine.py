"""What to do next with a pod: the state machine of its containers, as one pure function of what is known.

    init containers, in order   ->  containers, side by side  ->  over
    sidecars start among them       and go on running             and end last, in reverse

Nothing is remembered between two decisions but what `View` holds, and all of that can be read again, from the runtime
and the API, after the kubelet was killed. Rules: core/v1 PodSpec, KEP-753 (sidecars), KEP-2339 (their end).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from gatewright.lab.kubelet.podspec import Part, PodSpec
from gatewright.lab.runtime.model import ContainerState

FIRST_BACK_OFF, LONGEST_BACK_OFF, STABLE = 1.0, 30.0, 60.0
"""Seconds before a container that ended is started again: the first time, at most, and after how long anew."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a container. `number` counts from 0; times are seconds since 1970."""

    number: int
    running: bool
    started: float
    finished: float = 0.0
    code: int = 0
    runs: str = ""
    """What runs in it: command, stand-in, name server or skipped."""
    note: str = ""


def run_of(state: ContainerState) -> Run:
    """What the runtime says of a container."""
    running = state.state == "running"
    return Run(state.run, running, state.started, state.finished or 0.0, state.code or 0, state.runs, state.note)


@dataclass(frozen=True, slots=True)
class View:
    """What is known of a pod whose sandbox stands."""

    pod: PodSpec
    runs: Mapping[str, Run]
    """The newest run of each container that has had one."""
    started: frozenset[str] = frozenset()
    """Running containers whose startup probe and postStart hook are behind them."""
    due: Mapping[str, float] = field(default_factory=dict)
    """When a container may be started again at the earliest."""
    busy: frozenset[str] = frozenset()
    """Containers that are being started or stopped right now."""
    done: frozenset[str] = frozenset()
    """Containers that were done in a sandbox before this one; what they say of init containers is of the past."""
    ending: bool = False
    """Whether the pod is to end: it is being deleted, or its time is over."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do, and when to look again if nothing happens until then. `over`: all has ended, for good."""

    start: tuple[str, ...] = ()
    stop: tuple[str, ...] = ()
    again: float | None = None
    over: bool = False


def decide(view: View, now: float) -> Decision:
    """The next steps. They may be taken side by side."""
    if view.ending or has_ended(view):
        return _end(view)
    wanted, again = [], None
    for part in _startable(view):
        due = view.due.get(part.name, now)
        if due <= now:
            wanted.append(part.name)
        else:
            again = due if again is None else min(again, due)
    return Decision(start=tuple(wanted), again=again)


def has_ended(view: View) -> bool:
    """Whether nothing is left to be started: an init container failed for good, or every container is done."""
    pod = view.pod
    if not initialized(view) and any(
        part.kind == "init" and is_done(part, run, pod) and run.code
        for part in pod.parts
        if (run := view.runs.get(part.name)) is not None
    ):
        return True
    return all(
        (run := view.runs.get(part.name)) is not None and is_done(part, run, pod)
        for part in pod.parts
        if part.kind == "main"
    )


def is_done(part: Part, run: Run, pod: PodSpec) -> bool:
    """Whether a container has ended and is not started again."""
    if run.running or part.kind == "sidecar":
        return False
    if part.kind == "init":
        return run.code == 0 or pod.restart_policy == "Never"
    return pod.restart_policy == "Never" or (pod.restart_policy == "OnFailure" and run.code == 0)


def initialized(view: View) -> bool:
    """Whether the containers may start or have started: what comes before them has been done, each in its turn."""
    if any(part.kind == "main" and part.name in view.runs.keys() - view.done for part in view.pod.parts):
        return True
    return all(_passed(view, part) for part in view.pod.parts if part.kind != "main")


def _passed(view: View, part: Part) -> bool:
    run = view.runs.get(part.name)
    if run is None:
        return False
    if part.kind == "sidecar":
        return run.running and part.name in view.started
    return not run.running and run.code == 0


def _startable(view: View) -> Iterator[Part]:
    """The containers that should run and do not."""
    begun = initialized(view)
    for part in view.pod.parts:
        run = view.runs.get(part.name)
        idle = part.name not in view.busy and (run is None or not run.running)
        if part.kind == "init":
            if not begun and not _passed(view, part):
                if idle:
                    yield part
                return
        elif part.kind == "sidecar":
            if idle:
                yield part
            if not begun and not _passed(view, part):
                return
        elif idle and begun and (run is None or not is_done(part, run, view.pod)):
            yield part


def _end(view: View) -> Decision:
    """Containers end first, side by side; then sidecars, the last first."""
    running = [part for part in view.pod.parts if (run := view.runs.get(part.name)) is not None and run.running]
    plain = [part.name for part in running if part.kind != "sidecar"]
    last = [part.name for part in running if part.kind == "sidecar"][-1:]
    wanted = [name for name in plain or last if name not in view.busy]
    return Decision(stop=tuple(wanted), over=not running and not view.busy)


def back_off(before: float, ran_for: float) -> float:
    """Seconds to wait before a container that has ended starts again; `before` is the last wait, 0 for none."""
    if not before or ran_for > STABLE:
        return FIRST_BACK_OFF
    return min(before * 2, LONGEST_BACK_OFF)


def back_off_after(restarts: int) -> float:
    """The wait that so many restarts in a row have led to: where nobody remembers the last one."""
    return min(FIRST_BACK_OFF * 2.0 ** min(restarts, 10), LONGEST_BACK_OFF) if restarts else 0.0
