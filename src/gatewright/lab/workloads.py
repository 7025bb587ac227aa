"""From workload objects to pods: what a cluster's controllers would create, with names that do not change between runs.

Pure. Names look as a cluster's (`web-5d8c7b6f4-x2x9z`, `db-0`), but come from content, so that the same manifests
give the same pods and a changed template gives new ones, as a rollout does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import msgspec

from gatewright.objects.core import Pod
from gatewright.objects.meta import Object, ObjectMeta
from gatewright.objects.workloads import (
    CronJob,
    DaemonSet,
    Deployment,
    Job,
    ReplicaSet,
    ReplicationController,
    StatefulSet,
    Workload,
)

_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
"""The letters of Kubernetes' random suffixes: no vowels, so no words."""


@dataclass(frozen=True, slots=True)
class PodPlan:
    """One pod that is to run, and the workload it belongs to (`kind/name`, empty for a bare pod)."""

    pod: Pod
    owner: str = ""

    @property
    def key(self) -> str:
        """`namespace/name`."""
        return f"{self.pod.namespace}/{self.pod.name}"

    @property
    def hostname(self) -> str:
        """What the pod calls itself."""
        return self.pod.spec.hostname or self.pod.name[:63].rstrip(".-")


def pods_of(objects: Iterable[Object]) -> tuple[PodPlan, ...]:
    """Every pod that these objects make, sorted by namespace and name. A pod of its own wins over a generated one."""
    plans: dict[str, PodPlan] = {}
    for plan in (plan for item in objects for plan in _plans(item)):
        if plan.key not in plans or not plan.owner:
            plans[plan.key] = plan
    return tuple(plans[key] for key in sorted(plans))


def not_started(objects: Iterable[Object]) -> tuple[str, ...]:
    """One line for every object that a cluster would run at some time and the lab does not."""
    return tuple(
        f"CronJob {item.namespace}/{item.name}: not started (the lab keeps no schedule)"
        for item in objects
        if isinstance(item, CronJob)
    )


def _plans(item: Object) -> Iterator[PodPlan]:
    if isinstance(item, Pod):
        yield PodPlan(item)
    elif isinstance(item, StatefulSet):
        for ordinal in range(item.replicas):
            name = f"{item.name}-{ordinal}"
            labels = {"statefulset.kubernetes.io/pod-name": name, "apps.kubernetes.io/pod-index": str(ordinal)}
            yield _from_template(item, name, labels, hostname=name)
    elif isinstance(item, Deployment):
        revision = _hash(msgspec.json.encode(item.template), 10)
        for index in range(item.replicas):
            suffix = _hash(f"{item.namespace}/{item.name}/{revision}/{index}".encode(), 5)
            yield _from_template(item, f"{item.name}-{revision}-{suffix}", {"pod-template-hash": revision})
    elif isinstance(item, ReplicaSet | ReplicationController | DaemonSet | Job):
        count = 1 if isinstance(item, DaemonSet | Job) else item.replicas
        for index in range(count):
            suffix = _hash(f"{item.kind}/{item.namespace}/{item.name}/{index}".encode(), 5)
            labels = {"batch.kubernetes.io/job-name": item.name, "job-name": item.name} if isinstance(item, Job) else {}
            yield _from_template(item, f"{item.name}-{suffix}", labels)


def _from_template(item: Workload, name: str, labels: dict[str, str], hostname: str = "") -> PodPlan:
    template = item.template
    metadata = ObjectMeta(
        name=name,
        namespace=item.namespace,
        labels={**template.metadata.labels, **labels},
        annotations=template.metadata.annotations,
    )
    spec = template.spec
    if hostname:
        subdomain = spec.subdomain or item.spec.service_name
        spec = msgspec.structs.replace(spec, hostname=hostname, subdomain=subdomain)
    if isinstance(item, Job) and spec.restart_policy == "Always":
        spec = msgspec.structs.replace(spec, restart_policy="OnFailure")
    pod = Pod(api_version="v1", kind="Pod", metadata=metadata, spec=spec, origin=item.origin)
    return PodPlan(pod, f"{item.kind}/{item.name}")


def _hash(data: bytes, length: int) -> str:
    number = int.from_bytes(hashlib.sha256(data).digest(), "big")
    letters = ""
    for _ in range(length):
        number, rest = divmod(number, len(_ALPHABET))
        letters += _ALPHABET[rest]
    return letters
