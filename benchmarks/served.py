"""Objects as an API server writes them: with everything that nobody reads here, which is most of it."""

from __future__ import annotations

import zlib
from typing import Any

import msgspec

from gatewright.objects.core import Pod
from gatewright.objects.meta import Json, Object

_CREATED = "2026-11-23T04:49:10Z"
_CONDITIONS = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")
_PROBE = {"httpGet": {"path": "/healthz", "port": "http", "scheme": "HTTP"}, "timeoutSeconds": 1, "periodSeconds": 10}


def written(item: Object, version: int) -> Json:
    """The object as it stands in a list or an event."""
    if isinstance(item, Pod):
        return _pod(item, version)
    fields = {key: value for key, value in _camel(msgspec.to_builtins(item)).items() if key != "(origin)"}
    metadata = {**fields["metadata"], "uid": _uid(version), "resourceVersion": str(version)}
    return {**fields, "metadata": {**metadata, "creationTimestamp": _CREATED, "managedFields": _managed(item.kind)}}


def _camel(value: Any) -> Any:
    """Without what is empty, as API servers leave it out."""
    if isinstance(value, dict):
        return {key: kept for key, each in value.items() if (kept := _camel(each))}
    return [_camel(each) for each in value] if isinstance(value, list | tuple) else value


def _pod(pod: Pod, version: int) -> Json:
    app, number = pod.labels["app"], version % 1_000_000
    replicas = f"{app}-{zlib.crc32(f'{pod.namespace}/{app}'.encode()):010x}"
    token = f"kube-api-access-{number:05x}"
    host = f"192.168.{int(pod.spec.node_name[-4:]) // 250}.{int(pod.spec.node_name[-4:]) % 250 + 1}"
    return {
        "metadata": {
            "name": pod.name,
            "generateName": f"{replicas}-",
            "namespace": pod.namespace,
            "uid": _uid(number),
            "resourceVersion": str(version),
            "generation": 1,
            "creationTimestamp": _CREATED,
            "labels": {**pod.labels, "pod-template-hash": replicas[-10:], "app.kubernetes.io/managed-by": "helm"},
            "annotations": {"prometheus.io/scrape": "true", "kubectl.kubernetes.io/restartedAt": _CREATED},
            "ownerReferences": [_owner(replicas)],
            "managedFields": _managed("Pod"),
        },
        "spec": {
            "volumes": [{"name": token, "projected": {"sources": _token_sources(), "defaultMode": 420}}],
            "containers": [_container(app, token, pod)],
            "restartPolicy": "Always",
            "terminationGracePeriodSeconds": 30,
            "dnsPolicy": "ClusterFirst",
            "serviceAccountName": "default",
            "serviceAccount": "default",
            "nodeName": pod.spec.node_name,
            "securityContext": {},
            "schedulerName": "default-scheduler",
            "tolerations": [_toleration("not-ready"), _toleration("unreachable")],
            "priority": 0,
            "enableServiceLinks": True,
            "preemptionPolicy": "PreemptLowerPriority",
        },
        "status": {
            "phase": "Running",
            "conditions": [_condition(kind) for kind in _CONDITIONS],
            "hostIP": host,
            "hostIPs": [{"ip": host}],
            "podIP": pod.ips[0],
            "podIPs": [{"ip": address} for address in pod.ips],
            "startTime": _CREATED,
            "containerStatuses": [_container_status(app)],
            "qosClass": "Burstable",
        },
    }


def _uid(number: int) -> str:
    return f"525e2f15-b4ad-48f9-bf53-{number:012x}"


def _owner(name: str) -> Json:
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": name, "uid": _uid(1)}
    return {**owner, "controller": True, "blockOwnerDeletion": True}


def _token_sources() -> list[Json]:
    return [
        {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
    ]


def _container(app: str, token: str, pod: Pod) -> Json:
    declared = [port for container in pod.spec.containers for port in container.ports]
    return {
        "name": "main",
        "image": f"registry.example/{app}:v1.2.3",
        "ports": [{"name": p.name, "containerPort": p.container_port, "protocol": p.protocol} for p in declared],
        "env": [
            {"name": "POD_IP", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "status.podIP"}}},
            {"name": "LOG_LEVEL", "value": "info"},
        ],
        "resources": {
            "limits": {"cpu": "1", "memory": "512Mi"},
            "requests": {"cpu": "100m", "memory": "128Mi"},
        },
        "volumeMounts": [
            {"name": token, "readOnly": True, "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}
        ],
        "livenessProbe": _PROBE,
        "readinessProbe": _PROBE,
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
        "imagePullPolicy": "IfNotPresent",
    }


def _toleration(what: str) -> Json:
    key = f"node.kubernetes.io/{what}"
    return {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}


def _condition(kind: str) -> Json:
    return {"type": kind, "status": "True", "lastProbeTime": None, "lastTransitionTime": _CREATED}


def _container_status(app: str) -> Json:
    return {
        "name": "main",
        "state": {"running": {"startedAt": _CREATED}},
        "lastState": {},
        "ready": True,
        "restartCount": 0,
        "image": f"registry.example/{app}:v1.2.3",
        "imageID": f"registry.example/{app}@sha256:{'0' * 64}",
        "containerID": f"containerd://{'0' * 64}",
        "started": True,
    }


def _managed(kind: str) -> list[Json]:
    """What server-side apply remembers of who wrote which field: a third of most objects."""
    fields: Json = {"f:metadata": {"f:labels": {".": {}, "f:app": {}, "f:pod-template-hash": {}}, "f:generateName": {}}}
    names = ("image", "imagePullPolicy", "name", "ports", "resources", "terminationMessagePath", "livenessProbe")
    container: Json = {'k:{"name":"main"}': {".": {}, **{f"f:{name}": {".": {}} for name in names}}}
    spec = {"f:containers": container, "f:dnsPolicy": {}, "f:restartPolicy": {}, "f:schedulerName": {}}
    entry = {"manager": "kube-controller-manager", "operation": "Update", "apiVersion": "v1", "time": _CREATED}
    written_fields: Json = {**fields, "f:spec": spec if kind == "Pod" else {"f:podSelector": {}, "f:ingress": {}}}
    return [{**entry, "fieldsType": "FieldsV1", "fieldsV1": written_fields}]
