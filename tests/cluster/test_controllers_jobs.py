"""Jobs and CronJobs of the lab: completions, indexes, limits, deadlines, time to live, schedules."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from gatewright.lab.apiclient.writing import Refused
from tests.cluster.fake_kubelets import PODS, Tree, within
from tests.cluster.lab_controllers import CRON_JOBS, JOBS, Lab, job, lab

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with lab(tmp_path_factory.mktemp("lab")) as found:
        yield found


def ends(cluster: Lab, name: str, kind: str = "complete") -> Tree:
    cluster.kubectl("wait", f"job/{name}", f"--for=condition={kind}", "--timeout=20s")
    return cluster.get(JOBS, name)


def of(cluster: Lab, name: str) -> list[Tree]:
    return cluster.pods(f"batch.kubernetes.io/job-name={name}")


def reason(tree: Tree, kind: str) -> Any:
    return next(one["reason"] for one in tree["status"]["conditions"] if one["type"] == kind)


def test_a_job_runs_until_enough_pods_have_succeeded(cluster: Lab) -> None:
    cluster.apply(job("many", completions=7, parallelism=3))
    done = ends(cluster, "many")
    assert done["status"]["succeeded"] == 7
    assert "uncountedTerminatedPods" not in done["status"]
    assert done["status"]["completionTime"]
    pods = of(cluster, "many")
    assert len(pods) == 7
    assert not any(one["metadata"].get("finalizers") for one in pods)


def test_every_index_succeeds_once_and_pods_know_theirs(cluster: Lab) -> None:
    cluster.apply(job("indexed", completions=5, parallelism=2, completionMode="Indexed"))
    done = ends(cluster, "indexed")
    assert (done["status"]["succeeded"], done["status"]["completedIndexes"]) == (5, "0-4")
    pods = of(cluster, "indexed")
    label = "batch.kubernetes.io/job-completion-index"
    assert sorted(one["metadata"]["labels"][label] for one in pods) == ["0", "1", "2", "3", "4"]
    first = min(pods, key=lambda one: str(one["metadata"]["name"]))
    assert first["spec"]["hostname"] == "indexed-0"
    assert [one["name"] for one in first["spec"]["containers"][0]["env"]] == ["JOB_COMPLETION_INDEX"]


def test_a_job_fails_at_its_backoff_limit(cluster: Lab) -> None:
    cluster.apply(job("fails", "ends:1", backoffLimit=0))
    failed = ends(cluster, "fails", "failed")
    assert reason(failed, "Failed") == "BackoffLimitExceeded"
    assert failed["status"]["failed"] == 1
    assert len(of(cluster, "fails")) == 1


def test_a_failed_pod_is_made_again_only_after_a_while(cluster: Lab) -> None:
    cluster.apply(job("retries", "ends:1", backoffLimit=3))
    within(10, lambda: cluster.get(JOBS, "retries")["status"].get("failed") == 1)
    time.sleep(1)
    assert len(of(cluster, "retries")) == 1


def test_a_job_that_is_too_long_at_work_is_stopped(cluster: Lab) -> None:
    cluster.apply(job("late", "runs:1", activeDeadlineSeconds=1))
    failed = ends(cluster, "late", "failed")
    assert reason(failed, "Failed") == "DeadlineExceeded"
    within(10, lambda: not of(cluster, "late"))


def test_a_suspended_job_has_no_pods_until_it_is_resumed(cluster: Lab) -> None:
    cluster.apply(job("held", "runs:1", suspend=True, parallelism=2, completions=2))
    within(10, lambda: cluster.get(JOBS, "held")["status"].get("conditions"))
    assert reason(cluster.get(JOBS, "held"), "Suspended") == "JobSuspended"
    assert not of(cluster, "held")
    cluster.kubectl("patch", "job", "held", "--type=merge", "-p", '{"spec":{"suspend":false}}')
    within(10, lambda: cluster.get(JOBS, "held")["status"].get("ready") == 2)
    assert cluster.get(JOBS, "held")["status"]["startTime"]
    cluster.kubectl("patch", "job", "held", "--type=merge", "-p", '{"spec":{"suspend":true}}')
    within(10, lambda: not of(cluster, "held"))
    assert "failed" not in cluster.get(JOBS, "held")["status"]


def test_a_job_whose_time_to_live_is_over_goes_with_its_pods(cluster: Lab) -> None:
    cluster.apply(job("brief", ttlSecondsAfterFinished=1))
    within(10, lambda: gone(cluster, "brief"))
    within(10, lambda: not of(cluster, "brief"))


def gone(cluster: Lab, name: str) -> bool:
    try:
        cluster.get(JOBS, name)
    except Refused as refused:
        return refused.reason == "NotFound"
    return False


def test_a_pod_that_is_deleted_counts_as_failed_and_is_replaced(cluster: Lab) -> None:
    cluster.apply(job("robbed", "runs:1"))
    within(10, lambda: cluster.get(JOBS, "robbed")["status"].get("ready") == 1)
    [pod] = of(cluster, "robbed")
    cluster.writer.delete(PODS, "default", pod["metadata"]["name"])
    within(10, lambda: cluster.get(JOBS, "robbed")["status"].get("failed") == 1)
    within(10, lambda: [one["metadata"]["uid"] for one in of(cluster, "robbed")] not in ([], [pod["metadata"]["uid"]]))


@pytest.mark.parametrize("how", ["background", "foreground"])
def test_pods_of_a_job_that_runs_go_with_it(cluster: Lab, how: str) -> None:
    cluster.apply(job(f"ended-{how}", "runs:1", parallelism=2, completions=2))
    within(10, lambda: cluster.get(JOBS, f"ended-{how}")["status"].get("ready") == 2)
    cluster.kubectl("delete", "job", f"ended-{how}", f"--cascade={how}", "--timeout=20s")
    within(10, lambda: not of(cluster, f"ended-{how}"))


def cron_job(name: str, schedule: str, image: str = "ends:0", **spec: Any) -> Tree:
    about = {"name": name}
    template = {"spec": job(name, image)["spec"]}
    given = {"schedule": schedule, "jobTemplate": template, **spec}
    return {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": about, "spec": given}


def jobs_of(cluster: Lab, name: str) -> list[Tree]:
    return [
        one
        for one in cluster.writer.list(JOBS, "default")
        if (one["metadata"].get("ownerReferences") or [{}])[0].get("name") == name
    ]


def test_a_cron_job_makes_jobs_and_forgets_old_ones(cluster: Lab) -> None:
    cluster.apply(cron_job("often", "@every 1s", successfulJobsHistoryLimit=1))
    within(15, lambda: cluster.get(CRON_JOBS, "often")["status"].get("lastSuccessfulTime"))
    within(15, lambda: len(jobs_of(cluster, "often")) >= 1)
    status = cluster.get(CRON_JOBS, "often")["status"]
    assert status["lastScheduleTime"]
    [made, *_] = jobs_of(cluster, "often")
    assert made["metadata"]["annotations"]["batch.kubernetes.io/cronjob-scheduled-timestamp"].endswith("Z")
    cluster.kubectl("patch", "cronjob", "often", "--type=merge", "-p", '{"spec":{"suspend":true}}')
    within(10, lambda: len(jobs_of(cluster, "often")) == 1)


def test_a_cron_job_that_is_suspended_makes_nothing(cluster: Lab) -> None:
    cluster.apply(cron_job("never", "@every 1s", suspend=True))
    time.sleep(2)
    assert not jobs_of(cluster, "never")


def with_one_running(cluster: Lab, name: str, policy: str) -> None:
    """A CronJob whose last Job still runs when the next one is due."""
    cluster.apply(cron_job(name, "@every 1s", "runs:1", concurrencyPolicy=policy, suspend=True))
    owner = {"apiVersion": "batch/v1", "kind": "CronJob", "name": name, "controller": True}
    before = job(f"{name}-before", "runs:1")
    before["metadata"]["ownerReferences"] = [{**owner, "uid": cluster.get(CRON_JOBS, name)["metadata"]["uid"]}]
    cluster.apply(before)
    within(10, lambda: cluster.get(CRON_JOBS, name)["status"].get("active"))
    cluster.kubectl("patch", "cronjob", name, "--type=merge", "-p", '{"spec":{"suspend":false}}')


def test_jobs_do_not_overlap_where_that_is_forbidden(cluster: Lab) -> None:
    with_one_running(cluster, "single", "Forbid")
    within(10, lambda: "JobAlreadyActive" in cluster.kubectl("events", "--for=cronjob/single"))
    assert [one["metadata"]["name"] for one in jobs_of(cluster, "single")] == ["single-before"]
    assert len(cluster.get(CRON_JOBS, "single")["status"]["active"]) == 1


def test_a_job_that_still_runs_gives_way_where_it_is_to_be_replaced(cluster: Lab) -> None:
    with_one_running(cluster, "fresh", "Replace")
    within(10, lambda: jobs_of(cluster, "fresh") and gone(cluster, "fresh-before"))
    within(10, lambda: not of(cluster, "fresh-before"))


def test_jobs_run_beside_each_other_where_that_is_allowed(cluster: Lab) -> None:
    with_one_running(cluster, "both", "Allow")
    within(10, lambda: len(cluster.get(CRON_JOBS, "both")["status"].get("active") or ()) == 2)


def test_a_schedule_or_zone_that_cannot_be_read_is_told_in_an_event(cluster: Lab) -> None:
    cluster.apply(cron_job("wrong", "61 * * * *"), cron_job("nowhere", "* * * * *", timeZone="Mars/Base"))
    within(10, lambda: "UnparseableSchedule" in cluster.kubectl("events", "--for=cronjob/wrong"))
    within(10, lambda: "UnknownTimeZone" in cluster.kubectl("events", "--for=cronjob/nowhere"))
