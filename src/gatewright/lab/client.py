"""What everyone outside a lab calls: start it, change it, ask it, go into it, take it down.

Each function takes the lab's name. The cluster's state is asked of the lab's API, as any client asks it; that of the
lab's machines, of its supervisor; what runs in a pod, of the runtime of its node. Errors are one line that says what to
do.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gatewright.errors import GatewrightError
from gatewright.lab import directory as directories
from gatewright.lab.directory import LabDirectory, lab_directory
from gatewright.lab.errors import LabError
from gatewright.lab.network.plan import OUTSIDE
from gatewright.lab.supervisor.wire import Message, ask
from gatewright.sources.kubeconfig import Where
from gatewright.sources.progress import Progress, unheard

if TYPE_CHECKING:
    from gatewright.lab.api.resources import Resource, Tree
    from gatewright.lab.apiclient.writing import Writer
    from gatewright.lab.runtime.model import PodState
    from gatewright.lab.supervisor.settings import LabSettings, NodeSettings
    from gatewright.objects.meta import Object
    from gatewright.objects.read import Parsed

DEFAULT_NAME = "default"
WORKLOADS = {
    **dict.fromkeys(("deployment", "deployments", "deploy"), "Deployment"),
    **dict.fromkeys(("statefulset", "statefulsets", "sts"), "StatefulSet"),
    **dict.fromkeys(("daemonset", "daemonsets", "ds"), "DaemonSet"),
    **dict.fromkeys(("replicaset", "replicasets", "rs"), "ReplicaSet"),
    **dict.fromkeys(("job", "jobs"), "Job"),
}
"""What kubectl calls the kinds that make pods."""
_ANSWER_WITHIN = 60.0
_LOOK = 0.05
_LAST_LINES = 5


@dataclass(frozen=True, slots=True)
class LabState:
    """One line of `lab list`. `pid` is None for what a killed lab left."""

    name: str
    pid: int | None


# --- life and death ---------------------------------------------------------------------------------------------------


def up(settings: LabSettings, name: str = DEFAULT_NAME) -> None:
    """Start a lab. Returns when its API answers. Raises GatewrightError; nothing is left behind then."""
    from gatewright.lab.supervisor.launch import launch

    directory = lab_directory(name)
    with directories.starting(directory):
        if directory.process() is not None:
            raise LabError(f'lab "{name}" is up already; stop it with: gatewright lab down --name {name}')
        launch(directory, settings)


def down(name: str) -> bool:
    """Take a lab down and remove what it left; whether there was anything."""
    from gatewright.lab import kubeconfigs
    from gatewright.lab.supervisor.launch import kill

    directory = lab_directory(name)
    with directories.starting(directory):
        was_there = directory.path.exists()
        kill(directory)
        try:
            if directory.merged.exists():
                kubeconfigs.remove(kubeconfigs.context_of(name), Path(directory.merged.read_text()))
        except LabError as error:
            raise LabError(f'lab "{name}" is down, but its context could not be removed: {error}') from error
        finally:
            directory.remove()
    return was_there


def listed() -> list[LabState]:
    """Every lab of this user, the remains of killed ones among them."""
    return [LabState(one.name, one.process()) for one in directories.all_labs()]


def merge_context(name: str, file: Path) -> str:
    """Put the lab's context into a kubeconfig of the user's, until the lab goes down; the context's name."""
    from gatewright.lab import kubeconfigs

    directory = lab_directory(name)
    context = kubeconfigs.merge(kubeconfig(name), file)
    directory.merged.write_text(str(file.absolute()))
    return context


def kubeconfig(name: str) -> Path:
    """The kubeconfig of a lab that is up. Raises LabError."""
    _process(name)
    return lab_directory(name).kubeconfig


# --- the machines -----------------------------------------------------------------------------------------------------


def add_node(name: str, node: NodeSettings) -> Message:
    """One more node."""
    import msgspec

    return _request(name, {"op": "add-node", "node": msgspec.to_builtins(node)})


def stop_node(name: str, node: str) -> Message:
    """Take a node's power away."""
    return _request(name, {"op": "stop-node", "name": node})


def start_node(name: str, node: str) -> Message:
    """Give a stopped node power again."""
    return _request(name, {"op": "start-node", "name": node})


def cut(name: str, node: str) -> Message:
    """Cut a node off from the fabric."""
    return _request(name, {"op": "cut", "name": node})


