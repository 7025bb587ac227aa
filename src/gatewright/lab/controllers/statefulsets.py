"""The StatefulSet controller: pods with names that stay, made, updated and deleted one after the other.

A lab has no storage: a claim of `volumeClaimTemplates` is an empty directory that goes with its pod.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from gatewright.lab.api.resources import BY_PLURAL, Tree
from gatewright.lab.apiclient.following import Change
from gatewright.lab.apiclient.working import Cluster
from gatewright.lab.controllers.objects import (
    Key,
    available_in,
    deleting,
    labels_of,
    over,
    phase,
    ready,
    soonest,
    status_of,
)
from gatewright.lab.controllers.owning import BATCH, PODS, Owning, pod_of, without_zeros
from gatewright.lab.controllers.revisions import HASH, REVISIONS, Revisions, template_of

STATEFUL_SETS = BY_PLURAL["apps", "statefulsets"]
POD_NAME = "statefulset.kubernetes.io/pod-name"
POD_INDEX = "apps.kubernetes.io/pod-index"


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done now: ordinals to make pods for, pods to delete."""

    create: tuple[int, ...] = ()
    delete: tuple[Tree, ...] = ()


def ordinal_of(owner: Tree, pod: Tree) -> int | None:
    """A pod's ordinal; None where its name is not one of the StatefulSet's."""
    match = re.fullmatch(re.escape(owner["metadata"]["name"]) + r"-(0|[1-9][0-9]{0,8})", pod["metadata"]["name"])
    return int(match[1]) if match else None


def ordinals(owner: Tree) -> range:
    """The ordinals that a StatefulSet is to have."""
    start = (owner["spec"].get("ordinals") or {}).get("start", 0)
    return range(start, start + owner["spec"]["replicas"])


def partition(owner: Tree) -> int:
    """The first ordinal that an update reaches."""
    strategy = owner["spec"].get("updateStrategy") or {}
    below: int = (strategy.get("rollingUpdate") or {}).get("partition", 0)
    return ordinals(owner).start + below


def plan(owner: Tree, pods: Mapping[int, Tree], update: str, now: float) -> Plan:
    """The next step, with pods by ordinal and the name of the newest revision.

    Pods are made from the lowest ordinal up, deleted and updated from the highest down; unless podManagementPolicy is
    Parallel each waits until all before it run and are ready.
    """
    wanted = ordinals(owner)
    surplus = sorted((number for number in pods if number not in wanted), reverse=True)
    there = [pods[number] for number in wanted if number in pods]
    dead = tuple(one for one in there if over(one) and not deleting(one))
    missing = tuple(number for number in wanted if number not in pods)
    if owner["spec"].get("podManagementPolicy") == "Parallel":
        going = tuple(pods[number] for number in surplus if not deleting(pods[number]))
        if missing or going or dead:
            return Plan(missing, (*going, *dead))
        return _update(owner, pods, update, now)
    for number in wanted:
        if number not in pods:
            return Plan((number,))
        if over(pods[number]) and not deleting(pods[number]):
            return Plan((), (pods[number],))
        if not _healthy(owner, pods[number], now):
            return Plan()  # also where the template is to blame: a broken rollout needs a hand, as in Kubernetes
    if surplus:
        last = pods[surplus[0]]
        return Plan() if deleting(last) else Plan((), (last,))
    return _update(owner, pods, update, now)


def _healthy(owner: Tree, pod: Tree, now: float) -> bool:
    least = owner["spec"].get("minReadySeconds", 0)
    return phase(pod) == "Running" and not deleting(pod) and available_in(pod, least, now) == 0


def _update(owner: Tree, pods: Mapping[int, Tree], update: str, now: float) -> Plan:
    if (owner["spec"].get("updateStrategy") or {}).get("type") == "OnDelete":
        return Plan()
    for number in reversed(ordinals(owner)):
        pod = pods[number]
        if number < partition(owner):
            return Plan()
        if labels_of(pod).get(HASH) != update and not deleting(pod):
            return Plan((), (pod,))
        if not _healthy(owner, pod, now):
            return Plan()
    return Plan()


