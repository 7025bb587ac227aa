"""Small clusters for the agent's tests, as a watch delivers them."""

from __future__ import annotations

from typing import Any

from gatewright.engine.snapshot import Changes
from gatewright.objects.meta import Key, Object
from gatewright.objects.read import decode
from gatewright.sources.watch import NODE_KINDS, Delivery

Json = dict[str, Any]
NODE = "node-1"
KINDS = tuple(kind for _, kind in NODE_KINDS)


def made(document: Json) -> Object:
    """The object of a document."""
    found = decode(document)
    assert found is not None
    return found


def pod(name: str, address: str, *, node: str = NODE, **labels: str) -> Object:
    """A running pod of namespace shop."""
    return made(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": "shop", "labels": labels or {"app": name}},
            "spec": {"nodeName": node, "containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80}]}]},
            "status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]},
        }
    )


def policy(name: str, app: str, **spec: Any) -> Object:
    """A NetworkPolicy that selects an app of namespace shop."""
    return made(
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"name": name, "namespace": "shop"},
            "spec": {"podSelector": {"matchLabels": {"app": app}}, **spec},
        }
    )


def node(*cidrs: str) -> Object:
    """The Node object of the agent's node."""
    spec = {"podCIDRs": list(cidrs), "podCIDR": cidrs[0] if cidrs else ""}
    return made({"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}, "spec": spec})


def delivery(kind: str, *put: Object, gone: tuple[Key, ...] = (), complete: bool = True, at: float = 1.0) -> Delivery:
    """What a watch of a kind hands over."""
    return Delivery(kind, Changes(put, gone), complete, at)


def everything(*objects: Object) -> list[Delivery]:
    """The first lists of every kind."""
    return [delivery(kind, *(item for item in objects if item.kind == kind)) for kind in KINDS]
