"""A cluster is followed on any API server as on the one that tests make themselves: objects come, change and go."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gatewright.objects.meta import Object
from gatewright.sources.cluster import read_cluster
from gatewright.sources.kubeconfig import Where
from gatewright.sources.watch import NODE_KINDS
from tests.cluster.endpoint import kubectl
from tests.unit.sources.following import Following

pytestmark = [pytest.mark.cluster]

Json = dict[str, Any]


def pod(name: str, namespace: str, **labels: str) -> Json:
    metadata = {"name": name, "namespace": namespace, "labels": labels}
    ports = [{"name": "http", "containerPort": 80}]
    spec = {"containers": [{"name": "c", "image": "i", "ports": ports}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def policy(name: str, namespace: str) -> Json:
    spec = {"podSelector": {"matchLabels": {"app": "web"}}, "ingress": [{"from": [{"podSelector": {}}]}]}
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": spec}


def apply(kubeconfig: Path, *items: Json) -> None:
    body = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
    kubectl(kubeconfig, "apply", "-f", "-", text=body)


def seen(objects: list[Object], namespace: str) -> dict[str, tuple[str, Any]]:
    """By kind and name: the version, and what the engine sees of the object."""
    return {
        f"{item.kind} {item.name}": (item.metadata.resource_version, (item.labels, getattr(item, "spec", None)))
        for item in objects
        if item.namespace == namespace and item.kind == "NetworkPolicy"
    }


@pytest.mark.parametrize("streaming", [True, False])
def test_objects_come_change_and_go(streaming: bool, kubeconfig: Path, namespace: str) -> None:
    apply(kubeconfig, pod("a", namespace, app="web"), policy("p", namespace))
    where = Where(str(kubeconfig))
    with Following(where, kinds=NODE_KINDS, namespace=namespace, options={"streaming": streaming}) as following:
        following.holds("a", "p")
        following.until(lambda _: all(one.complete for one in following.watch.status()))
        apply(kubeconfig, pod("b", namespace, app="db"), policy("q", namespace))
        following.holds("a", "b", "p", "q")
        kubectl(kubeconfig, "-n", namespace, "label", "pod", "a", "app=api", "--overwrite")
        kubectl(kubeconfig, "-n", namespace, "delete", "networkpolicy", "p")
        kubectl(kubeconfig, "-n", namespace, "delete", "pod", "b", "--force", "--grace-period=0")
        following.holds("a", "q")
        following.until(lambda _: following.objects["Pod", namespace, "a"].labels == {"app": "api"})
        listed = [item for item in read_cluster(where).objects if item.kind == "NetworkPolicy"]
        assert seen(list(following.objects.values()), namespace) == seen(listed, namespace)
        for status in following.watch.status():
            assert status.absent or (status.connected, status.relists, status.last_error) == (True, 0, ""), status
