"""The cluster's objects while the suite runs: written by plain calls of the API, and followed as any client follows.

Nothing is touched that is not the suite's own: its three namespaces, which bear its mark, and the cluster-wide policies
that it made itself, which bear it, too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from gatewright.errors import GatewrightError
from gatewright.lab.api.resources import RESOURCES, Resource
from gatewright.lab.apiclient.following import Follower
from gatewright.lab.apiclient.writing import Refused, Writer
from gatewright.probe.conformance import base
from gatewright.probe.conformance.base import MARK
from gatewright.probe.conformance.model import NAMESPACES, Operation, Tree
from gatewright.probe.conformance.seen import Seen
from gatewright.sources.kubeconfig import Where

_KINDS = {one.kind: one for one in RESOURCES}
NAMESPACE, NODE, POD, SERVICE = (_KINDS[kind] for kind in ("Namespace", "Node", "Pod", "Service"))
NETWORK_POLICY, CLUSTER_NETWORK_POLICY = _KINDS["NetworkPolicy"], _KINDS["ClusterNetworkPolicy"]
_OTHER_TIERS = (_KINDS["AdminNetworkPolicy"], _KINDS["BaselineAdminNetworkPolicy"])
FOLLOWED = (NAMESPACE, NODE, POD, SERVICE, NETWORK_POLICY, CLUSTER_NETWORK_POLICY, *_OTHER_TIERS)
WITHIN = 60.0
"""Seconds for what the cluster has to do: start pods, end them, give addresses."""
_LOOK = 0.02
_GRACE = 1
_OWN_LABEL = "kubernetes.io/metadata.name"


class NotFit(GatewrightError):
    """A cluster in which the suite cannot run."""


class Late(GatewrightError):
    """The cluster did not do in time what it has to."""


class Objects:
    """The objects of one cluster, as the suite reads and writes them. `outside`: the outside host's addresses."""

    def __init__(self, where: Where, outside: Mapping[int, str]) -> None:
        self._outside = dict(outside)
        self._follower = Follower(where, FOLLOWED, lambda _: None)
        self._writer = Writer(where, self._follower, "gatewright-conformance")

    def start(self) -> None:
        """Make the model, and wait until it stands. Raises NotFit where something is in its way."""
        self._follower.start()
        if not self._follower.wait(WITHIN):
            raise Late("the API has not told its objects; is the lab up? see: gatewright lab list")
        self._require_room()
        for tree in base.namespaces():
            if self._follower.get(NAMESPACE, "", tree["metadata"]["name"]) is None:
                self._writer.create(NAMESPACE, "", tree)
        self.clean()

    def close(self, *, tidy: bool) -> None:
        """Stop following; `tidy`: take away what the suite made."""
        try:
            leaving = [(CLUSTER_NETWORK_POLICY, one) for one in self._own_cluster_policies()]
            spaces = (self._follower.get(NAMESPACE, "", name) for name in NAMESPACES)
            leaving += [(NAMESPACE, one) for one in spaces if one is not None and _is_marked(one)]
            for resource, tree in leaving if tidy else ():
                self._delete(resource, tree)
        finally:
            self._follower.stop()
            self._writer.close()

    # --- one case's work ----------------------------------------------------------------------------------------------

    def perform(self, operation: Operation) -> None:
        """Make one call of the API; what is deleted is gone afterwards."""
        resource, body = _KINDS[operation.kind], operation.body
        namespace, name = operation.namespace, operation.name
        if operation.verb == "create":
            assert body is not None
            self._writer.create(resource, namespace, body if resource.namespaced else _marked(body))
        elif operation.verb == "update":
            assert body is not None
            version = self._writer.get(resource, namespace, name)["metadata"]["resourceVersion"]
            whole = body if resource.namespaced else _marked(body)
            self._writer.update(resource, {**whole, "metadata": {**whole["metadata"], "resourceVersion": version}})
        elif operation.verb == "delete":
            self._delete(resource, self._writer.get(resource, namespace, name))
            self._until(lambda: self._follower.get(resource, namespace, name) is None, f"{operation}: it is not gone")
        else:
            subresource = "status" if operation.verb == "status" else ""
            self._writer.patch(resource, namespace, name, body, subresource)

    def look(self) -> Seen:
        """The objects as they are now: of namespaced ones those of the suite, of others all."""
        mine = [one for kind in (POD, SERVICE, NETWORK_POLICY) for space in NAMESPACES for one in self._in(kind, space)]
        cluster_wide = [one for kind in (NODE, NAMESPACE, CLUSTER_NETWORK_POLICY) for one in self._follower.all(kind)]
        return Seen((*cluster_wide, *mine), self._outside)

    def settle(self) -> None:
        """Wait until every pod that is to run is ready."""
        self._until(lambda: not self._unsettled(), lambda: f"pods are not ready: {', '.join(self._unsettled())}")

    def newest(self) -> dict[str, int]:
        """The newest resourceVersion of each kind of which agents hear; they do not of pods that have finished."""
        kinds = [one for one in FOLLOWED if one is not SERVICE]
        return {
            one.kind: max((_version(tree) for tree in self._follower.all(one) if not _has_ended(tree)), default=0)
            for one in kinds
        }

    def ended(self, path: str) -> str:
        """Wait until a pod has ended; its phase."""
        namespace, _, name = path.partition("/")

        def phase() -> str:
            tree = self._follower.get(POD, namespace, name)
            return str(((tree or {}).get("status") or {}).get("phase"))

        self._until(lambda: phase() in ("Succeeded", "Failed"), lambda: f"pod {path} does not end: it is {phase()}")
        return phase()

    def not_ready(self, pods: Iterable[str], seconds: float) -> list[str]:
        """The pods of these that are not ready at some moment of the next seconds."""
        found: dict[str, None] = {}
        until = time.monotonic() + seconds
        paths = [path.partition("/")[::2] for path in pods]
        while time.monotonic() < until:
            for namespace, name in paths:
                tree = self._follower.get(POD, namespace, name)
                if tree is None or not is_ready(tree):
                    found[f"{namespace}/{name}"] = None
            time.sleep(_LOOK)
        return list(found)

    def pod_uids(self) -> frozenset[str]:
        """Which pods there are: changes with every pod that is made."""
        return frozenset(one["metadata"]["uid"] for space in NAMESPACES for one in self._in(POD, space))

    # --- cleaning up --------------------------------------------------------------------------------------------------

    def clean(self) -> None:
        """Bring everything back to the nine pods of the model."""
        leaving = [(CLUSTER_NETWORK_POLICY, one) for one in self._own_cluster_policies()]
        leaving += [(NETWORK_POLICY, one) for space in NAMESPACES for one in self._in(NETWORK_POLICY, space)]
        leaving += [
            (kind, one)
            for kind in (SERVICE, POD)
            for space in NAMESPACES
            for one in self._in(kind, space)
            if not _is_marked(one) or _has_ended(one)
        ]
        for resource, tree in leaving:
            self._delete(resource, tree)

        def left() -> list[str]:
            return [
                f"{resource.kind} {'/'.join(filter(None, _path(tree)))}"
                for resource, tree in leaving
                if self._follower.get(resource, *_path(tree)) is not None
            ]

        self._until(lambda: not left(), lambda: f"what a case made is not gone: {', '.join(left())}")
        for tree in base.namespaces():
            self._relabel(NAMESPACE, tree)
        nodes = sorted(one["metadata"]["name"] for one in self._follower.all(NODE))
        for resource, trees in ((SERVICE, base.services()), (POD, base.pods(nodes))):
            for tree in trees:
                namespace, name = _path(tree)
                if self._follower.get(resource, namespace, name) is None:
                    self._writer.create(resource, namespace, tree)
                elif resource is POD:
                    self._relabel(POD, tree)
        self.settle()

    def _relabel(self, resource: Resource, wanted: Tree) -> None:
        """Give an object the labels of the model back."""
        namespace, name = _path(wanted)
        found = self._follower.get(resource, namespace, name)
        labels: dict[str, str] = (found or {"metadata": {}})["metadata"].get("labels") or {}
        own = wanted["metadata"].get("labels", {})
        patch: dict[str, Any] = {key: None for key in labels if key not in own and key != _OWN_LABEL}
        patch |= {key: value for key, value in own.items() if labels.get(key) != value}
        if patch:
            self._writer.patch(resource, namespace, name, {"metadata": {"labels": patch}})

    def _delete(self, resource: Resource, tree: Tree) -> None:
        namespace, name = _path(tree)
        try:
            self._writer.delete(resource, namespace, name, grace=_GRACE if resource is POD else None)
        except Refused as refused:
            if refused.reason != "NotFound":
                raise

    # --- looking ------------------------------------------------------------------------------------------------------

    def _require_room(self) -> None:
        """Raises NotFit where a namespace of somebody else has a name of the model, or another tier is in force."""
        for name in NAMESPACES:
            found = self._follower.get(NAMESPACE, "", name)
            if found is not None and not _is_marked(found):
                raise NotFit(f"namespace {name} is not the suite's own; run it in another lab, or delete the namespace")
        foreign = [one for kind in (CLUSTER_NETWORK_POLICY, *_OTHER_TIERS) for one in self._follower.all(kind)]
        for one in foreign:
            if not _is_marked(one):
                label = f"{one['kind']} {one['metadata']['name']}"
                raise NotFit(f"{label} would take part in every case; run the suite in another lab, or delete it")

    def _own_cluster_policies(self) -> Iterator[Tree]:
        return (one for one in self._follower.all(CLUSTER_NETWORK_POLICY) if _is_marked(one))

    def _in(self, resource: Resource, namespace: str) -> list[Tree]:
        return self._follower.all(resource, namespace)

    def _unsettled(self) -> list[str]:
        return [
            "/".join(_path(one))
            for space in NAMESPACES
            for one in self._in(POD, space)
            if one["spec"].get("restartPolicy") != "Never" and not is_ready(one)
        ]

    def _until(self, holds: Callable[[], bool], otherwise: str | Callable[[], str]) -> None:
        until = time.monotonic() + WITHIN
        while not holds():
            if time.monotonic() > until:
                what = otherwise if isinstance(otherwise, str) else otherwise()
                raise Late(f"{what}, after {WITHIN:.0f} s")
            time.sleep(_LOOK)


def is_ready(pod: Tree) -> bool:
    """Whether a pod has addresses and is ready."""
    status = pod.get("status") or {}
    conditions = status.get("conditions") or []
    ready = any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
    return ready and bool(status.get("podIPs")) and not pod["metadata"].get("deletionTimestamp")


def _has_ended(tree: Tree) -> bool:
    return tree["kind"] == "Pod" and (tree.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def _version(tree: Tree) -> int:
    text = tree["metadata"]["resourceVersion"]
    return int(text) if text.isdigit() else 0


def _is_marked(tree: Tree) -> bool:
    return MARK in (tree["metadata"].get("annotations") or {})


def _marked(tree: Tree) -> Tree:
    annotations = {**tree["metadata"].get("annotations", {}), MARK: "case"}
    return {**tree, "metadata": {**tree["metadata"], "annotations": annotations}}


def _path(tree: Tree) -> tuple[str, str]:
    return tree["metadata"].get("namespace", ""), tree["metadata"]["name"]
