"""The EndpointSlice controller: the pods that each Service selects, as slices that proxies and name servers follow.

A slice that changes goes to every node, so changes of one Service are gathered: the first is written at once, those of
the next moments together. Slices that others made, for Services without a selector, are left alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from gatewright.lab.api.resources import BY_PLURAL, Tree
from gatewright.lab.apiclient.following import Change, Name
from gatewright.lab.apiclient.working import Cluster
from gatewright.lab.apiclient.writing import Refused
from gatewright.lab.controllers import legacy_endpoints, slicing

SERVICES, PODS = BY_PLURAL["", "services"], BY_PLURAL["", "pods"]
SLICES, ENDPOINTS = BY_PLURAL["discovery.k8s.io", "endpointslices"], BY_PLURAL["", "endpoints"]
GATHERING = 0.2
"""Seconds between two writes about one Service, at least."""


class EndpointSlices:
    """Keeps the slices of Services, and their Endpoints."""

    name = "endpointslices"
    resources = (SERVICES, PODS, SLICES, ENDPOINTS)

    def __init__(self) -> None:
        self._selectors: dict[str, dict[str, Tree]] = {}
        self._written: dict[Name, float] = {}

    def keys(self, change: Change) -> Iterable[Name]:
        """A Service itself, those that select a pod, the one that a slice or an Endpoints belongs to."""
        if change.resource is SERVICES:
            self._know(change)
            return (change.name,)
        if change.resource is PODS:
            return self._selecting(change)
        if change.resource is ENDPOINTS:
            return (change.name,)
        labels = change.tree["metadata"].get("labels") or {}
        return ((change.name[0], labels[slicing.SERVICE_NAME]),) if _is_ours(change.tree) else ()

    def reconcile(self, cluster: Cluster, key: Name) -> float | None:
        """Make its slices and Endpoints be what its pods say."""
        service = cluster.follower.get(SERVICES, *key)
        if service is None:
            self._written.pop(key, None)
            self._end(cluster, key)
            return None
        if not (service.get("spec") or {}).get("selector") or slicing.is_terminating(service):
            return None
        wait = self._written.get(key, 0.0) + GATHERING - cluster.now()
        if 0 < wait <= GATHERING:
            return wait
        pods = [
            pod
            for pod in cluster.follower.all(PODS, key[0])
            if slicing.selects(service, pod["metadata"].get("labels") or {})
        ]
        if self._write(cluster, service, pods):
            self._written[key] = cluster.now()
        return None

    def _know(self, change: Change) -> None:
        namespace, name = change.name
        own = self._selectors.setdefault(namespace, {})
        if change.after is None:
            own.pop(name, None)
        else:
            own[name] = change.after

    def _selecting(self, change: Change) -> list[Name]:
        if _seen(change.before) == _seen(change.after):
            return []
        states = [one["metadata"].get("labels") or {} for one in (change.before, change.after) if one is not None]
        namespace = change.name[0]
        services = list(self._selectors.get(namespace, {}).items())
        return [
            (namespace, name)
            for name, service in services
            if any(slicing.selects(service, labels) for labels in states)
        ]

    def _write(self, cluster: Cluster, service: Tree, pods: list[Tree]) -> bool:
        """Whether anything had to be written."""
        namespace, name = service["metadata"]["namespace"], service["metadata"]["name"]
        existing = [one for one in cluster.follower.all(SLICES, namespace) if _is_ours(one, name)]
        writes = slicing.plan(service, slicing.wanted(service, pods), existing)
        for tree in writes.created:
            cluster.writer.create(SLICES, namespace, tree)
        for tree in writes.updated:
            cluster.writer.update(SLICES, tree)
        for tree in writes.deleted:
            _delete(cluster, SLICES, tree)
        made = legacy_endpoints.endpoints(service, pods)
        known = cluster.follower.get(ENDPOINTS, namespace, name)
        if known is None:
            cluster.writer.create(ENDPOINTS, namespace, made)
        elif legacy_endpoints.differs(known, made):
            version = {"resourceVersion": known["metadata"]["resourceVersion"]}
            cluster.writer.update(ENDPOINTS, {**made, "metadata": {**made["metadata"], **version}})
        else:
            return bool(writes)
        return True

    def _end(self, cluster: Cluster, key: Name) -> None:
        """Slices follow their owner by themselves; an Endpoints object has none."""
        known = cluster.follower.get(ENDPOINTS, *key)
        if known and (known["metadata"].get("labels") or {}).get(legacy_endpoints.MANAGED_BY):
            _delete(cluster, ENDPOINTS, known)


def _delete(cluster: Cluster, resource: Any, tree: Tree) -> None:
    metadata = tree["metadata"]
    try:
        cluster.writer.delete(resource, metadata["namespace"], metadata["name"], uid=metadata["uid"])
    except Refused as error:
        if error.reason not in ("NotFound", "Conflict"):
            raise


def _is_ours(tree: Tree, service: str = "") -> bool:
    """Whether this controller made the slice, for that Service or for any."""
    labels = tree["metadata"].get("labels") or {}
    name = labels.get(slicing.SERVICE_NAME)
    return labels.get(slicing.MANAGED_BY) == slicing.CONTROLLER and bool(name) and service in ("", name)


def _seen(pod: Tree | None) -> object:
    """What of a pod decides about endpoints."""
    if pod is None:
        return None
    metadata, spec = pod["metadata"], pod.get("spec") or {}
    return (
        metadata.get("uid"),
        metadata.get("labels"),
        slicing.is_ready(pod),
        slicing.is_terminating(pod),
        slicing.has_ended(pod),
        slicing.pod_addresses(pod),
        spec.get("nodeName"),
        spec.get("hostname"),
        spec.get("subdomain"),
    )
