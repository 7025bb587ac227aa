"""What Jobs decide: what counts, what runs next, when they are over; and what CronJobs keep."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewright.lab.controllers import cronjobs
from gatewright.lab.controllers import job_decisions as jobs

Tree = dict[str, Any]


def job(status: Tree | None = None, **spec: Any) -> Tree:
    template = {"spec": {"restartPolicy": spec.pop("restart", "Never")}}
    return {"spec": {"template": template, "parallelism": 1, **spec}, "status": status or {}}


def pod(uid: str, phase: str = "Running", index: int | None = None, *, ended: int = 0, leaving: bool = False) -> Tree:
    annotations = {} if index is None else {jobs.INDEX: str(index)}
    conditions = [{"type": "Ready", "status": "False", "lastTransitionTime": f"1970-01-01T00:00:{ended:02}Z"}]
    metadata: Tree = {"name": uid, "uid": uid, "annotations": annotations}
    if leaving:
        metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    return {"metadata": metadata, "status": {"phase": phase, "conditions": conditions}}


def test_each_end_is_counted_once_also_when_the_count_was_cut_short() -> None:
    owner = job(completions=3)
    ends = [pod("1", "Succeeded"), pod("2", "Failed"), pod("3", leaving=True)]
    status = jobs.counted(owner, ends)
    assert (status["succeeded"], status["failed"]) == (1, 2)
    assert status["uncountedTerminatedPods"] == {"succeeded": ["1"], "failed": ["2", "3"]}
    cut_short = {**owner, "status": status}
    assert jobs.counted(cut_short, ends) == status
    more = jobs.counted(cut_short, [*ends, pod("4", "Succeeded")])
    assert more["succeeded"] == 2
    assert "uncountedTerminatedPods" not in jobs.settled({**owner, "status": more})


def test_of_an_index_only_the_first_success_counts() -> None:
    owner = job({"completedIndexes": "0,3-4", "succeeded": 3}, completions=6, completionMode="Indexed")
    status = jobs.counted(owner, [pod("1", "Succeeded", 1), pod("2", "Succeeded", 3), pod("3", "Succeeded", 9)])
    assert (status["succeeded"], status["completedIndexes"]) == (4, "0-1,3-4")


@given(st.sets(st.integers(0, 200)))
def test_indexes_are_read_as_they_are_written(numbers: set[int]) -> None:
    assert jobs.indexes_from(jobs.indexes_text(numbers)) == numbers


@pytest.mark.parametrize(
    ("spec", "status", "running", "wanted"),
    [
        ({"completions": 5, "parallelism": 2}, {}, 0, 2),
        ({"completions": 5, "parallelism": 2}, {"succeeded": 4}, 0, 1),
        ({"completions": 5, "parallelism": 2}, {"succeeded": 5}, 0, 0),
        ({"completions": 1, "parallelism": 0}, {}, 0, 0),
        ({"completions": 5, "parallelism": 9, "suspend": True}, {}, 3, 0),
        ({"parallelism": 3}, {}, 1, 3),
        ({"parallelism": 3}, {"succeeded": 1}, 2, 2),
    ],
)
def test_how_many_pods_are_to_run(spec: Tree, status: Tree, running: int, wanted: int) -> None:
    assert jobs.wanted_now(job(status, **spec), [pod(str(number)) for number in range(running)]) == wanted


def test_the_lowest_free_indexes_are_next() -> None:
    owner = job({"completedIndexes": "0-1"}, completions=6, completionMode="Indexed")
    assert jobs.indexes_to_make(owner, [pod("1", index=3)], 2) == [2, 4]
    assert jobs.indexes_to_make(owner, [], 9) == [2, 3, 4, 5]
    assert jobs.indexes_to_make(job(completions=3), [], 2) == [None, None]


@pytest.mark.parametrize(
    ("spec", "status", "pods", "reason"),
    [
        ({"completions": 2}, {"succeeded": 1}, [], None),
        ({"completions": 2}, {"succeeded": 2}, [], "CompletionsReached"),
        ({}, {"succeeded": 1}, [pod("1")], None),
        ({}, {"succeeded": 1}, [pod("1", "Succeeded")], "CompletionsReached"),
        ({"completions": 1, "backoffLimit": 2}, {"failed": 2}, [], None),
        ({"completions": 1, "backoffLimit": 2}, {"failed": 3}, [], "BackoffLimitExceeded"),
        ({"completions": 1, "activeDeadlineSeconds": 60}, {"startTime": "1970-01-01T00:01:00Z"}, [], None),
        (
            {"completions": 1, "activeDeadlineSeconds": 30},
            {"startTime": "1970-01-01T00:01:00Z"},
            [],
            "DeadlineExceeded",
        ),
    ],
)
def test_when_a_job_is_over(spec: Tree, status: Tree, pods: list[Tree], reason: str | None) -> None:
    found = jobs.outcome(job(status, **spec), pods, 100.0)
    assert (found and found[1]) == reason


def test_restarts_count_as_failures_where_containers_are_restarted() -> None:
    running = pod("1")
    running["status"]["containerStatuses"] = [{"restartCount": 3}]
    found = jobs.outcome(job(completions=1, backoffLimit=2, restart="OnFailure"), [running], 0.0)
    assert found
    assert found[1] == "BackoffLimitExceeded"
    assert jobs.outcome(job(completions=1, backoffLimit=2), [running], 0.0) is None


def test_the_wait_after_failures_doubles_and_a_success_ends_it() -> None:
    first, second = pod("1", "Failed", ended=10), pod("2", "Failed", ended=30)
    assert jobs.retry_in([first], 12.0) == 8.0
    assert jobs.retry_in([first, second], 32.0) == 18.0
    assert jobs.retry_in([first], 20.0) is None
    assert jobs.retry_in([first, second, pod("3", "Succeeded", ended=31)], 32.0) is None
    assert jobs.retry_in([], 0.0) is None


def finished(name: str, kind: str, at: int) -> Tree:
    condition = {"type": kind, "status": "True", "lastTransitionTime": f"2026-01-01T00:00:{at:02}Z"}
    times = {"completionTime": condition["lastTransitionTime"]} if kind == "Complete" else {}
    about = {"name": name, "namespace": "default", "uid": name, "resourceVersion": "1"}
    return {"metadata": about, "status": {"conditions": [condition], **times}}


def test_history_keeps_the_newest_of_each_kind() -> None:
    owner = {"spec": {"successfulJobsHistoryLimit": 2, "failedJobsHistoryLimit": 0}}
    found = [finished("c", "Complete", 3), finished("a", "Complete", 1), finished("b", "Complete", 2)]
    gone = cronjobs.surplus(owner, [*found, finished("f", "Failed", 5)])
    assert [one["metadata"]["name"] for one in gone] == ["a", "f"]


def test_a_job_is_named_after_its_time() -> None:
    owner = {
        "metadata": {"name": "tidy", "uid": "u"},
        "spec": {"timeZone": "Europe/Berlin", "jobTemplate": {"metadata": {"labels": {"a": "b"}}, "spec": {}}},
    }
    made = cronjobs.job_of(owner, 1_767_225_600.0)
    assert made["metadata"]["name"] == "tidy-29453760"
    assert made["metadata"]["labels"] == {"a": "b"}
    stamp = made["metadata"]["annotations"]["batch.kubernetes.io/cronjob-scheduled-timestamp"]
    assert stamp == "2026-01-01T01:00:00+01:00"


def test_what_a_cron_job_tells_keeps_references_and_the_last_success() -> None:
    running = {"metadata": {"name": "r", "namespace": "default", "uid": "r", "resourceVersion": "9"}, "status": {}}
    owner: Tree = {"status": {"lastSuccessfulTime": "2026-01-01T00:00:09Z"}}
    status = cronjobs.status_from(owner, [finished("a", "Complete", 1)], [running], 60.0)
    assert status["lastSuccessfulTime"] == "2026-01-01T00:00:09Z"
    assert status["lastScheduleTime"] == "1970-01-01T00:01:00Z"
    again = {**running, "metadata": {**running["metadata"], "resourceVersion": "10"}}
    assert cronjobs.status_from({"status": status}, [], [again], 60.0)["active"] == status["active"]
