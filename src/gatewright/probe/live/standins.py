"""Pods from which to connect in the place of existing ones: of their namespace, labels and node, and nothing else.

Policies select by namespace and labels, so a stand-in is policed as the pod it stands for. It must not be taken for one
by anybody else: it never becomes ready, so that no Service sends it traffic, and a ConfigMap controls it, so that no
ReplicaSet adopts it. With that ConfigMap it goes.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gatewright.engine.model import Endpoint
from gatewright.errors import GatewrightError
from gatewright.probe import leastpods
from gatewright.probe.doctor.trees import items, name_of, namespace_of, text
from gatewright.probe.leastpods import CONTAINER, DEFAULT_IMAGE
from gatewright.sources.asking import Asker
from gatewright.sources.changing import Changer
from gatewright.sources.executing import Place
from gatewright.sources.kubeconfig import Where

Tree = Mapping[str, Any]
MARK = {"gatewright.io/probe": "stand-ins"}
"""On the ConfigMaps: by this label a later run finds what an interrupted one left."""
PREFIX = "gatewright-probe-"
LIFE = 1800
"""Seconds after which a stand-in ends by itself."""
_LOOK = 0.2
_CONFIG_MAPS, _PODS = "/api/v1/namespaces/{}/configmaps", "/api/v1/namespaces/{}/pods"


@dataclass(frozen=True, slots=True)
class StandIn:
    """A stand-in for a pod (`path`): its own name and namespace."""

    path: str
    namespace: str
    name: str
    node: str
    labels: Mapping[str, str]


def wanted(sources: Iterable[Endpoint], run: str) -> list[StandIn]:
    """A stand-in for each pod."""
    return [
        StandIn(one.path, one.namespace, f"{PREFIX}{run}-{number}", one.node, one.labels)
        for number, one in enumerate(sources)
    ]


def keeper(run: str, namespace: str) -> Tree:
    """The ConfigMap that controls the stand-ins of a namespace."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": f"{PREFIX}{run}", "namespace": namespace, "labels": MARK},
    }


def pod(one: StandIn, image: str, run: str, uid: str) -> Tree:
    """A stand-in as an object. `uid` is that of its keeper."""
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": f"{PREFIX}{run}", "uid": uid, "controller": True}
    metadata = {"name": one.name, "namespace": one.namespace, "labels": dict(one.labels), "ownerReferences": [owner]}
    never = {"readinessProbe": {"exec": {"command": ["false"]}, "periodSeconds": 60}}
    only = leastpods.container(image, ["sleep", str(LIFE)], ("5m", "500m"), never)
    return leastpods.pod(metadata, one.node, LIFE, only)


class StandIns:
    """The stand-ins of one run in a cluster. For one thread. Raises ClusterUnavailable, Refused."""

    def __init__(self, where: Where, image: str = DEFAULT_IMAGE) -> None:
        self._asker, self._changer = Asker(where, LIFE), Changer(where)
        self._image = image
        self.run = secrets.token_hex(4)

    def close(self) -> None:
        """Leave no connection open."""
        self._asker.close()
        self._changer.close()

    def create(self, stand_ins: Sequence[StandIn]) -> None:
        """Create them, and their keepers first."""
        keepers = {}
        for namespace in dict.fromkeys(one.namespace for one in stand_ins):
            made = self._changer.create(_CONFIG_MAPS.format(namespace), keeper(self.run, namespace))
            keepers[namespace] = text(made, "metadata", "uid")
        for one in stand_ins:
            self._changer.create(_PODS.format(one.namespace), pod(one, self._image, self.run, keepers[one.namespace]))

    def started(self, stand_ins: Sequence[StandIn], within: float) -> dict[str, Place | str]:
        """Where to run programs for each pod that is stood for, or why not."""
        deadline = time.monotonic() + within
        names = {one.name: one for one in stand_ins}
        while True:
            phases = {
                name: pod for space in {s.namespace for s in stand_ins} for name, pod in self._ours(space).items()
            }
            running = [name for name in names if text(phases.get(name, {}), "status", "phase") == "Running"]
            if len(running) == len(names) or time.monotonic() > deadline:
                return {
                    one.path: Place(one.namespace, name, CONTAINER)
                    if name in running
                    else _trouble(phases.get(name, {}))
                    for name, one in names.items()
                }
            time.sleep(_LOOK)

    def _ours(self, namespace: str) -> dict[str, Tree]:
        told = self._asker.get(_PODS.format(namespace))
        return {name_of(one): one for one in items(told.tree, "items") if name_of(one).startswith(PREFIX)}

    def left_behind(self) -> list[Tree]:
        """Keepers that earlier runs could not remove, as far as they may be seen."""
        [(key, value)] = MARK.items()
        told = self._asker.get(f"/api/v1/configmaps?labelSelector={key.replace('/', '%2F')}%3D{value}")
        return [one for one in items(told.tree, "items") if name_of(one).startswith(PREFIX)]

    def remove(self, keepers: Iterable[Tree]) -> list[str]:
        """Delete keepers and the pods that they control; what could not be deleted."""
        left = []
        for one in keepers:
            namespace, name = namespace_of(one), name_of(one)
            try:
                for made in self._ours(namespace):
                    if made.startswith(f"{name}-"):
                        self._changer.delete(f"{_PODS.format(namespace)}/{made}", grace=0)
                self._changer.delete(f"{_CONFIG_MAPS.format(namespace)}/{name}")
            except GatewrightError:
                left.append(f"{namespace}/{name}")
        return left

    def remove_own(self, stand_ins: Iterable[StandIn]) -> list[str]:
        """Delete what this run made; what could not be deleted."""
        return self.remove(keeper(self.run, namespace) for namespace in dict.fromkeys(s.namespace for s in stand_ins))


def _trouble(found: Tree) -> str:
    for status in items(found, "status", "containerStatuses"):
        reason = text(status, "state", "waiting", "reason")
        if reason:
            return f"its stand-in did not start: {reason}: {text(status, 'state', 'waiting', 'message')}".rstrip(": ")
    return f"its stand-in did not start: {text(found, 'status', 'message') or text(found, 'status', 'phase') or 'gone'}"