def heal(name: str, node: str | None = None) -> Message:
    """Connect one node again, or all that are cut off."""
    return _request(name, {"op": "heal", "name": node})


def kill(name: str, component: str) -> Message:
    """Kill a component (`api`, `node-1/agent`) as a crash would; the lab starts it again."""
    return _request(name, {"op": "kill", "component": component})


def machines(name: str) -> Message:
    """What the supervisor says: network, nodes, components."""
    return _request(name, {"op": "status"})


# --- the cluster ------------------------------------------------------------------------------------------------------


def apply(name: str, parsed: Parsed) -> Message:
    """Create or change objects that were read with whole trees. Returns `lines` as kubectl prints them, `warnings`."""
    from gatewright.lab import applying

    found, warnings = applying.given(parsed)
    with _writer(name) as writer:
        return {"lines": applying.apply(writer, found), "warnings": warnings}


def delete(name: str, parsed: Parsed, timeout: float = _ANSWER_WITHIN) -> Message:
    """Delete objects and wait until they are gone. Returns `lines` as kubectl prints them, `missing`."""
    from gatewright.lab import applying

    found, _ = applying.given(parsed)
    with _writer(name) as writer:
        lines, missing = applying.delete(writer, found, timeout)
    return {"lines": lines, "missing": missing}


def objects(name: str) -> list[Object]:
    """The cluster as the engine sees it."""
    from gatewright.sources.cluster import read_cluster

    return list(read_cluster(Where(str(kubeconfig(name))), everything=True).require())


def pids(name: str) -> dict[str, int]:
    """The process (as the lab counts) that holds the network of each pod (`namespace/name`), and of `outside`."""
    found = {f"{one.namespace}/{one.name}": one.pid for one in _held(name).values() if one.pid}
    found |= {one.name: one.pid for one in _runtime_pods(lab_directory(name).machine(OUTSIDE).runtime_socket)}
    return found


def status(name: str) -> Message:
    """Everything there is to see of a lab."""
    from gatewright.lab import views
    from gatewright.lab.api.resources import BY_PLURAL

    found = machines(name)
    with _writer(name) as writer:

        def every(group: str, plural: str) -> list[Tree]:
            trees = writer.list(BY_PLURAL[group, plural])
            return sorted(trees, key=lambda one: (one["metadata"].get("namespace", ""), one["metadata"]["name"]))

        pods, services, nodes = every("", "pods"), every("", "services"), every("", "nodes")
        policies = every("networking.k8s.io", "networkpolicies")
        slices, replica_sets = every("discovery.k8s.io", "endpointslices"), every("apps", "replicasets")
    held, owners = _held(name, found["nodes"]), views.deployments(replica_sets)
    known = {one["metadata"]["name"]: one for one in nodes}
    agents = {one["name"]: _agent(name, one["name"]) for one in found["nodes"]}
    return {
        **found,
        "enforces": found["network"] == "enforcing",
        "kubeconfig": str(lab_directory(name).kubeconfig),
        "nodes": [views.node_status(one, known.get(one["name"]), agents[one["name"]]) for one in found["nodes"]],
        "pods": [views.pod_status(one, owners, held.get(one["metadata"]["uid"])) for one in pods],
        "services": [views.service_status(one, slices) for one in services],
        "policies": [f"{one['metadata']['namespace']}/{one['metadata']['name']}" for one in policies],
    }


def wait(name: str, timeout: float, say: Progress = unheard) -> None:
    """Wait until everything runs and every agent has the policies in the kernel.

    Raises LabError with a line for each thing that is missing, and the ends of the logs of pods that are not ready.
    """
    from gatewright.lab.apiclient.following import Follower

    changed = threading.Event()
    follower = Follower(Where(str(kubeconfig(name))), _settling_resources(), lambda _: changed.set())
    follower.start()
    try:
        deadline = time.monotonic() + timeout
        while True:
            changed.clear()
            missing = _missing(name, follower, say) if follower.complete else ["the API has not told everything yet"]
            if not missing:
                return
            if time.monotonic() >= deadline or _is_hopeless(follower):
                raise LabError("\n".join(f"{one}{_end_of_log(name, one)}" for one in missing))
            changed.wait(min(_LOOK, max(0.0, deadline - time.monotonic())))
            time.sleep(0.01)
    finally:
        follower.stop()


