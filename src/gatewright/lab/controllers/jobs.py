"""The Job controller: pods until enough have succeeded, each end counted exactly once.

A pod of a Job keeps a finalizer until its end is in the Job's status. First the status counts the ends and names them
as not yet settled, then the finalizers go, then the names: a crash between any two steps neither loses an end nor
counts it twice (KEP-2307).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gatewright.lab.api.resources import BY_PLURAL, Tree
from gatewright.lab.apiclient.working import Cluster
from gatewright.lab.controllers.job_decisions import (
    FINALIZER,
    INDEX,
    counted,
    ended,
    indexes_to_make,
    outcome,
    retry_in,
    settled,
    wanted_now,
)
from gatewright.lab.controllers.objects import (
    Key,
    active,
    controller_of,
    created,
    deleting,
    is_true,
    key_of,
    labels_of,
    ready,
    seconds_of,
    soonest,
    stamp,
    status_of,
    uid_of,
    with_condition,
)
from gatewright.lab.controllers.owning import BATCH, PODS, Owning, pod_of, tolerating, without_zeros

JOBS = BY_PLURAL["batch", "jobs"]
_IGNORED = {"backoffLimitPerIndex", "maxFailedIndexes", "podFailurePolicy", "successPolicy"}
"""Fields of a Job that change what counts as its end, and that are told of instead of followed."""


class Jobs(Owning):
    """Runs pods to their end."""

    name = "job-controller"
    resource = JOBS
    resources = (JOBS, PODS)

    def reconcile(self, cluster: Cluster, key: Key) -> float | None:
        """As every owner; the pods of a Job that is gone are let go."""
        if cluster.follower.get(JOBS, *key) is None:
            self._settle(cluster, (one for one in cluster.follower.all(PODS, key[0]) if _was_of(one, key[1])))
            return None
        return super().reconcile(cluster, key)

    def make_so(self, cluster: Cluster, owner: Tree) -> float | None:
        """Count what has ended, then end the Job or make and delete pods."""
        if done := is_done(owner):
            return self._after(cluster, owner, done)
        if deleting(owner):
            self._settle(cluster, [one for one in self.claimed(cluster, owner) if ended(one)])
            return None
        pods = self.claimed(cluster, owner)
        owner = self._started(cluster, owner)
        owner, pods = self._count(cluster, owner, pods)
        now = cluster.now()
        if verdict := outcome(owner, pods, now):
            return self._end(cluster, owner, pods, *verdict)
        running = [one for one in pods if active(one)]
        wait = self._resize(cluster, owner, pods, running)
        return soonest((wait, self._tell(cluster, owner, running), self._deadline(owner, now)))

    # Counting ends.

    def _started(self, cluster: Cluster, owner: Tree) -> Tree:
        """The Job with a start time that fits whether it is suspended."""
        status, suspended = status_of(owner), bool(owner["spec"].get("suspend"))
        conditions = status.get("conditions") or []
        now = stamp(cluster.now())
        if suspended != is_true(owner, "Suspended"):
            about = ("True", "JobSuspended", "Job suspended") if suspended else ("False", "JobResumed", "Job resumed")
            new = dict(zip(("type", "status", "reason", "message"), ("Suspended", *about), strict=True))
            conditions = with_condition(conditions, {**new, "lastProbeTime": now}, now)
            cluster.event(owner, "Normal", about[1].removeprefix("Job"), about[2])
        begun = None if suspended else status.get("startTime") or now
        if ignored := sorted(owner["spec"].keys() & _IGNORED) if begun and not status.get("startTime") else []:
            cluster.event(owner, "Warning", "NotSupported", f"The lab does not follow spec.{', spec.'.join(ignored)}")
        changed = without_zeros({**status, "conditions": conditions, "startTime": begun})
        return self._write(cluster, owner, changed)

    def _count(self, cluster: Cluster, owner: Tree, pods: list[Tree]) -> tuple[Tree, list[Tree]]:
        """(the Job with the ends counted and settled, the pods that are still to be looked at)."""
        finished = [one for one in pods if ended(one) and FINALIZER in (one["metadata"].get("finalizers") or ())]
        if not finished and not status_of(owner).get("uncountedTerminatedPods"):
            return owner, pods
        owner = self._write(cluster, owner, counted(owner, finished))
        self._settle(cluster, finished)
        left = [one for one in pods if not (ended(one) and deleting(one))]
        return self._write(cluster, owner, settled(owner)), left

    def _settle(self, cluster: Cluster, pods: Iterable[Tree]) -> None:
        for pod in pods:
            finalizers = pod["metadata"].get("finalizers") or ()
            if FINALIZER not in finalizers:
                continue
            left = [one for one in finalizers if one != FINALIZER]
            patch = {"metadata": {"uid": uid_of(pod), "finalizers": left or None}}
            with tolerating("NotFound", "Conflict"):
                cluster.writer.patch(PODS, *key_of(pod), patch)

    def _write(self, cluster: Cluster, owner: Tree, status: Tree) -> Tree:
        if status == status_of(owner):
            return owner
        return cluster.writer.update(JOBS, {**owner, "status": status}, "status")

    # Pods.

    def _resize(self, cluster: Cluster, owner: Tree, pods: Sequence[Tree], running: list[Tree]) -> float | None:
        wanted = wanted_now(owner, running)
        if len(running) > wanted:
            surplus = sorted(running, key=lambda one: (ready(one), -created(one)))[: len(running) - wanted]
            self._stop(cluster, surplus)
            running[:] = [one for one in running if one not in surplus]
            return None
        missing = wanted - len(running)
        if not missing:
            return None
        if (wait := retry_in(pods, cluster.now())) is not None:
            return wait
        indexes = indexes_to_make(owner, running, min(missing, BATCH))
        running.extend(self._make(cluster, owner, index) for index in indexes)
        return 0.0 if len(indexes) < missing and len(indexes) == BATCH else None

    def _make(self, cluster: Cluster, owner: Tree, index: int | None) -> Tree:
        template, name = owner["spec"]["template"], owner["metadata"]["name"]
        if index is None:
            return self.make_child(
                cluster, owner, pod_of(JOBS, owner, template, generateName=f"{name}-", finalizers=[FINALIZER])
            )
        text = str(index)
        spec = {**template["spec"], "hostname": f"{name}-{text}"}
        for field in ("containers", "initContainers"):
            if spec.get(field):
                spec[field] = [_with_index(one) for one in spec[field]]
        about = {"labels": {INDEX: text}, "annotations": {INDEX: text}, "finalizers": [FINALIZER]}
        tree = pod_of(JOBS, owner, {**template, "spec": spec}, generateName=f"{name}-{text}-", **about)
        return self.make_child(cluster, owner, tree)

    def _stop(self, cluster: Cluster, pods: Iterable[Tree]) -> None:
        """Delete pods that do not count; their finalizer goes, so that nothing holds them."""
        for pod in pods:
            self._settle(cluster, [pod])
            self.remove_child(cluster, pod)

    # Telling.

    def _tell(self, cluster: Cluster, owner: Tree, running: Sequence[Tree]) -> float | None:
        counts = {"active": len(running), "ready": sum(map(ready, running))}
        return self.report(cluster, owner, without_zeros({**status_of(owner), **counts}, "ready"))

    def _end(
        self, cluster: Cluster, owner: Tree, pods: Sequence[Tree], kind: str, reason: str, message: str
    ) -> float | None:
        """The Job is over: what runs still is stopped, then its condition says how it ended."""
        self._stop(cluster, [one for one in pods if active(one)])
        now = stamp(cluster.now())
        status = without_zeros({**status_of(owner), "active": 0, "ready": 0}, "ready")
        conditions = list(status.get("conditions") or ())
        before = "SuccessCriteriaMet" if kind == "Complete" else "FailureTarget"
        for one in (before, kind):
            new = {"type": one, "status": "True", "reason": reason, "message": message, "lastProbeTime": now}
            conditions = with_condition(conditions, new, now)
        status["conditions"] = conditions
        if kind == "Complete":
            status["completionTime"] = now
        owner = self._write(cluster, owner, status)
        word = "Completed" if kind == "Complete" else reason
        cluster.event(owner, "Normal" if kind == "Complete" else "Warning", word, message or "Job completed")
        return self._after(cluster, owner, kind)

    def _after(self, cluster: Cluster, owner: Tree, _: str) -> float | None:
        """What is left to do for a Job that is over: settle its pods, and delete it when its time has come."""
        pods = self.claimed(cluster, owner)
        self._settle(cluster, [one for one in pods if ended(one) or deleting(one)])
        self._stop(cluster, [one for one in pods if active(one)])
        ttl = owner["spec"].get("ttlSecondsAfterFinished")
        if ttl is None or deleting(owner):
            return None
        left = finished_at(owner) + ttl - cluster.now()
        if left > 0:
            return float(left)
        with tolerating("NotFound", "Conflict"):
            cluster.writer.delete(JOBS, *key_of(owner), uid=uid_of(owner), propagation="Foreground")
        return None

    def _deadline(self, owner: Tree, now: float) -> float | None:
        limit, begun = owner["spec"].get("activeDeadlineSeconds"), seconds_of(status_of(owner).get("startTime"))
        return None if limit is None or begun is None else max(0.0, begun + limit - now) + 0.01


def is_done(owner: Tree) -> str:
    """`Complete` or `Failed`, where a Job is over."""
    return next((kind for kind in ("Complete", "Failed") if is_true(owner, kind)), "")


def finished_at(owner: Tree) -> float:
    """When a Job that is over came to its end."""
    for one in status_of(owner).get("conditions") or ():
        if one.get("type") in ("Complete", "Failed") and one.get("status") == "True":
            return seconds_of(one.get("lastTransitionTime")) or 0.0
    return 0.0


def _was_of(pod: Tree, job: str) -> bool:
    """Whether a pod was made for a Job of this name, also where it was orphaned since."""
    owner = controller_of(pod)
    if owner is not None:
        return bool(owner.get("kind") == JOBS.kind and owner["name"] == job)
    return labels_of(pod).get("batch.kubernetes.io/job-name") == job


def _with_index(container: Tree) -> Tree:
    """A container that finds its index in JOB_COMPLETION_INDEX."""
    environment = container.get("env") or []
    if any(one.get("name") == "JOB_COMPLETION_INDEX" for one in environment):
        return container
    path = f"metadata.labels['{INDEX}']"
    return {
        **container,
        "env": [*environment, {"name": "JOB_COMPLETION_INDEX", "valueFrom": {"fieldRef": {"fieldPath": path}}}],
    }
