"""Objects as an API server writes them, with all that nobody here reads: so that decoding costs what it costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from benchmarks.clusters import document
from gatewright.objects.core import Pod
from gatewright.objects.meta import Json, Object

STARTED = "2026-01-01T00:00:00Z"
MANAGED: Json = {
    f"f:{part}": {
        f"f:{name}": {} for name in ("image", "imagePullPolicy", "name", "resources", "terminationMessagePath")
    }
    for part in ("metadata", "spec", "status", "containers", "volumes", "conditions")
}
METADATA: Json = {
    "uid": "b3c8a7f0-58c1-4d3b-9d0e-6d5a9f3b7c11",
    "resourceVersion": "123456",
    "creationTimestamp": STARTED,
    "annotations": {"kubectl.kubernetes.io/restartedAt": STARTED, "checksum/config": "0123456789abcdef" * 4},
    "managedFields": [
        {"manager": name, "operation": "Update", "apiVersion": "v1", "time": STARTED, "fieldsV1": MANAGED}
        for name in ("kube-controller-manager", "kubelet")
    ],
}
SPEC: Json = {
    "volumes": [{"name": "token", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}],
    "restartPolicy": "Always",
    "dnsPolicy": "ClusterFirst",
    "serviceAccountName": "default",
    "schedulerName": "default-scheduler",
    "tolerations": [
        {"key": f"node.kubernetes.io/{name}", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}
        for name in ("not-ready", "unreachable")
    ],
    "enableServiceLinks": True,
}
CONTAINER: Json = {
    "imagePullPolicy": "IfNotPresent",
    "resources": {"limits": {"cpu": "1", "memory": "512Mi"}, "requests": {"cpu": "100m", "memory": "128Mi"}},
    "env": [{"name": f"SETTING_{number}", "value": "a value as long as they are"} for number in range(8)],
    "volumeMounts": [{"name": "token", "readOnly": True, "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}],
    "livenessProbe": {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 10, "failureThreshold": 3},
    "terminationMessagePath": "/dev/termination-log",
}
STATUS: Json = {
    "conditions": [
        {"type": name, "status": "True", "lastProbeTime": None, "lastTransitionTime": STARTED}
        for name in ("Initialized", "Ready", "ContainersReady", "PodScheduled")
    ],
    "startTime": STARTED,
    "qosClass": "Burstable",
    "containerStatuses": [
        {
            "name": "main",
            "ready": True,
            "restartCount": 0,
            "imageID": "sha256:" + "0123456789abcdef" * 4,
            "state": {"running": {"startedAt": STARTED}},
        }
    ],
}


def event(kind: str, item: Object) -> bytes:
    """One line of a watch. `kind` is ADDED, MODIFIED or DELETED."""
    return msgspec.json.encode({"type": kind, "object": written(item)})


def page(items: Sequence[Object]) -> bytes:
    """A list with all of its items in one page."""
    return msgspec.json.encode({"metadata": {"resourceVersion": "1"}, "items": [written(item) for item in items]})


def written(item: Object) -> Json:
    """The object in JSON's terms, with what an API server adds."""
    made: dict[str, Any] = dict(document(item))
    made["metadata"] = {**METADATA, **made["metadata"]}
    if isinstance(item, Pod):
        containers = [{**CONTAINER, **one} for one in made["spec"]["containers"]]
        made["spec"] = {**SPEC, **made["spec"], "containers": containers}
        made["status"] = {**STATUS, **made["status"]}
    return made
