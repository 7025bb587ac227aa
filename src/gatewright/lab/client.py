"""What everyone outside a lab calls: start it, change it, ask it, go into it, stop it.

Each function takes the lab's name. Errors are one line that says what to do.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from gatewright.errors import InvalidInput, Problem
from gatewright.lab import directory as directories
from gatewright.lab.addresses import DEFAULT_POD_CIDRS, Plan
from gatewright.lab.directory import LabDirectory, lab_directory
from gatewright.lab.errors import LabError
from gatewright.lab.wire import Message, ask, objects_from_json, objects_to_json
from gatewright.objects.meta import Object

DEFAULT_NAME = "default"
WORKLOADS = {
    **dict.fromkeys(("deployment", "deployments", "deploy"), "Deployment"),
    **dict.fromkeys(("statefulset", "statefulsets", "sts"), "StatefulSet"),
    **dict.fromkeys(("daemonset", "daemonsets", "ds"), "DaemonSet"),
    **dict.fromkeys(("replicaset", "replicasets", "rs"), "ReplicaSet"),
    **dict.fromkeys(("replicationcontroller", "replicationcontrollers", "rc"), "ReplicationController"),
    **dict.fromkeys(("job", "jobs"), "Job"),
}
"""What kubectl calls the kinds that make pods."""
_ANSWER_WITHIN = 60.0


@dataclass(frozen=True, slots=True)
class LabState:
    """One line of `lab list`. `pid` is None for what a killed lab left."""

    name: str
    pid: int | None


def up(
    objects: Iterable[Object],
    name: str = DEFAULT_NAME,
    network: str = "enforcing",
    pod_cidrs: Sequence[str] = DEFAULT_POD_CIDRS,
) -> None:
    """Start a lab with these objects. Raises GatewrightError; nothing is left behind then."""
    from gatewright.lab.launch import launch

    plan = Plan.of(pod_cidrs)
    directory = lab_directory(name)
    with directories.starting(directory):
        if directory.process() is not None:
            raise LabError(f'lab "{name}" is up already; stop it with: gatewright lab down --name {name}')
        launch(directory, objects, plan, network)


def wait(name: str, timeout: float) -> None:
    """Wait until every pod is ready. Raises LabError that names the first pod that is not, and the end of its log."""
    answer = _request(name, {"op": "wait", "timeout": timeout}, timeout + 10)
    if unready := answer["unready"]:
        lines = []
        for pod in unready:
            log = f"; its log ends: {' | '.join(pod['log'])}" if pod["log"] else ""
            lines.append(f"pod {pod['pod']} is not ready: {pod['why']}{log}")
        raise LabError("\n".join(lines))


def apply(name: str, objects: Iterable[Object]) -> Message:
    """Create or change objects, all or none. Returns `lines` as kubectl prints them, and `warnings`."""
    return _request(name, {"op": "apply", "objects": objects_to_json(objects)})


def delete(name: str, objects: Iterable[Object]) -> Message:
    """Delete objects. Returns `lines` as kubectl prints them, and `missing`."""
    return _request(name, {"op": "delete", "objects": objects_to_json(objects)})


def status(name: str) -> Message:
    """Everything there is to see of a lab."""
    return _request(name, {"op": "status"})


def objects(name: str) -> tuple[list[Object], dict[str, int]]:
    """The cluster as the engine sees it, and the process (as the lab counts) that has each pod's network."""
    answer = _request(name, {"op": "objects"})
    return objects_from_json(answer["objects"]), {str(key): int(pid) for key, pid in answer["pids"].items()}


def execute(
    name: str, pod: str, command: Sequence[str], *, container: str | None = None, stdin: bool = False, tty: bool = False
) -> int:
    """Run a program in a pod (`namespace/name`, or `outside`); returns its exit code."""
    from gatewright.lab.enter import Place, run_in_pod

    found = _request(name, {"op": "locate", "pod": pod, "container": container})
    place = Place(_process(name), found["pid"], found["container"], found["environment"], found["directory"])
    return run_in_pod(place, command, stdin=stdin, terminal=tty)


def on_node(name: str, function: Callable[[bytes], bytes], data: bytes) -> bytes:
    """Run a function as the lab's node (its network, its process ids) and return what it returns."""
    from gatewright.lab.enter import call_on_node

    return call_on_node(_process(name), function, data)


def logs(name: str, pod: str, container: str | None, lines: int | None = None) -> str:
    """What a container printed: the last `lines`, or all that is kept."""
    from gatewright.lab.containerlog import tail

    directory = lab_directory(name)
    found = _request(name, {"op": "containers", "pod": pod})["containers"]
    wanted = container or found[0]
    if wanted not in found:
        raise LabError(f"container {wanted} is not in pod {pod}; it has: {', '.join(found)}")
    namespace, _, short = pod.rpartition("/")
    return tail(directory.pod_logs / f"{namespace}_{short}_{wanted}.log", lines or 1 << 30)


def listed() -> list[LabState]:
    """Every lab of this user, the remains of killed ones among them."""
    return [LabState(one.name, one.process()) for one in directories.all_labs()]


def down(name: str) -> bool:
    """Stop a lab and remove what it left; whether there was anything."""
    from gatewright.lab.launch import kill

    directory = lab_directory(name)
    with directories.starting(directory):
        was_there = directory.path.exists()
        kill(directory)
        directory.remove()
    return was_there


def _process(name: str) -> int:
    pid = lab_directory(name).process()
    if pid is None:
        raise _not_up(lab_directory(name))
    return pid


def _not_up(directory: LabDirectory) -> LabError:
    if directory.path.exists():
        return LabError(f'lab "{directory.name}" was killed; start it again with: gatewright lab up -f FILE')
    return LabError(f'lab "{directory.name}" is not up; start it with: gatewright lab up -f FILE')


def _request(name: str, message: Message, timeout: float = _ANSWER_WITHIN) -> Message:
    directory = lab_directory(name)
    if directory.process() is None:
        raise _not_up(directory)
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as connection:
        connection.settimeout(timeout)
        started = time.monotonic()
        try:
            connection.connect(str(directory.socket))
            answer = ask(connection, message)
        except TimeoutError as error:
            waited = time.monotonic() - started
            raise LabError(f'lab "{name}" did not answer within {waited:.0f} s; see {directory.log}') from error
        except OSError as error:
            raise LabError(f'lab "{name}" cannot be reached: {error.strerror}; see: gatewright lab list') from error
    if "problems" in answer:
        raise InvalidInput(Problem(where, what) for where, what in answer["problems"])
    if "error" in answer:
        raise LabError(answer["error"])
    return answer


def pod_of(name: str, text: str, namespace: str) -> str:
    """The pod that a user means by `web`, `shop/web`, `deploy/web`, `pod/web` or `outside`, as `namespace/name`."""
    from gatewright.lab.network.plan import OUTSIDE

    if text == OUTSIDE:
        return text
    kind, _, short = text.rpartition("/")
    if not kind or kind.lower() in ("pod", "pods", "po"):
        return f"{namespace}/{short}"
    workload = WORKLOADS.get(kind.lower())
    if workload is None:
        return text
    pods = [
        one for one in status(name)["pods"] if (one["namespace"], one["owner"]) == (namespace, f"{workload}/{short}")
    ]
    if not pods:
        raise LabError(f'{workload} "{short}" has no pod in namespace "{namespace}"; see: gatewright lab status')
    return f"{namespace}/{pods[0]['name']}"
