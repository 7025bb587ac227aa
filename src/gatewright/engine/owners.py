"""Who a pod belongs to: the workload that a person wrote, found through ownerReferences.

A pod of a Deployment is owned by a ReplicaSet that the Deployment owns, a pod of a CronJob by a Job. The chain is
followed as far as the objects go. Where a pod's ReplicaSet is not among them, its name without the pod-template-hash is
the Deployment's: that is how the Deployment controller makes the name.
"""

from __future__ import annotations

from gatewright.engine.compile import Compiled
from gatewright.engine.model import Endpoint
from gatewright.engine.snapshot import Snapshot
from gatewright.objects.meta import Key, Object

TEMPLATE_HASH = "pod-template-hash"
NOT_WORKLOADS = ("Node",)
"""Owners that are no workload: a node owns the mirror pods of its static pods."""


def owner(snapshot: Snapshot, endpoint: Endpoint) -> Key:
    """(kind, namespace, name) of the topmost owner of an endpoint; its own where nothing owns it."""
    key: Key = (endpoint.kind, endpoint.namespace, endpoint.name)
    seen = {key}
    while (item := snapshot.objects.get(key)) and (above := _controller(item)) and above not in seen:
        if above not in snapshot.objects and (deployment := _deployment_of(above, endpoint)):
            return deployment
        key = above
        seen.add(key)
    return key


def by_owner(compiled: Compiled) -> dict[Key, tuple[Endpoint, ...]]:
    """The endpoints that stand for each workload: its live pods where there are any, else its template.

    A pod that nobody owns, and a workload without live pods, stands for itself. What a live pod stands for is left out:
    a Deployment's template, its ReplicaSets.
    """
    owned: dict[Key, list[Endpoint]] = {}
    for endpoint in compiled.endpoints:
        owned.setdefault(owner(compiled.snapshot, endpoint), []).append(endpoint)
    return {key: _standing(key, endpoints) for key, endpoints in owned.items()}


def standing(compiled: Compiled) -> list[Endpoint]:
    """Every endpoint but the templates of workloads whose live pods are there, in order."""
    return sorted((e for members in by_owner(compiled).values() for e in members), key=lambda e: e.index)


def _standing(key: Key, endpoints: list[Endpoint]) -> tuple[Endpoint, ...]:
    pods = tuple(one for one in endpoints if one.kind == "Pod")
    own = tuple(one for one in endpoints if (one.kind, one.namespace, one.name) == key)
    return pods or own or tuple(endpoints)


def _controller(item: Object) -> Key | None:
    """The owner that manages the object; owners are of its namespace."""
    for reference in item.metadata.owner_references:
        if reference.controller and reference.kind not in NOT_WORKLOADS:
            return (reference.kind, item.namespace, reference.name)
    return None


def _deployment_of(replica_set: Key, pod: Endpoint) -> Key | None:
    kind, namespace, name = replica_set
    ending = f"-{pod.labels.get(TEMPLATE_HASH, '')}"
    if kind != "ReplicaSet" or ending == "-" or not name.endswith(ending):
        return None
    return ("Deployment", namespace, name.removesuffix(ending))
