"""The kinds that make pods from a template (apps/v1, batch/v1, core/v1 ReplicationController)."""

from __future__ import annotations

from gatewright.objects.core import PodSpec
from gatewright.objects.meta import Lenient, Object, ObjectMeta


class PodTemplateSpec(Lenient, frozen=True):
    """core/v1 PodTemplateSpec."""

    metadata: ObjectMeta = ObjectMeta()
    spec: PodSpec = PodSpec()


class WorkloadSpec(Lenient, frozen=True):
    """The part that Deployment, ReplicaSet, StatefulSet and DaemonSet specs share."""

    template: PodTemplateSpec = PodTemplateSpec()
    replicas: int | None = None
    service_name: str = ""


class Workload(Object, frozen=True):
    """Base of the kinds whose pods come from `spec.template`."""

    spec: WorkloadSpec = WorkloadSpec()

    @property
    def template(self) -> PodTemplateSpec:
        """The template of its pods."""
        return self.spec.template

    @property
    def replicas(self) -> int:
        """How many pods it wants; 1 when it does not say."""
        return 1 if self.spec.replicas is None else self.spec.replicas


class Deployment(Workload, frozen=True):
    """apps/v1 Deployment."""


class ReplicaSet(Workload, frozen=True):
    """apps/v1 ReplicaSet."""


class StatefulSet(Workload, frozen=True):
    """apps/v1 StatefulSet."""


class DaemonSet(Workload, frozen=True):
    """apps/v1 DaemonSet: one pod a node."""


class ReplicationController(Workload, frozen=True):
    """core/v1 ReplicationController."""


class Job(Workload, frozen=True):
    """batch/v1 Job."""


class JobTemplateSpec(Lenient, frozen=True):
    """batch/v1 JobTemplateSpec."""

    spec: WorkloadSpec = WorkloadSpec()


class CronJobSpec(Lenient, frozen=True):
    """batch/v1 CronJobSpec."""

    job_template: JobTemplateSpec = JobTemplateSpec()


class CronJob(Object, frozen=True):
    """batch/v1 CronJob."""

    spec: CronJobSpec = CronJobSpec()

    @property
    def template(self) -> PodTemplateSpec:
        """The template of the pods of its jobs."""
        return self.spec.job_template.spec.template

    @property
    def replicas(self) -> int:
        """One pod a job."""
        return 1
