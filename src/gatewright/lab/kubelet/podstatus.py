"""The status of a pod as its kubelet writes it (core/v1 PodStatus). Pure.

What others have written stays: conditions of other types, the class of service. A stand-in is told by its imageID, so
that `kubectl get pods -o yaml` shows what runs without a field of our own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gatewright.lab.api.resources import Tree
from gatewright.lab.kubelet.machine import Run, View, has_ended, initialized, is_done
from gatewright.lab.kubelet.podspec import Part, stamp_of

_OWN = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")
_PROGRAMS = {"command": "gatewright://machine", "stand-in": "gatewright://stand-in"}
CREATING = ("ContainerCreating", "")
INITIALIZING = ("PodInitializing", "")


@dataclass(frozen=True, slots=True)
class Known:
    """All that a status tells."""

    view: View
    stands: bool
    """Whether the sandbox stands, with its network."""
    start_time: float
    pod_addresses: Sequence[str]
    node_addresses: Sequence[str]
    ready: frozenset[str] = frozenset()
    """Running containers that are ready."""
    last: Mapping[str, Run] = field(default_factory=dict)
    """The run before, of containers that run again."""
    waiting: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """(reason, message) of containers that cannot be started yet."""
    failure: tuple[str, str] = ("", "")
    """(reason, message) where the pod was ended for a reason of its own."""
    over: bool = False


def pod_status(known: Known, now: float) -> Tree:
    """The whole status but for what others write."""
    pod = known.view.pod
    status: Tree = {
        "phase": phase(known),
        "conditions": _conditions(known, now),
        "startTime": stamp_of(known.start_time),
        "hostIP": next(iter(known.node_addresses), None),
        "hostIPs": [{"ip": address} for address in known.node_addresses],
        "containerStatuses": [_container(known, part) for part in pod.parts if part.kind == "main"],
    }
    if known.pod_addresses:
        status["podIP"] = known.pod_addresses[0]
        status["podIPs"] = [{"ip": address} for address in known.pod_addresses]
    if initial := [_container(known, part) for part in pod.parts if part.kind != "main"]:
        status["initContainerStatuses"] = initial
    if known.failure[0]:
        status["reason"], status["message"] = known.failure
    return status


def difference(before: Tree, after: Tree) -> Tree:
    """The merge patch of the fields that differ; empty where none does."""
    return {name: value for name, value in after.items() if before.get(name) != value}


def phase(known: Known) -> str:
    """Pending, Running, Succeeded or Failed (core/v1 PodPhase)."""
    view, pod = known.view, known.view.pod
    mains = [(part, view.runs.get(part.name)) for part in pod.parts if part.kind == "main"]
    if known.over and (view.ending or has_ended(view)):
        well = not known.failure[0] and all(run is not None and run.code == 0 for _, run in mains)
        return "Succeeded" if well else "Failed"
    return "Running" if initialized(view) and any(run is not None for _, run in mains) else "Pending"


def beside_others(status: Tree, known: Tree) -> Tree:
    """The status with the conditions of others as they stand in the one that the API has, whatever it was made from."""
    if "conditions" not in status:
        return status
    own = [one for one in status["conditions"] if one["type"] in _OWN]
    return {**status, "conditions": own + [one for one in known.get("conditions") or () if one["type"] not in _OWN]}


def _conditions(known: Known, now: float) -> list[Tree]:
    before = {one["type"]: one for one in known.view.pod.status.get("conditions") or ()}
    made = [_since(before.get(str(one["type"])), one, now) for one in _told(known, before)]
    return made + [one for name, one in before.items() if name not in _OWN]


def _since(before: Tree | None, after: Tree, now: float) -> Tree:
    """The condition with the time when it became so."""
    same = before is not None and before.get("status") == after["status"]
    changed = before.get("lastTransitionTime") if before is not None and same else None
    return {**after, "lastProbeTime": None, "lastTransitionTime": changed or stamp_of(now)}


def _told(known: Known, before: Mapping[str, Tree]) -> list[Tree]:
    view = known.view
    over = phase(known) in ("Succeeded", "Failed")
    begun = initialized(view)
    waits = [part.name for part in view.pod.parts if part.kind == "init" and not _complete(view, part)]
    counted = [part.name for part in view.pod.parts if part.kind != "init"]
    unready = [name for name in counted if name not in known.ready]
    gates = [str(one["conditionType"]) for one in view.pod.spec.get("readinessGates") or ()]
    shut = [gate for gate in gates if (before.get(gate) or {}).get("status") != "True"]
    words = f"containers with unready status: [{' '.join(unready)}]"
    containers = _condition("ContainersReady", not unready and begun and not over, "ContainersNotReady", words, over)
    if shut and containers["status"] == "True":
        ready = _condition("Ready", False, "ReadinessGatesNotReady", f"readiness gates not true: {' '.join(shut)}")
    else:
        ready = {**containers, "type": "Ready"}
    first = _condition(
        "Initialized",
        begun or over,
        "ContainersNotInitialized",
        f"containers with incomplete status: [{' '.join(waits)}]",
    )
    stands = {"type": "PodReadyToStartContainers", "status": "True" if known.stands and not over else "False"}
    return [stands, first, ready, containers, {"type": "PodScheduled", "status": "True"}]


def _complete(view: View, part: Part) -> bool:
    run = view.runs.get(part.name)
    return run is not None and not run.running and run.code == 0


def _condition(kind: str, holds: bool, reason: str, message: str, over: bool = False) -> Tree:
    if holds:
        return {"type": kind, "status": "True"}
    if over:
        return {"type": kind, "status": "False", "reason": "PodCompleted"}
    return {"type": kind, "status": "False", "reason": reason, "message": message}


def _container(known: Known, part: Part) -> Tree:
    view = known.view
    run, last = view.runs.get(part.name), known.last.get(part.name)
    ended = run is not None and not run.running
    waiting = known.waiting.get(part.name)
    final = run is not None and (known.over or view.ending or has_ended(view) or is_done(part, run, view.pod))
    if ended and not final and waiting is None:
        waiting = ("CrashLoopBackOff", _back_off_words(known, part))
    state = _state(known, part, run, None if final else waiting)
    if ended and run is not None and "waiting" in state:
        last = run
    running = run is not None and run.running
    started = running and part.name in view.started
    ready = part.name in known.ready
    if part.kind == "init":
        ready = _complete(view, part)
    tree: Tree = {
        "name": part.name,
        "image": part.tree.get("image") or "",
        "imageID": "" if run is None else _PROGRAMS.get(run.runs, f"gatewright://{run.runs.replace(' ', '-')}"),
        "ready": ready,
        "started": started,
        "restartCount": 0 if run is None else run.number,
        "state": state,
        "lastState": {} if last is None else {"terminated": _terminated(known, part, last)},
    }
    if run is not None:
        tree["containerID"] = container_id(known, part, run)
    return tree


def container_id(known: Known, part: Part, run: Run) -> str:
    """What names one run of a container."""
    return f"gatewright://{known.view.pod.uid}/{part.name}/{run.number}"


def _state(known: Known, part: Part, run: Run | None, waiting: tuple[str, str] | None) -> Tree:
    if run is not None and run.running:
        return {"running": {"startedAt": stamp_of(run.started)}}
    if run is not None and waiting is None:
        return {"terminated": _terminated(known, part, run)}
    if waiting is None:
        inits = any(one.kind != "main" for one in known.view.pod.parts)
        waiting = INITIALIZING if inits and not initialized(known.view) else CREATING
        if part.kind == "sidecar" and known.stands and waiting is CREATING:
            waiting = INITIALIZING
    reason, message = waiting
    return {"waiting": {"reason": reason, "message": message} if message else {"reason": reason}}


def _terminated(known: Known, part: Part, run: Run) -> Tree:
    tree: Tree = {
        "exitCode": run.code if run.code >= 0 else 128 - run.code,
        "reason": "Error" if run.code else "Completed",
        "startedAt": stamp_of(run.started),
        "finishedAt": stamp_of(run.finished),
        "containerID": container_id(known, part, run),
    }
    return tree


def _back_off_words(known: Known, part: Part) -> str:
    pod = known.view.pod
    return f"back-off restarting failed container={part.name} pod={pod.name}_{pod.namespace}({pod.uid})"
