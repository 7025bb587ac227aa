"""What everyone outside a lab calls: start it, change it, ask it, go into it, take it down.

Each function takes the lab's name. The cluster's state is asked of the lab's API, as any client asks it; that of the
lab's machines, of its supervisor; what runs in a pod, of the runtime of its node. Errors are one line that says what to
do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gatewright.lab import directory as directories
from gatewright.lab.directory import LabDirectory, lab_directory
from gatewright.lab.errors import LabError
from gatewright.lab.network.plan import OUTSIDE
from gatewright.lab.reaching import (
    ANSWER_WITHIN,
    agent_status,
    held,
    kubeconfig,
    machines,
    process,
    request,
    runtime_pods,
    writing,
)
from gatewright.lab.supervisor.wire import Message
from gatewright.sources.kubeconfig import Where

if TYPE_CHECKING:
    from gatewright.lab.api.resources import Resource, Tree
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
        _take_context_away(directory)  # of one that was killed: the next thing to go is what says where it is
        launch(directory, settings)


def down(name: str) -> bool:
    """Take a lab down and remove what it left; whether there was anything."""
    from gatewright.lab.supervisor.launch import kill

    directory = lab_directory(name)
    with directories.starting(directory):
        was_there = directory.path.exists()
        kill(directory)
        try:
            _take_context_away(directory)
        except LabError as error:
            raise LabError(f'lab "{name}" is down, but its context could not be removed: {error}') from error
        finally:
            directory.remove()
    return was_there


def _take_context_away(directory: LabDirectory) -> None:
    from gatewright.lab import kubeconfigs

    if directory.merged.exists() and (where := directory.merged.read_text()):
        kubeconfigs.remove(kubeconfigs.context_of(directory.name), Path(where))


def listed() -> list[LabState]:
    """Every lab of this user, the remains of killed ones among them."""
    return [LabState(one.name, one.process()) for one in directories.all_labs()]


def merge_context(name: str, file: Path) -> str:
    """Put the lab's context into a kubeconfig of the user's, until the lab goes down; the context's name."""
    from gatewright.lab import kubeconfigs

    directory = lab_directory(name)
    source = kubeconfig(name)
    directory.merged.write_text(str(file.absolute()))  # first: what is interrupted half way is taken away again, too
    try:
        return kubeconfigs.merge(source, file)
    except LabError:
        directory.merged.unlink(missing_ok=True)
        raise


# --- the machines -----------------------------------------------------------------------------------------------------


def add_node(name: str, node: NodeSettings) -> Message:
    """One more node."""
    import msgspec

    return request(name, {"op": "add-node", "node": msgspec.to_builtins(node)})


def remove_node(name: str, node: str) -> Message:
    """Take a node out of the lab and of the cluster, where its controllers make its pods again on others."""
    from gatewright.lab.api.resources import BY_PLURAL
    from gatewright.lab.apiclient.writing import Refused

    pods = BY_PLURAL["", "pods"]
    leaving: list[tuple[Resource, str, str]] = [
        (BY_PLURAL["", "nodes"], "", node),
        (BY_PLURAL["coordination.k8s.io", "leases"], "kube-node-lease", node),
    ]
    found = request(name, {"op": "remove-node", "name": node})
    with writing(name) as writer:
        there = [tree["metadata"] for tree in writer.list(pods) if tree["spec"].get("nodeName") == node]
        leaving += [(pods, pod["namespace"], pod["name"]) for pod in there]
        for resource, namespace, each in leaving:
            try:
                writer.delete(resource, namespace, each, grace=0)
            except Refused as refused:
                if refused.reason != "NotFound":
                    raise
    return found


def stop_node(name: str, node: str) -> Message:
    """Take a node's power away."""
    return request(name, {"op": "stop-node", "name": node})


def start_node(name: str, node: str) -> Message:
    """Give a stopped node power again."""
    return request(name, {"op": "start-node", "name": node})


