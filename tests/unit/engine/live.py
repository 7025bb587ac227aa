"""Live objects as `kubectl get -o yaml` prints them, in short."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gatewright.engine.compile import Compiled, compile_snapshot
from gatewright.engine.snapshot import Snapshot
from gatewright.engine.view import View, by_workload
from gatewright.objects.read import decode

Json = dict[str, Any]


def pod(name: str, owner: tuple[str, str] | None = None, namespace: str = "x", **labels: str) -> Json:
    """A running pod; its address comes from the number at the end of its name."""
    number = int(name.rpartition("-")[2]) if name.rpartition("-")[2].isdigit() else 99
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            **_metadata(name, namespace, owner),
            "labels": {k.replace("__", "-"): v for k, v in labels.items()},
        },
        "spec": {"nodeName": "n0", "containers": [{"name": "c", "image": "i"}]},
        "status": {"phase": "Running", "podIP": f"10.0.0.{number + 1}", "podIPs": [{"ip": f"10.0.0.{number + 1}"}]},
    }


def workload(kind: str, name: str, owner: tuple[str, str] | None = None, namespace: str = "x", **labels: str) -> Json:
    """A workload of an apps/v1 kind (or a Job) with a pod template."""
    return {
        "apiVersion": "batch/v1" if kind == "Job" else "apps/v1",
        "kind": kind,
        "metadata": _metadata(name, namespace, owner),
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
        },
    }


def policy(name: str, spec: Json, namespace: str = "x") -> Json:
    """A NetworkPolicy."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }


def only_from(subject: Json, **sources: str) -> Json:
    """A policy spec: TCP 80 from pods with these labels to the subject."""
    peers = [{"podSelector": {"matchLabels": sources}}]
    return {"podSelector": subject, "ingress": [{"from": peers, "ports": [{"port": 80}]}]}


def compiled(objects: Sequence[Json]) -> Compiled:
    """The objects, compiled."""
    return compile_snapshot(Snapshot.of(item for item in map(decode, objects) if item is not None))


def view(objects: Sequence[Json]) -> View:
    """What `list` shows of the objects."""
    cluster = compiled(objects)
    return by_workload(cluster)


def _metadata(name: str, namespace: str, owner: tuple[str, str] | None) -> Json:
    found: Json = {"name": name, "namespace": namespace}
    if owner:
        found["ownerReferences"] = [
            {"apiVersion": "apps/v1", "kind": owner[0], "name": owner[1], "uid": "1", "controller": True}
        ]
    return found
