"""The model that every case starts from: three namespaces, three pods in each, a Service for each pod."""

from __future__ import annotations

from collections.abc import Sequence

from gatewright.engine.ports import Protocol
from gatewright.probe.conformance.model import BASE, NAMESPACES, PORTS, Tree

MARK = "gatewright.dev/conformance"
"""The annotation of what belongs to the suite: nothing else is ever changed or deleted."""
PLACES = {"x/a": 0, "x/b": 0, "x/c": 1, "y/a": 1, "y/b": 2, "y/c": 0, "z/a": 2, "z/b": 1, "z/c": 2}
"""Which node each pod stands on: pairs of one namespace and of two stand on one node and on two."""


def namespaces() -> list[Tree]:
    """The Namespaces."""
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "annotations": {MARK: "base"}}}
        for name in NAMESPACES
    ]


def pods(nodes: Sequence[str]) -> list[Tree]:
    """The pods, on these nodes. Their readiness is what the node's probe finds."""
    ports = [
        {"name": f"serve-{port}-{protocol.lower()}", "containerPort": port, "protocol": protocol.value}
        for port in PORTS
        for protocol in Protocol
    ]
    probe = {"tcpSocket": {"port": 80}, "periodSeconds": 1, "failureThreshold": 1, "timeoutSeconds": 1}
    return [
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": _metadata(path) | {"labels": {"pod": path.rpartition("/")[2]}},
            "spec": {
                "nodeName": nodes[PLACES[path] % len(nodes)],
                "terminationGracePeriodSeconds": 1,
                "containers": [{"name": "server", "image": "server", "ports": ports, "readinessProbe": probe}],
            },
        }
        for path in BASE
    ]


def services() -> list[Tree]:
    """The Services, of both families where the cluster has both."""
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": _metadata(path),
            "spec": {
                "selector": {"pod": path.rpartition("/")[2]},
                "ipFamilyPolicy": "PreferDualStack",
                "ports": [
                    {
                        "name": f"service-{protocol.lower()}-{port}",
                        "port": port,
                        "protocol": protocol.value,
                        "targetPort": port,
                    }
                    for port in PORTS
                    for protocol in Protocol
                ],
            },
        }
        for path in BASE
    ]


def _metadata(path: str) -> Tree:
    namespace, _, name = path.partition("/")
    return {"name": name, "namespace": namespace, "annotations": {MARK: "base"}}