def cut(name: str, node: str) -> Message:
    """Cut a node off from the fabric."""
    return request(name, {"op": "cut", "name": node})


def heal(name: str, node: str | None = None) -> Message:
    """Connect one node again, or all that are cut off."""
    return request(name, {"op": "heal", "name": node})


def kill(name: str, component: str) -> Message:
    """Kill a component (`api`, `node-1/agent`) as a crash would; the lab starts it again."""
    return request(name, {"op": "kill", "component": component})


# --- the cluster ------------------------------------------------------------------------------------------------------


def apply(name: str, parsed: Parsed) -> Message:
    """Create or change objects that were read with whole trees. Returns `lines` as kubectl prints them, `warnings`."""
    from gatewright.lab import applying

    found, warnings = applying.given(parsed)
    with writing(name) as writer:
        return {"lines": applying.apply(writer, found), "warnings": warnings}


def delete(name: str, parsed: Parsed, timeout: float = ANSWER_WITHIN) -> Message:
    """Delete objects and wait until they are gone. Returns `lines` as kubectl prints them, `missing`."""
    from gatewright.lab import applying

    found, _ = applying.given(parsed)
    with writing(name) as writer:
        lines, missing = applying.delete(writer, found, timeout)
    return {"lines": lines, "missing": missing}


def objects(name: str) -> list[Object]:
    """The cluster as the engine sees it."""
    from gatewright.sources.cluster import read_cluster

    return list(read_cluster(Where(str(kubeconfig(name))), everything=True).require())


def pids(name: str) -> dict[str, int]:
    """The process (as the lab counts) that holds the network of each pod (`namespace/name`), and of `outside`."""
    found = {f"{one.namespace}/{one.name}": one.pid for one in held(name).values() if one.pid}
    found |= {one.name: one.pid for one in runtime_pods(lab_directory(name).machine(OUTSIDE).runtime_socket)}
    return found


def status(name: str) -> Message:
    """Everything there is to see of a lab."""
    from gatewright.lab import views
    from gatewright.lab.api.resources import BY_PLURAL

    found = machines(name)
    with writing(name) as writer:

        def every(group: str, plural: str) -> list[Tree]:
            trees = writer.list(BY_PLURAL[group, plural])
            return sorted(trees, key=lambda one: (one["metadata"].get("namespace", ""), one["metadata"]["name"]))

        pods, services, nodes = every("", "pods"), every("", "services"), every("", "nodes")
        policies = every("networking.k8s.io", "networkpolicies")
        slices, replica_sets = every("discovery.k8s.io", "endpointslices"), every("apps", "replicasets")
    run, owners = held(name, found["nodes"]), views.deployments(replica_sets)
    known = {one["metadata"]["name"]: one for one in nodes}
    agents = {one["name"]: agent_status(name, one["name"]) for one in found["nodes"]}
    return {
        **found,
        "enforces": found["network"] == "enforcing",
        "kubeconfig": str(lab_directory(name).kubeconfig),
        "nodes": [views.node_status(one, known.get(one["name"]), agents[one["name"]]) for one in found["nodes"]],
        "pods": [views.pod_status(one, owners, run.get(one["metadata"]["uid"])) for one in pods],
        "services": [views.service_status(one, slices) for one in services],
        "policies": [f"{one['metadata']['namespace']}/{one['metadata']['name']}" for one in policies],
    }


def logs(name: str, pod: str, container: str | None, lines: int | None = None, *, previous: bool = False) -> str:
    """What a container of a pod (`namespace/name`) printed: the last `lines`, or all that is kept."""
    namespace, _, short = pod.rpartition("/")
    query = {"container": container or "", "tailLines": "" if lines is None else str(lines)}
    query["previous"] = "true" if previous else ""
    with writing(name) as writer:
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
    with writing(name) as writer:
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

    return call_on_node(process(name), function, data)


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
