"""The cluster as a verification uses it: creates what `objects` says, waits for it, and removes every trace.

The namespace is the one trace: deleting it removes all that is in it. It carries a label by which a later run finds
what an interrupted one could not remove.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gatewright.probe.doctor.trees import items, labels_of, name_of, text
from gatewright.probe.verify import objects
from gatewright.probe.verify.objects import Trial
from gatewright.sources.asking import Asker
from gatewright.sources.changing import Changer, Refused
from gatewright.sources.kubeconfig import ClusterUnavailable, Where

Tree = Mapping[str, Any]

NAMESPACES = "/api/v1/namespaces"
POLICIES = "/apis/networking.k8s.io/v1/namespaces/{}/networkpolicies"
PATIENCE = 3600.0
"""Seconds for which the connection is used at most."""
_LOOK = 0.1
_FORBIDDEN, _NOT_FOUND = 403, 404
ACCOUNT_WITHIN = 10.0
"""Seconds in which a new namespace has its service account: until then pods are forbidden."""


@dataclass(frozen=True, slots=True)
class Started:
    """The pods that run: addresses of the targets by node, and why others do not, by node."""

    addresses: dict[str, tuple[str, ...]]
    sources: frozenset[str]
    failed: dict[str, str]


class Cluster:
    """One cluster. For one thread. Every method raises ClusterUnavailable and Refused."""

    def __init__(self, where: Where) -> None:
        self._asker = Asker(where, PATIENCE)
        self._changer = Changer(where)

    @property
    def name(self) -> str:
        """What messages call it."""
        return self._asker.name

    def close(self) -> None:
        """Leave no connection open."""
        self._asker.close()
        self._changer.close()

    def nodes(self) -> dict[str, str]:
        """Every node, and why nothing can be measured there; empty where it can."""
        told = self._asker.get("/api/v1/nodes")
        if told.status != 200:
            raise ClusterUnavailable(
                f"{self.name}: nodes cannot be listed: {told.said}; ask for the right to list them"
            )
        return {name_of(node): _unfit(node) for node in items(told.tree, "items")}

    def left_behind(self) -> list[str]:
        """Namespaces that earlier runs could not remove."""
        [(key, value)] = objects.MARK.items()
        told = self._asker.get(f"{NAMESPACES}?labelSelector={key.replace('/', '%2F')}%3D{value}")
        if told.status != 200:
            what = f"namespaces cannot be listed: {told.said}"
            raise ClusterUnavailable(f"{self.name}: {what}; ask for the right to list, create and delete them")
        return [
            name_of(one)
            for one in items(told.tree, "items")
            if name_of(one).startswith(objects.PREFIX) and labels_of(one).get(key) == value
        ]

    def create(self, trial: Trial) -> None:
        """The namespace and its pods."""
        self._changer.create(NAMESPACES, objects.namespace(trial))
        deadline = time.monotonic() + ACCOUNT_WITHIN
        for pod in objects.pods(trial):
            while True:
                try:
                    self._changer.create(f"{NAMESPACES}/{trial.namespace}/pods", pod)
                    break
                except Refused as refused:
                    young = refused.status == _FORBIDDEN and "serviceaccount" in str(refused)
                    if not young or time.monotonic() > deadline:
                        raise
                    time.sleep(_LOOK)

    def started(self, trial: Trial, within: float) -> Started:
        """Wait until every pod runs and has its addresses, or cannot."""
        deadline = time.monotonic() + within
        while True:
            told = self._asker.get(f"{NAMESPACES}/{trial.namespace}/pods")
            found = _started(trial, {name_of(pod): pod for pod in items(told.tree, "items")})
            waiting = [node for node, why in found.failed.items() if why.startswith(_WAITING)]
            if not waiting or time.monotonic() > deadline:
                return found
            time.sleep(_LOOK)

    def apply(self, trial: Trial, policy: Tree) -> None:
        """Create a policy."""
        self._changer.create(POLICIES.format(trial.namespace), policy)

    def withdraw(self, trial: Trial, policy: Tree) -> None:
        """Delete a policy."""
        self._changer.delete(f"{POLICIES.format(trial.namespace)}/{name_of(policy)}")

    def remove(self, namespace: str, within: float, say: Callable[[str], None]) -> bool:
        """Delete a namespace of ours with all that is in it; whether it is gone in time."""
        say(f"removing namespace {namespace}")
        self._changer.delete(f"{NAMESPACES}/{namespace}")
        deadline = time.monotonic() + within
        while self._asker.get(f"{NAMESPACES}/{namespace}").status != _NOT_FOUND:
            if time.monotonic() > deadline:
                return False
            time.sleep(_LOOK)
        return True


def _unfit(node: Tree) -> str:
    system = text(node, "status", "nodeInfo", "operatingSystem") or text(labels_of(node), "kubernetes.io/os") or "linux"
    if system != "linux":
        return f"not measured: its operating system is {system}"
    ready = any(
        text(one, "type") == "Ready" and text(one, "status") == "True" for one in items(node, "status", "conditions")
    )
    return "" if ready else "not measured: the node is not ready"


_WAITING = "its pods did not start"


def _started(trial: Trial, pods: Mapping[str, Tree]) -> Started:
    addresses: dict[str, tuple[str, ...]] = {}
    sources: set[str] = set()
    failed: dict[str, str] = {}
    for node in trial.nodes:
        troubles = [
            trouble
            for role in (objects.SOURCE, objects.TARGET)
            if (trouble := _trouble(pods.get(trial.pod(role, node), {})))
        ]
        if troubles:
            failed[node] = next((one for one in troubles if not one.startswith(_WAITING)), troubles[0])
            continue
        sources.add(node)
        target = pods[trial.pod(objects.TARGET, node)]
        addresses[node] = tuple(text(one, "ip") for one in items(target, "status", "podIPs"))
    return Started(addresses, frozenset(sources), failed)


def _trouble(pod: Tree) -> str:
    """Why a pod does not run; empty where it does."""
    phase = text(pod, "status", "phase")
    if phase == "Running" and items(pod, "status", "podIPs"):
        return ""
    if phase in ("Failed", "Succeeded"):
        said = text(pod, "status", "message") or text(pod, "status", "reason") or _ended(pod)
        return f"its pod {name_of(pod)} ended: {said}"
    for status in items(pod, "status", "containerStatuses"):
        reason = text(status, "state", "waiting", "reason")
        if reason and reason not in ("ContainerCreating", "PodInitializing"):
            return f"{_WAITING}: {reason}: {text(status, 'state', 'waiting', 'message')}".rstrip(": ")
    return _WAITING


def _ended(pod: Tree) -> str:
    codes = [text(one, "state", "terminated", "exitCode") for one in items(pod, "status", "containerStatuses")]
    return f"exit code {', '.join(filter(None, codes)) or 'unknown'}"