def _settling_resources() -> list[Resource]:
    from gatewright.lab.api.resources import RESOURCES
    from gatewright.lab.waiting import WORKLOADS as KINDS

    policies = ("NetworkPolicy", "ClusterNetworkPolicy", "AdminNetworkPolicy", "BaselineAdminNetworkPolicy")
    kinds = {"Pod", "Node", "Namespace", *KINDS, *policies}
    return [one for one in RESOURCES if one.kind in kinds]


def _missing(name: str, follower: Any, say: Progress) -> list[str]:
    """What a lab still waits for, one line each; nothing when it has settled."""
    from gatewright.lab import waiting

    trees = {one.kind: follower.all(one) for one in _settling_resources()}
    unready = waiting.unready_pods(trees["Pod"])
    say(f"{len(trees['Pod']) - len(unready)} of {len(trees['Pod'])} pods ready")
    if unready:
        return [waiting.line_of(pod) for pod in unready]
    late = [tree for kind in waiting.WORKLOADS for tree in trees[kind] if waiting.unsettled(kind, tree)]
    if late:
        return [f"{waiting.named(tree)} has not made all its pods yet" for tree in late]
    found = machines(name)
    running = [one["name"] for one in found["nodes"] if one["state"] == "running"]
    nodes = {one["metadata"]["name"]: one for one in trees["Node"]}
    if lines := list(waiting.unready_nodes(running, nodes)):
        say("waiting for nodes")
        return lines
    if found["network"] != "enforcing":
        return []
    say("waiting for the agents")
    newest = {
        kind: max((_version(one) for one in of_kind if _counts(one)), default=0) for kind, of_kind in trees.items()
    }
    return _behind(name, running, newest)


def behind(name: str, newest: Mapping[str, int]) -> list[str]:
    """The nodes whose kernel is not known to hold the newest objects (resourceVersions by kind), and why, a line each.

    None where the lab's network does not enforce policies.
    """
    found = machines(name)
    running = [one["name"] for one in found["nodes"] if one["state"] == "running"]
    return _behind(name, running, newest) if found["network"] == "enforcing" else []


def _behind(name: str, nodes: Iterable[str], newest: Mapping[str, int]) -> list[str]:
    from gatewright.lab import waiting

    found = ((node, waiting.behind(_agent(name, node), newest)) for node in nodes)
    return [f"node {node}: {why}" for node, why in found if why]


def _end_of_log(name: str, missing: str) -> str:
    """What the pod of a line printed last, where it is about a pod that has printed something."""
    about, _, _ = missing.removeprefix("pod ").partition(" ")
    namespace, _, pod = about.partition("/")
    if not missing.startswith("pod "):
        return ""
    with _writer(name) as writer, contextlib.suppress(GatewrightError):
        if lines := writer.log(namespace, pod, tailLines=str(_LAST_LINES)).splitlines():
            return f"; its log ends: {' | '.join(lines)}"
    return ""


def _version(tree: Tree) -> int:
    text = tree["metadata"]["resourceVersion"]
    return int(text) if text.isdigit() else 0


def _counts(tree: Tree) -> bool:
    """Whether agents hear of an object: not of pods that have finished."""
    return tree["kind"] != "Pod" or (tree.get("status") or {}).get("phase") not in ("Succeeded", "Failed")


def _is_hopeless(follower: Any) -> bool:
    from gatewright.lab import waiting
    from gatewright.lab.api.resources import BY_PLURAL

    unready = waiting.unready_pods(follower.all(BY_PLURAL["", "pods"])) if follower.complete else []
    bare = [one for one in unready if not one["metadata"].get("ownerReferences")]
    return bool(unready) and len(bare) == len(unready) and all(waiting.is_hopeless(one) for one in bare)


def logs(name: str, pod: str, container: str | None, lines: int | None = None, *, previous: bool = False) -> str:
    """What a container of a pod (`namespace/name`) printed: the last `lines`, or all that is kept."""
    namespace, _, short = pod.rpartition("/")
    query = {"container": container or "", "tailLines": "" if lines is None else str(lines)}
    query["previous"] = "true" if previous else ""
    with _writer(name) as writer:
        return writer.log(namespace, short, **{key: value for key, value in query.items() if value})


# --- pods from inside -------------------------------------------------------------------------------------------------


