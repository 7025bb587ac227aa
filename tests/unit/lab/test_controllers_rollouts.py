"""How rollouts divide replicas: steps as tables, and what holds for every state of a rollout."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewright.lab.controllers import rollouts
from gatewright.lab.controllers.deployment_status import complete, progressed, status_from

Tree = dict[str, Any]
NOW = 1_000_000.0


def deployment(replicas: int, surge: Any = "25%", unavailable: Any = "25%", kind: str = "RollingUpdate") -> Tree:
    strategy: Tree = {"type": kind}
    if kind == "RollingUpdate":
        strategy["rollingUpdate"] = {"maxSurge": surge, "maxUnavailable": unavailable}
    spec = {"replicas": replicas, "strategy": strategy, "template": {"spec": {"containers": []}}}
    return {"metadata": {"name": "web", "generation": 1}, "spec": {**spec, "progressDeadlineSeconds": 600}}


def replica_set(uid: str, replicas: int, available: int = 0, age: int = 0, **annotations: Any) -> Tree:
    about = {
        "name": uid,
        "uid": uid,
        "creationTimestamp": f"2026-01-01T00:00:{age:02}Z",
        "annotations": {f"deployment.kubernetes.io/{key.replace('_', '-')}": str(v) for key, v in annotations.items()},
    }
    status = {"replicas": replicas, "readyReplicas": available, "availableReplicas": available}
    return {"metadata": about, "spec": {"replicas": replicas}, "status": status}


@pytest.mark.parametrize(
    ("replicas", "surge", "unavailable", "wanted"),
    [
        (10, "25%", "25%", (3, 2)),
        (4, 1, 0, (1, 0)),
        (3, 0, 0, (0, 1)),
        (1, "25%", "25%", (1, 0)),
        (2, 0, 5, (0, 2)),
        (10, "odd%", 1, (0, 1)),
    ],
)
def test_limits_are_rounded_so_that_a_rollout_can_go_on(
    replicas: int, surge: Any, unavailable: Any, wanted: tuple[int, int]
) -> None:
    assert rollouts.limits(deployment(replicas, surge, unavailable)) == wanted


@pytest.mark.parametrize(
    ("wanted", "new", "everything", "size"),
    [(10, 0, 10, 3), (10, 3, 13, 3), (10, 3, 11, 5), (10, 10, 10, 10), (10, 12, 12, 10), (10, 0, 0, 10)],
)
def test_the_new_replica_set_grows_into_the_room_that_there_is(
    wanted: int, new: int, everything: int, size: int
) -> None:
    assert rollouts.grown(deployment(wanted), new, everything) == size


def test_old_replica_sets_shrink_by_what_is_unhealthy_first() -> None:
    owner = deployment(10, 3, 2)
    old = [replica_set("a", 5, 5, age=1), replica_set("b", 5, 2, age=2)]
    assert rollouts.shrunk(owner, replica_set("new", 3), old) == {"b": 3}
    assert rollouts.shrunk(owner, replica_set("new", 3, 3), old) == {"b": 2, "a": 3}
    assert rollouts.shrunk(owner, replica_set("new", 0), [replica_set("a", 8, 8)]) == {}


def test_the_only_replica_set_with_pods_takes_a_new_size() -> None:
    owner = deployment(5)
    assert rollouts.scaled(owner, replica_set("new", 3, 3), [replica_set("old", 0)]) == {"new": 5}
    assert rollouts.scaled(owner, replica_set("new", 5), []) == {}


def test_a_rollout_under_way_is_scaled_in_proportion() -> None:
    owner = deployment(20, 0, "25%")
    new = replica_set("new", 5, 5, age=2, desired_replicas=10, max_replicas=10)
    old = replica_set("old", 5, 5, age=1, desired_replicas=10, max_replicas=10)
    assert rollouts.scaled(owner, new, [old]) == {"new": 10, "old": 10}
    uneven = replica_set("old", 8, 8, age=1, desired_replicas=10, max_replicas=10)
    small = replica_set("new", 2, 2, age=2, desired_replicas=10, max_replicas=10)
    assert rollouts.scaled(owner, small, [uneven]) == {"old": 16, "new": 4}
    assert rollouts.scaled(deployment(0), new, [old]) == {"old": 0, "new": 0}


def test_whether_a_deployment_was_scaled_is_told_by_its_replica_sets() -> None:
    ours = replica_set("new", 3, desired_replicas=3)
    assert not rollouts.is_scaled(deployment(3), [ours])
    assert rollouts.is_scaled(deployment(4), [ours])
    assert not rollouts.is_scaled(deployment(4), [replica_set("old", 0, desired_replicas=3)])


@pytest.mark.parametrize(
    "template",
    [
        {"metadata": {"labels": {"app": "x", "pod-template-hash": "h"}}, "spec": {"containers": []}},
        {"metadata": {"labels": {"app": "x"}, "creationTimestamp": None}, "spec": {"securityContext": {}}},
    ],
)
def test_a_template_is_known_however_it_was_written(template: Tree) -> None:
    owner = deployment(1)
    owner["spec"]["template"] = {"metadata": {"labels": {"app": "x"}}, "spec": {}}
    one = replica_set("a", 1)
    one["spec"]["template"] = template
    other = replica_set("b", 1, age=5)
    other["spec"]["template"] = {"metadata": {"labels": {"app": "y"}}, "spec": {}}
    found = rollouts.newest(owner, [other, one])
    assert found is one


def test_only_idle_history_that_was_looked_at_is_dropped() -> None:
    owner = deployment(1)
    owner["spec"]["revisionHistoryLimit"] = 1
    old = [replica_set(f"r{number}", 0, revision=number) for number in (3, 1, 2)]
    assert [one["metadata"]["name"] for one in rollouts.history_to_drop(owner, old)] == ["r1", "r2"]
    busy = replica_set("r1", 2, revision=1)
    assert [one["metadata"]["name"] for one in rollouts.history_to_drop(owner, [*old[:1], busy, old[2]])] == ["r2"]
    growing = replica_set("r1", 0, revision=1)
    growing["spec"]["replicas"] = 2
    assert [one["metadata"]["name"] for one in rollouts.history_to_drop(owner, [old[0], growing, old[2]])] == ["r2"]
    unseen = replica_set("r0", 0, revision=0)
    unseen["metadata"]["generation"] = 2
    assert "r0" not in [one["metadata"]["name"] for one in rollouts.history_to_drop(owner, [*old, unseen])]


@given(
    st.integers(0, 12),
    st.one_of(st.integers(0, 5), st.sampled_from(["25%", "50%", "100%"])),
    st.one_of(st.integers(0, 5), st.sampled_from(["25%", "50%", "100%"])),
    st.randoms(use_true_random=False),
)
def test_every_rollout_ends_within_its_bounds(wanted: int, surge: Any, unavailable: Any, chance: Any) -> None:
    """Whatever order pods become available in, no step has too many or takes too many away, and the end is reached."""
    owner = deployment(wanted, surge, unavailable)
    most, least = wanted + rollouts.limits(owner)[0], wanted - rollouts.limits(owner)[1]
    new, old = replica_set("new", 0, age=9), [replica_set("old", wanted, wanted)]
    for _ in range(200):
        size = rollouts.grown(owner, rollouts.replicas_of(new), rollouts.total([new, *old]))
        new["spec"]["replicas"] = size
        sizes = rollouts.shrunk(owner, new, old)
        ready = sum(map(rollouts.available, [new, *old]))
        for one in old:
            less = one["spec"]["replicas"] - sizes.get(one["metadata"]["uid"], one["spec"]["replicas"])
            one["spec"]["replicas"] -= less
            one["status"]["availableReplicas"] = min(one["status"]["availableReplicas"], one["spec"]["replicas"])
        assert rollouts.total([new, *old]) <= max(most, wanted)
        assert sum(map(rollouts.available, [new, *old])) >= min(least, ready)
        if rollouts.available(new) < size and chance.random() < 0.7:
            new["status"]["availableReplicas"] += 1
        if rollouts.available(new) == wanted and not rollouts.total(old):
            return
    raise AssertionError("the rollout never ends")


def told(owner: Tree, new: Tree, old: list[Tree], now: float = NOW) -> dict[str, tuple[str, str]]:
    status, _ = progressed(owner, new, old, status_from(owner, new, old, now), now)
    owner["status"] = status
    return {one["type"]: (one["status"], one["reason"]) for one in status["conditions"]}


def test_conditions_tell_how_a_rollout_goes() -> None:
    owner = deployment(4)
    new = replica_set("new", 4)
    lacking = ("False", "MinimumReplicasUnavailable")
    assert told(owner, new, []) == {"Available": lacking, "Progressing": ("True", "NewReplicaSetCreated")}
    new["status"]["availableReplicas"] = 2
    assert told(owner, new, [], NOW + 300)["Progressing"] == ("True", "ReplicaSetUpdated")
    assert told(owner, new, [], NOW + 800)["Progressing"] == ("True", "ReplicaSetUpdated")
    assert told(owner, new, [], NOW + 901)["Progressing"] == ("False", "ProgressDeadlineExceeded")
    new["status"]["availableReplicas"] = 4
    full = told(owner, new, [], NOW + 950)
    assert full == {
        "Available": ("True", "MinimumReplicasAvailable"),
        "Progressing": ("True", "NewReplicaSetAvailable"),
    }
    assert complete(owner, owner["status"])


def test_a_settled_deployment_that_loses_pods_is_not_said_to_roll_out() -> None:
    owner = deployment(2)
    new = replica_set("new", 2, 2)
    told(owner, new, [])
    new["status"]["availableReplicas"] = 0
    found = told(owner, new, [], NOW + 5000)
    assert found["Progressing"] == ("True", "NewReplicaSetAvailable")
    assert found["Available"] == ("False", "MinimumReplicasUnavailable")


def test_a_status_that_says_the_same_stays_the_same() -> None:
    owner = deployment(2)
    new = replica_set("new", 2, 2)
    told(owner, new, [])
    before = owner["status"]
    told(owner, new, [], NOW + 60)
    assert owner["status"] == before


def test_pods_that_cannot_be_made_are_told_of() -> None:
    owner, new = deployment(2), replica_set("new", 2)
    failure = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "no"}
    new["status"]["conditions"] = [failure]
    assert told(owner, new, [])["ReplicaFailure"] == ("True", "FailedCreate")
    new["status"]["conditions"] = []
    assert "ReplicaFailure" not in told(owner, new, [])


def test_a_pause_stops_the_clock_of_the_deadline() -> None:
    owner, new = deployment(2), replica_set("new", 2)
    told(owner, new, [])
    owner["spec"]["paused"] = True
    assert told(owner, new, [], NOW + 5)["Progressing"] == ("Unknown", "DeploymentPaused")
    del owner["spec"]["paused"]
    assert told(owner, new, [], NOW + 5000)["Progressing"] == ("Unknown", "DeploymentResumed")
    assert told(owner, new, [], NOW + 5100)["Progressing"] == ("Unknown", "DeploymentResumed")
    assert told(owner, new, [], NOW + 5700)["Progressing"] == ("False", "ProgressDeadlineExceeded")