class StatefulSets(Owning):
    """Keeps pods that have an identity."""

    name = "statefulset-controller"
    resource = STATEFUL_SETS
    resources = (STATEFUL_SETS, REVISIONS, PODS)

    def __init__(self) -> None:
        super().__init__()
        self._revisions = Revisions(STATEFUL_SETS)

    def other_keys(self, change: Change) -> Iterable[Key]:
        """Revisions are this controller's own and tell nothing new."""
        self._revisions.heard(change)
        return ()

    def make_so(self, cluster: Cluster, owner: Tree) -> float | None:
        """One step, then what is to be told."""
        known = self._revisions.known(cluster, owner)
        update = self._revisions.newest(cluster, owner, known)
        name = update["metadata"]["name"]
        by_name = {one["metadata"]["name"]: one for one in [*known, update]}
        current = by_name.get(status_of(owner).get("currentRevision", ""), update)
        pods = {number: one for one in self.claimed(cluster, owner) if (number := ordinal_of(owner, one)) is not None}
        step = Plan() if deleting(owner) else plan(owner, pods, name, cluster.now())
        for number in step.create[:BATCH]:
            revision = current if number < partition(owner) and _rolling(owner) else update
            pods[number] = self._make(cluster, owner, number, revision)
        for pod in step.delete:
            self.remove_child(cluster, pod)
        now = cluster.now()
        status = status_from(owner, list(pods.values()), current["metadata"]["name"], name, now)
        if not deleting(owner):
            used = {name, status["currentRevision"], *(labels_of(one).get(HASH, "") for one in pods.values())}
            self._revisions.forget(cluster, owner, known, used)
        wait = self.report(cluster, owner, status)
        least = owner["spec"].get("minReadySeconds", 0)
        soon = soonest(left for one in pods.values() if (left := available_in(one, least, now)))
        return soonest((wait, soon, 0.0 if len(step.create) > BATCH else None))

    def _make(self, cluster: Cluster, owner: Tree, number: int, revision: Tree) -> Tree:
        name = f"{owner['metadata']['name']}-{number}"
        template = template_of(revision)
        labels = {HASH: revision["metadata"]["name"], POD_NAME: name, POD_INDEX: str(number)}
        pod = pod_of(STATEFUL_SETS, owner, template, name=name, labels=labels)
        claims = [one["metadata"]["name"] for one in owner["spec"].get("volumeClaimTemplates") or ()]
        volumes = [one for one in template["spec"].get("volumes") or () if one["name"] not in claims]
        volumes += [{"name": claim, "emptyDir": {}} for claim in claims]
        pod["spec"] = {**template["spec"], "hostname": name, "subdomain": owner["spec"].get("serviceName", "")}
        if volumes:
            pod["spec"]["volumes"] = volumes
        if claims:
            said = f"A lab has no storage: {', '.join(claims)} of each pod is an empty directory that goes with the pod"
            cluster.event(owner, "Normal", "EmptyDirectories", said)
        return self.make_child(cluster, owner, pod)


def _rolling(owner: Tree) -> bool:
    return bool((owner["spec"].get("updateStrategy") or {}).get("type", "RollingUpdate") == "RollingUpdate")


def status_from(owner: Tree, pods: Sequence[Tree], current: str, update: str, now: float) -> Tree:
    """What is told of a StatefulSet; an update that is through makes its revision the current one."""
    least = owner["spec"].get("minReadySeconds", 0)
    staying = [one for one in pods if not deleting(one)]
    running = [one for one in pods if phase(one) == "Running" and ready(one)]
    updated = sum(labels_of(one).get(HASH) == update for one in staying)
    if _rolling(owner) and updated == len(pods) == len(running):
        current = update
    return without_zeros(
        {
            "observedGeneration": owner["metadata"].get("generation", 0),
            "replicas": len(pods),
            "readyReplicas": len(running),
            "availableReplicas": sum(available_in(one, least, now) == 0 for one in running),
            "currentReplicas": sum(labels_of(one).get(HASH) == current for one in staying),
            "updatedReplicas": updated,
            "currentRevision": current,
            "updateRevision": update,
            "collisionCount": status_of(owner).get("collisionCount"),
        },
        "replicas",
        "availableReplicas",
    )