def execute(
    name: str, pod: str, command: Sequence[str], *, container: str | None = None, stdin: bool = False, tty: bool = False
) -> int:
    """Run a program in a pod (`namespace/name`, or `outside`); returns its exit code."""
    from gatewright.lab import console

    place, first = _place_of(name, pod)
    wanted = container or first
    return asyncio.run(console.execute(place, pod, wanted, command, stdin=stdin, terminal=tty))


def _place_of(name: str, pod: str) -> tuple[Path, str]:
    """The runtime that runs a pod, and the pod's first container."""
    from gatewright.lab.api.resources import BY_PLURAL
    from gatewright.lab.apiclient.writing import Refused

    directory = lab_directory(name)
    if pod == OUTSIDE:
        return directory.machine(OUTSIDE).runtime_socket, OUTSIDE
    namespace, _, short = pod.partition("/")
    with _writer(name) as writer:
        try:
            tree = writer.get(BY_PLURAL["", "pods"], namespace, short)
        except Refused as refused:
            raise LabError(f"{refused.status.message}; see: gatewright lab status") from refused
    node = tree["spec"].get("nodeName")
    if not node:
        raise LabError(f"pod {pod} is on no node yet; see: kubectl describe pod -n {namespace} {short}")
    return directory.machine(node).runtime_socket, str(tree["spec"]["containers"][0]["name"])


def on_node(name: str, function: Callable[[bytes], bytes], data: bytes) -> bytes:
    """Run a function in the lab (its process ids, rights and files) and return what it returns."""
    from gatewright.lab.enter import call_on_node

    return call_on_node(_process(name), function, data)


def pod_of(name: str, text: str, namespace: str) -> str:
    """The pod that a user means by `web`, `shop/web`, `deploy/web`, `pod/web` or `outside`, as `namespace/name`."""
    if text == OUTSIDE:
        return text
    kind, _, short = text.rpartition("/")
    if not kind or kind.lower() in ("pod", "pods", "po"):
        return f"{namespace}/{short}"
    workload = WORKLOADS.get(kind.lower())
    if workload is None:
        return text
    pods = [
        one
        for one in status(name)["pods"]
        if (one["namespace"], one["owner"]) == (namespace, f"{workload}/{short}") and one["status"] != "Terminating"
    ]
    if not pods:
        raise LabError(f'{workload} "{short}" has no pod in namespace "{namespace}"; see: gatewright lab status')
    return f"{namespace}/{min(pods, key=lambda one: not one['isReady'])['name']}"


def _held(name: str, nodes: Iterable[Mapping[str, Any]] | None = None) -> dict[str, PodState]:
    """What the runtimes of the nodes that run hold, by the pods' uids."""
    found: dict[str, PodState] = {}
    for node in machines(name)["nodes"] if nodes is None else nodes:
        if node["state"] != "stopped":
            held = _runtime_pods(lab_directory(name).machine(node["name"]).runtime_socket)
            found |= {one.uid: one for one in held}
    return found


def _runtime_pods(path: Path) -> list[PodState]:
    from gatewright.lab.runtime.client import Runtime

    async def ask_it() -> list[PodState]:
        runtime = await Runtime.connect(path)
        try:
            return await runtime.pods()
        finally:
            await runtime.close()

    try:
        return asyncio.run(asyncio.wait_for(ask_it(), _ANSWER_WITHIN))
    except (LabError, OSError, TimeoutError):
        return []


def _agent(name: str, node: str) -> dict[str, Any]:
    """What the agent of a node says; nothing where none answers."""
    from gatewright.agent import client

    try:
        return client.status(lab_directory(name).machine(node).agent_socket)
    except client.NoAgent:
        return {}


# --- how the lab is reached -------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _writer(name: str) -> Iterator[Writer]:
    from gatewright.lab.apiclient.writing import Writer

    writer = Writer(Where(str(kubeconfig(name))), manager="gatewright")
    try:
        yield writer
    finally:
        writer.close()


def _process(name: str) -> int:
    pid = lab_directory(name).process()
    if pid is None:
        raise _not_up(lab_directory(name))
    return pid


def _not_up(directory: LabDirectory) -> LabError:
    if directory.path.exists():
        return LabError(f'lab "{directory.name}" was killed; start it again with: gatewright lab up')
    return LabError(f'lab "{directory.name}" is not up; start it with: gatewright lab up')


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
    if "error" in answer:
        raise LabError(answer["error"])
    return answer
