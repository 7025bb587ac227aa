"""What an API server fills in: the defaults of built-in kinds (k8s.io/kubernetes, pkg/apis/*/v1/defaults.go).

Every function changes the tree it is given. Objects are what they were when nothing is missing, so that reading an
object and writing it back changes nothing. Who writes an object owns its defaults too (`apply_defaults`), but not what
admission and the server add behind them (`admit`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from gatewright.lab.api.resources import Tree

_EVICTED_AFTER = 300
"""Seconds for which a pod stays on a node that is not ready (admission plugin DefaultTolerationSeconds)."""


def apply_defaults(kind: str, tree: Tree) -> None:
    """Fill in what a kind's object leaves open."""
    default = _DEFAULTS.get(kind)
    if default is not None:
        default(tree)


def admit(kind: str, tree: Tree) -> None:
    """Add to a new object, or to one that changes, what is the server's own."""
    admission = _ADMISSION.get(kind)
    if admission is not None:
        admission(tree)


def _spec(tree: Tree, name: str = "spec") -> Tree:
    spec = tree.setdefault(name, {})
    return spec if isinstance(spec, dict) else {}


def _set(tree: Tree, **values: Any) -> None:
    for name, value in values.items():
        tree.setdefault(name, value)


def _pod_spec(spec: Tree) -> None:
    _set(spec, restartPolicy="Always", terminationGracePeriodSeconds=30, dnsPolicy="ClusterFirst", securityContext={})
    _set(spec, schedulerName="default-scheduler")
    if name := spec.get("serviceAccountName"):
        spec.setdefault("serviceAccount", name)
    for field in ("containers", "initContainers", "ephemeralContainers"):
        for container in spec.get(field) or ():
            _container(container)
    for volume in spec.get("volumes") or ():
        _volume(volume)


def _container(container: Tree) -> None:
    for port in container.get("ports") or ():
        _set(port, protocol="TCP")
    _set(container, resources={}, terminationMessagePath="/dev/termination-log", terminationMessagePolicy="File")
    image = str(container.get("image", ""))
    tag = image.rpartition("/")[2].partition("@")[0].partition(":")[2]
    latest = tag in ("", "latest") and "@" not in image
    _set(container, imagePullPolicy="Always" if latest else "IfNotPresent")
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        if probe := container.get(name):
            _set(probe, timeoutSeconds=1, periodSeconds=10, successThreshold=1, failureThreshold=3)
            if request := probe.get("httpGet"):
                _set(request, path="/", scheme="HTTP")
    for variable in container.get("env") or ():
        if reference := (variable.get("valueFrom") or {}).get("fieldRef"):
            _set(reference, apiVersion="v1")


_VOLUME_MODES = {"configMap": 420, "secret": 420, "projected": 420, "downwardAPI": 420}


def _volume(volume: Tree) -> None:
    if set(volume) <= {"name"}:
        volume["emptyDir"] = {}
    for name, mode in _VOLUME_MODES.items():
        if isinstance(volume.get(name), dict):
            _set(volume[name], defaultMode=mode)
    if isinstance(volume.get("hostPath"), dict):
        _set(volume["hostPath"], type="")


def _pod(tree: Tree) -> None:
    spec = _spec(tree)
    _pod_spec(spec)
    _set(spec, enableServiceLinks=True)


