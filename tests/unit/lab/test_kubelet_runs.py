"""What is known of containers after their starts and ends, in whatever order they are heard of."""

from __future__ import annotations

import pytest

from gatewright.lab.kubelet.machine import Run
from gatewright.lab.kubelet.podspec import PodSpec, read_pod
from gatewright.lab.kubelet.runs import CONFIGURATION, Runs
from gatewright.lab.runtime.model import ContainerState

NOW = 1000.0


def up(name: str = "c", number: int = 0, started: float = 100.0) -> ContainerState:
    return ContainerState(name, number, "running", "command", started)


def down(name: str = "c", number: int = 0, code: int = 1, started: float = 100.0, took: float = 1.0) -> ContainerState:
    return ContainerState(name, number, "exited", "command", started, code=code, finished=started + took)


def pod(policy: str) -> PodSpec:
    spec = {"containers": [{"name": "c"}, {"name": "d"}], "initContainers": [{"name": "i"}], "restartPolicy": policy}
    return read_pod({"metadata": {"uid": "u", "name": "p", "namespace": "n"}, "spec": spec})


def test_runs_are_counted() -> None:
    runs = Runs()
    assert runs.following("c") == 0
    runs.begun(up(), NOW)
    assert (runs.following("c"), runs.is_running("c")) == (1, True)
    runs.ended(down(), NOW)
    assert (runs.is_running("c"), runs.newest["c"].code) == (False, 1)
    runs.begun(up(number=1), NOW)
    assert runs.last["c"].code == 1


def test_the_wait_grows_with_each_end_and_begins_anew_after_a_long_run() -> None:
    runs, waits = Runs(), []
    for number, took in enumerate((1, 1, 1, 100, 1)):
        runs.begun(up(number=number), NOW)
        runs.ended(down(number=number, took=took), NOW)
        waits.append(runs.due["c"] - NOW)
    assert waits == [1, 2, 4, 1, 2]


def test_an_end_may_be_heard_of_before_the_start() -> None:
    runs = Runs()
    assert runs.ended(down(code=7), NOW) is None
    assert runs.begun(up(), NOW).code == 7
    assert not runs.is_running("c")


def test_the_end_of_a_later_run_may_be_heard_of_before_its_start() -> None:
    runs = Runs()
    runs.begun(up(), NOW)
    runs.ended(down(), NOW)
    assert runs.ended(down(number=1, code=7), NOW) is None
    assert runs.begun(up(number=1), NOW).code == 7


def test_the_end_of_an_older_run_is_no_news() -> None:
    runs = Runs()
    runs.begun(up(number=1), NOW)
    assert runs.ended(down(number=0), NOW) is None
    assert runs.is_running("c")


def test_an_end_is_told_once() -> None:
    runs = Runs()
    runs.begun(up(), NOW)
    assert runs.ended(down(), NOW)
    assert runs.ended(down(), NOW) is None


def test_a_run_that_ends_at_once_waits_before_the_next() -> None:
    runs = Runs()
    assert not runs.begun(down(), NOW).running
    assert runs.due["c"] == NOW + 1


def test_what_waits_for_a_reference_is_tried_when_one_changes() -> None:
    runs = Runs()
    runs.hold("c", CONFIGURATION, "why", NOW + 5)
    runs.hold("d", "CreateContainerError", "why", NOW + 5)
    runs.references_changed()
    assert set(runs.due) == {"d"}
    runs.begun(up(), NOW)
    assert set(runs.waiting) == {"d"}


def test_a_lost_sandbox_ends_what_ran_in_it() -> None:
    runs = Runs()
    runs.begun(up("c"), NOW)
    runs.begun(down("d", code=0), NOW)
    assert runs.lose(123.0) == ["c"]
    assert (runs.newest["c"].code, runs.newest["c"].finished, runs.newest["d"].code) == (137, 123.0, 0)


@pytest.mark.parametrize(("policy", "kept"), [("Always", set()), ("OnFailure", {"d"}), ("Never", {"c", "d"})])
def test_in_a_new_sandbox_only_what_is_done_stays_done(policy: str, kept: set[str]) -> None:
    runs = Runs()
    for state in (down("i", code=0), up("c"), down("d", code=0)):
        runs.begun(state, NOW)
    runs.lose(123.0)
    runs.begin_anew(pod(policy))
    assert set(runs.newest) == runs.done == kept
    assert runs.following("i") == 1


def test_a_new_kubelet_takes_over_runs_and_waits() -> None:
    runs = Runs()
    last = {"exitCode": 3, "startedAt": "2023-11-14T22:13:20Z", "finishedAt": "2023-11-14T22:13:21Z"}
    known = {"c": {"restartCount": 2, "lastState": {"terminated": last}}}
    runs.adopt([up("c", 2), down("d", 3)], known, NOW)
    assert runs.last["c"] == Run(1, False, 1_700_000_000, 1_700_000_001, 3, "command")
    assert runs.due == {"d": NOW + 8}
    assert runs.following("d") == 4


def test_what_the_api_knows_of_another_run_is_not_taken_over() -> None:
    runs = Runs()
    runs.adopt([up("c", 3)], {"c": {"restartCount": 2, "lastState": {"terminated": {"exitCode": 3}}}}, NOW)
    assert not runs.last
