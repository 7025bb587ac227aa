"""The CronJob controller: a Job each time the schedule says so, named after that time, so that none is made twice."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from gatewright.lab.api.resources import BY_PLURAL, Tree
from gatewright.lab.apiclient.working import Cluster
from gatewright.lab.apiclient.writing import Refused
from gatewright.lab.controllers import cron
from gatewright.lab.controllers.jobs import JOBS, finished_at, is_done
from gatewright.lab.controllers.objects import (
    created,
    deleting,
    key_of,
    reference_to,
    seconds_of,
    soonest,
    stamp,
    status_of,
    uid_of,
)
from gatewright.lab.controllers.owning import Owning, tolerating, without_zeros

CRON_JOBS = BY_PLURAL["batch", "cronjobs"]
_TIME = "batch.kubernetes.io/cronjob-scheduled-timestamp"


class CronJobs(Owning):
    """Makes Jobs by the clock."""

    name = "cronjob-controller"
    resource = CRON_JOBS
    child = JOBS
    resources = (CRON_JOBS, JOBS)

    def make_so(self, cluster: Cluster, owner: Tree) -> float | None:
        """Tidy up, then make the Job that is due; seconds until the next one is."""
        if deleting(owner):
            return None
        jobs = self.claimed(cluster, owner)
        self._tidy(cluster, owner, jobs)
        running = [one for one in jobs if not is_done(one) and not deleting(one)]
        due, wait = self._due(cluster, owner)
        last = seconds_of(status_of(owner).get("lastScheduleTime"))
        if due is not None:
            running, last = self._start(cluster, owner, running, due, last)
        return soonest((self.report(cluster, owner, status_from(owner, jobs, running, last)), wait))

    def _tidy(self, cluster: Cluster, owner: Tree, jobs: Sequence[Tree]) -> None:
        for one in surplus(owner, jobs):
            self._remove(cluster, one)

    def _remove(self, cluster: Cluster, job: Tree) -> None:
        with tolerating("NotFound", "Conflict"):
            cluster.writer.delete(JOBS, *key_of(job), uid=uid_of(job), propagation="Background")

    def _due(self, cluster: Cluster, owner: Tree) -> tuple[float | None, float | None]:
        """(the time that is due, seconds until the next time)."""
        spec, now = owner["spec"], cluster.now()
        if spec.get("suspend"):
            return None, None
        try:
            schedule, zone = cron.parse(spec["schedule"]), zone_of(spec.get("timeZone"))
        except cron.BadSchedule as error:
            cluster.event(
                owner, "Warning", "UnparseableSchedule", f"unparseable schedule {spec['schedule']!r}: {error}"
            )
            return None, None
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            cluster.event(owner, "Warning", "UnknownTimeZone", f"invalid timeZone {spec.get('timeZone')!r}: {error}")
            return None, None
        following = schedule.next(now, zone)
        wait = None if following is None else following - now + 0.02
        begin = seconds_of(status_of(owner).get("lastScheduleTime")) or created(owner)
        due = schedule.latest(begin, now, zone)
        patience = spec.get("startingDeadlineSeconds")
        if due is not None and patience is not None and due + patience < now:
            return None, wait
        return due, wait

    def _start(
        self, cluster: Cluster, owner: Tree, running: list[Tree], due: float, last: float | None
    ) -> tuple[list[Tree], float | None]:
        """(what runs, the last time that a Job was made for) after the Job of a time was made, if it may be."""
        policy = owner["spec"].get("concurrencyPolicy", "Allow")
        if policy == "Forbid" and running:
            said = "Not starting job because prior execution is running and concurrency policy is Forbid"
            cluster.event(owner, "Normal", "JobAlreadyActive", said)
            return running, last
        if policy == "Replace":
            for one in running:
                self._remove(cluster, one)
            running = []
        try:
            made = self.make_child(cluster, owner, job_of(owner, due))
        except Refused as refused:
            if refused.reason != "AlreadyExists":
                raise
            return running, due
        cluster.event(owner, "Normal", "SuccessfulCreate", f"Created job {made['metadata']['name']}")
        return [*running, made], due


def zone_of(name: str | None) -> tzinfo:
    """The time zone of a schedule. Raises ZoneInfoNotFoundError, ValueError or, for a folder of zones, OSError."""
    return ZoneInfo(name) if name else cron.DEFAULT_ZONE


def job_of(owner: Tree, due: float) -> Tree:
    """The Job of a time."""
    template = owner["spec"]["jobTemplate"]
    own = template.get("metadata") or {}
    moment = datetime.fromtimestamp(due, zone_of(owner["spec"].get("timeZone")))
    return {
        "metadata": {
            "name": f"{owner['metadata']['name']}-{int(due) // 60}",
            "labels": own.get("labels") or {},
            "annotations": {**(own.get("annotations") or {}), _TIME: moment.isoformat().replace("+00:00", "Z")},
            "ownerReferences": [reference_to(CRON_JOBS, owner)],
        },
        "spec": template["spec"],
    }


def surplus(owner: Tree, jobs: Sequence[Tree]) -> list[Tree]:
    """Jobs that are over and beyond the limits of the history, the oldest of each kind."""
    limits = {"Complete": ("successfulJobsHistoryLimit", 3), "Failed": ("failedJobsHistoryLimit", 1)}
    found = []
    for kind, (field, otherwise) in limits.items():
        over = sorted((one for one in jobs if is_done(one) == kind and not deleting(one)), key=finished_at)
        found += over[: max(0, len(over) - owner["spec"].get(field, otherwise))]
    return found


def status_from(owner: Tree, jobs: Sequence[Tree], running: Sequence[Tree], last: float | None) -> Tree:
    """What is told of a CronJob: the Jobs that run, the last time of a Job, the last success."""
    ends = [seconds_of(status_of(one).get("completionTime")) for one in jobs if is_done(one) == "Complete"]
    before = seconds_of(status_of(owner).get("lastSuccessfulTime"))
    success = max((one for one in (*ends, before) if one is not None), default=None)
    active = [
        {
            "apiVersion": JOBS.api_version,
            "kind": JOBS.kind,
            "name": one["metadata"]["name"],
            "namespace": one["metadata"]["namespace"],
            "resourceVersion": one["metadata"]["resourceVersion"],
            "uid": uid_of(one),
        }
        for one in sorted(running, key=created)
    ]
    known = {one["uid"]: one for one in status_of(owner).get("active") or ()}
    return without_zeros(
        {
            "active": [known.get(one["uid"], one) for one in active],
            "lastScheduleTime": None if last is None else stamp(last),
            "lastSuccessfulTime": None if success is None else stamp(success),
        }
    )