def _admit_pod(tree: Tree) -> None:
    spec = _spec(tree)
    _set(spec, priority=0, preemptionPolicy="PreemptLowerPriority")
    tolerations = spec.setdefault("tolerations", [])
    for condition in ("not-ready", "unreachable"):
        key = f"node.kubernetes.io/{condition}"
        if not any(_tolerates(one, key) for one in tolerations):
            more = {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": _EVICTED_AFTER}
            tolerations.append(more)
    status = _spec(tree, "status")
    _set(status, phase="Pending")
    status.setdefault("qosClass", _quality(spec))


def _tolerates(toleration: Tree, key: str) -> bool:
    return bool(toleration.get("key", key) == key and toleration.get("effect", "NoExecute") == "NoExecute")


def _quality(spec: Tree) -> str:
    """The quality of service that the containers' resources ask for."""
    asked = [container.get("resources") or {} for container in _containers(spec)]
    requests, limits = [one.get("requests") or {} for one in asked], [one.get("limits") or {} for one in asked]
    if not any(requests) and not any(limits):
        return "BestEffort"
    for request, limit in zip(requests, limits, strict=True):
        if not {"cpu", "memory"} <= limit.keys() or any(
            request.get(name, limit[name]) != limit[name] for name in limit
        ):
            return "Burstable"
    return "Guaranteed"


def _containers(spec: Tree) -> Iterator[Tree]:
    for field in ("containers", "initContainers"):
        yield from spec.get(field) or ()


def _template(spec: Tree) -> None:
    template = spec.setdefault("template", {})
    _set(template, metadata={})
    _pod_spec(_spec(template))


def _deployment(tree: Tree) -> None:
    spec = _spec(tree)
    _template(spec)
    _set(spec, replicas=1, strategy={}, revisionHistoryLimit=10, progressDeadlineSeconds=600)
    strategy = spec["strategy"]
    _set(strategy, type="RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        _set(strategy, rollingUpdate={})
        _set(strategy["rollingUpdate"], maxUnavailable="25%", maxSurge="25%")


def _replica_set(tree: Tree) -> None:
    spec = _spec(tree)
    _template(spec)
    _set(spec, replicas=1)


def _admit_replica_set(tree: Tree) -> None:
    _set(_spec(tree, "status"), replicas=0)


def _stateful_set(tree: Tree) -> None:
    spec = _spec(tree)
    _template(spec)
    _set(
        spec, replicas=1, serviceName="", podManagementPolicy="OrderedReady", updateStrategy={}, revisionHistoryLimit=10
    )
    _set(spec, persistentVolumeClaimRetentionPolicy={"whenDeleted": "Retain", "whenScaled": "Retain"})
    strategy = spec["updateStrategy"]
    _set(strategy, type="RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        _set(strategy, rollingUpdate={"partition": 0})


def _admit_stateful_set(tree: Tree) -> None:
    _set(_spec(tree, "status"), replicas=0, availableReplicas=0)


def _daemon_set(tree: Tree) -> None:
    spec = _spec(tree)
    _template(spec)
    _set(spec, updateStrategy={}, revisionHistoryLimit=10)
    strategy = spec["updateStrategy"]
    _set(strategy, type="RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        _set(strategy, rollingUpdate={"maxUnavailable": 1, "maxSurge": 0})


def _admit_daemon_set(tree: Tree) -> None:
    counts = ("currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady")
    _set(_spec(tree, "status"), **dict.fromkeys(counts, 0))


def _job_spec(spec: Tree) -> None:
    _template(spec)
    if "completions" not in spec and "parallelism" not in spec:
        _set(spec, completions=1, parallelism=1)
    _set(spec, parallelism=1, backoffLimit=6, completionMode="NonIndexed", suspend=False)
    _set(spec, podReplacementPolicy="TerminatingOrFailed", manualSelector=False)


def _job(tree: Tree) -> None:
    _job_spec(_spec(tree))


def _admit_job(tree: Tree) -> None:
    _set(tree, status={})
    spec, metadata = tree["spec"], tree["metadata"]
    if not spec["manualSelector"] and "selector" not in spec and metadata.get("uid"):
        uid = metadata["uid"]
        spec["selector"] = {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}
        labels = spec["template"]["metadata"].setdefault("labels", {})
        for prefix in ("", "batch.kubernetes.io/"):
            labels[f"{prefix}controller-uid"] = uid
            labels[f"{prefix}job-name"] = metadata["name"]


def _cron_job(tree: Tree) -> None:
    spec = _spec(tree)
    _set(spec, concurrencyPolicy="Allow", suspend=False, successfulJobsHistoryLimit=3, failedJobsHistoryLimit=1)
    template = spec.setdefault("jobTemplate", {})
    _set(template, metadata={})
    job = _spec(template)
    pods = job.setdefault("template", {})
    _set(pods, metadata={})
    _pod_spec(_spec(pods))


def _service(tree: Tree) -> None:
    spec = _spec(tree)
    _set(spec, type="ClusterIP", sessionAffinity="None")
    if spec["sessionAffinity"] == "ClientIP":
        _set(spec, sessionAffinityConfig={"clientIP": {"timeoutSeconds": 10800}})
    for port in spec.get("ports") or ():
        _set(port, protocol="TCP")
        if spec["type"] != "ExternalName" and "port" in port:
            _set(port, targetPort=port["port"])
    if spec["type"] != "ExternalName":
        _set(spec, internalTrafficPolicy="Cluster")
    if spec["type"] in ("NodePort", "LoadBalancer"):
        _set(spec, externalTrafficPolicy="Cluster")
    if spec["type"] == "LoadBalancer":
        _set(spec, allocateLoadBalancerNodePorts=True)


def _network_policy(tree: Tree) -> None:
    spec = _spec(tree)
    _set(spec, podSelector={})
    for field in ("ingress", "egress"):
        for rule in spec.get(field) or ():
            for port in rule.get("ports") or ():
                _set(port, protocol="TCP")
    if not spec.get("policyTypes"):
        spec["policyTypes"] = ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]


def _admit_status(tree: Tree) -> None:
    _set(tree, status={})


def _admit_balanced(tree: Tree) -> None:
    _set(_spec(tree, "status"), loadBalancer={})


def _namespace(tree: Tree) -> None:
    metadata = tree["metadata"]
    if metadata.get("name"):
        metadata.setdefault("labels", {})["kubernetes.io/metadata.name"] = metadata["name"]


def _admit_namespace(tree: Tree) -> None:
    _set(_spec(tree), finalizers=["kubernetes"])
    _set(_spec(tree, "status"), phase="Active")


def _node(tree: Tree) -> None:
    _set(tree, spec={}, status={})


def _secret(tree: Tree) -> None:
    _set(tree, type="Opaque")


def _endpoint_slice(tree: Tree) -> None:
    for port in tree.get("ports") or ():
        _set(port, name="", protocol="TCP")


def _endpoints(tree: Tree) -> None:
    for subset in tree.get("subsets") or ():
        for port in subset.get("ports") or ():
            _set(port, protocol="TCP")


def _event(tree: Tree) -> None:
    _set(tree, source={}, reportingComponent="", reportingInstance="")
    for name in ("firstTimestamp", "lastTimestamp", "eventTime"):
        _set(tree, **{name: None})


def _lease(tree: Tree) -> None:
    _set(tree, spec={})


_DEFAULTS: dict[str, Callable[[Tree], None]] = {
    "Pod": _pod,
    "Deployment": _deployment,
    "ReplicaSet": _replica_set,
    "StatefulSet": _stateful_set,
    "DaemonSet": _daemon_set,
    "Job": _job,
    "CronJob": _cron_job,
    "Service": _service,
    "NetworkPolicy": _network_policy,
    "Namespace": _namespace,
    "Node": _node,
    "Secret": _secret,
    "EndpointSlice": _endpoint_slice,
    "Endpoints": _endpoints,
    "Event": _event,
    "Lease": _lease,
}

_ADMISSION: dict[str, Callable[[Tree], None]] = {
    "Pod": _admit_pod,
    "Deployment": _admit_status,
    "ReplicaSet": _admit_replica_set,
    "StatefulSet": _admit_stateful_set,
    "DaemonSet": _admit_daemon_set,
    "Job": _admit_job,
    "CronJob": _admit_status,
    "Service": _admit_balanced,
    "Ingress": _admit_balanced,
    "Namespace": _admit_namespace,
}
