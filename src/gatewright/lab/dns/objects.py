"""The cluster's DNS as objects of its API: the Deployment and the Service, named and labelled as in every cluster.

Policies and resolv.conf files know them by these names, labels and addresses.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from gatewright.engine.addresses import IPAddress
from gatewright.lab.dns.server import PORT, READY_PORT

Tree = dict[str, Any]
NAMESPACE, NAME = "kube-system", "kube-dns"
IMAGE = "gatewright-name-server"
"""What the lab's runtime runs `serve` for."""
LABELS = {"k8s-app": "kube-dns"}
_PORTS = (("dns", "UDP"), ("dns-tcp", "TCP"))


def service(addresses: Iterable[IPAddress]) -> Tree:
    """The Service, with these addresses: one a family, the first family first."""
    given = tuple(addresses)
    texts = [str(one) for one in given]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": NAME,
            "namespace": NAMESPACE,
            "labels": {**LABELS, "kubernetes.io/cluster-service": "true", "kubernetes.io/name": "KubeDNS"},
        },
        "spec": {
            "type": "ClusterIP",
            "clusterIP": texts[0],
            "clusterIPs": texts,
            "ipFamilies": [f"IPv{one.version}" for one in given],
            "ipFamilyPolicy": "RequireDualStack" if len(given) > 1 else "SingleStack",
            "selector": LABELS,
            "ports": [
                {"name": name, "protocol": protocol, "port": PORT, "targetPort": PORT} for name, protocol in _PORTS
            ],
        },
    }


def deployment(replicas: int = 1) -> Tree:
    """The Deployment. A name server counts as ready when it has read everything."""
    container = {
        "name": "name-server",
        "image": IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "ports": [{"name": name, "containerPort": PORT, "protocol": protocol} for name, protocol in _PORTS],
        "readinessProbe": {"tcpSocket": {"port": READY_PORT}, "periodSeconds": 1, "failureThreshold": 3},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": NAME, "namespace": NAMESPACE, "labels": LABELS},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": LABELS},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}},
            "template": {
                "metadata": {"labels": LABELS},
                "spec": {"dnsPolicy": "Default", "containers": [container]},
            },
        },
    }
