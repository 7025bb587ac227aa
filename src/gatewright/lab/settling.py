"""Waiting for a lab to settle, and asking what it still waits for; when it has is decided by `waiting.py`."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterable, Mapping

from gatewright.errors import GatewrightError
from gatewright.lab import waiting
from gatewright.lab.api.resources import BY_PLURAL, RESOURCES, Resource, Tree
from gatewright.lab.apiclient.following import Follower
from gatewright.lab.errors import LabError
from gatewright.lab.reaching import agent_status, kubeconfig, machines, writing
from gatewright.sources.kubeconfig import Where
from gatewright.sources.progress import Progress, unheard

_LOOK = 0.05
_LAST_LINES = 5
_POLICIES = ("NetworkPolicy", "ClusterNetworkPolicy", "AdminNetworkPolicy", "BaselineAdminNetworkPolicy")


def wait(name: str, timeout: float, say: Progress = unheard) -> None:
    """Wait until everything runs and every agent has the policies in the kernel.

    Raises LabError with a line for each thing that is missing, and the ends of the logs of pods that are not ready.
    """
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
    kinds = {"Pod", "Node", "Namespace", *waiting.WORKLOADS, *_POLICIES}
    return [one for one in RESOURCES if one.kind in kinds]


def _missing(name: str, follower: Follower, say: Progress) -> list[str]:
    """What a lab still waits for, one line each; nothing when it has settled."""
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
    found = ((node, waiting.behind(agent_status(name, node), newest)) for node in nodes)
    return [f"node {node}: {why}" for node, why in found if why]


def _end_of_log(name: str, missing: str) -> str:
    """What the pod of a line printed last, where it is about a pod that has printed something."""
    about, _, _ = missing.removeprefix("pod ").partition(" ")
    namespace, _, pod = about.partition("/")
    if not missing.startswith("pod "):
        return ""
    with writing(name) as writer, contextlib.suppress(GatewrightError):
        if lines := writer.log(namespace, pod, tailLines=str(_LAST_LINES)).splitlines():
            return f"; its log ends: {' | '.join(lines)}"
    return ""


def _version(tree: Tree) -> int:
    text = tree["metadata"]["resourceVersion"]
    return int(text) if text.isdigit() else 0


def _counts(tree: Tree) -> bool:
    """Whether agents hear of an object: not of pods that have finished."""
    return tree["kind"] != "Pod" or (tree.get("status") or {}).get("phase") not in ("Succeeded", "Failed")


def _is_hopeless(follower: Follower) -> bool:
    unready = waiting.unready_pods(follower.all(BY_PLURAL["", "pods"])) if follower.complete else []
    bare = [one for one in unready if not one["metadata"].get("ownerReferences")]
    return bool(unready) and len(bare) == len(unready) and all(waiting.is_hopeless(one) for one in bare)
