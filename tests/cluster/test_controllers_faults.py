"""Controllers that are killed at any moment, an API that goes away, bursts, and many pods."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gatewright.lab.apiclient.following import Change, Follower
from gatewright.sources.kubeconfig import Where
from tests.cluster.endpoint import kubectl, process
from tests.cluster.fake_kubelets import PODS, kubelets, node, within
from tests.cluster.lab_controllers import (
    DEPLOYMENTS,
    JOBS,
    REPLICA_SETS,
    Killable,
    Lab,
    job,
    lab,
    workload,
)

pytestmark = pytest.mark.cluster
NODES = tuple(node(f"n{number}") for number in (1, 2, 3))


class Births:
    """Every pod that there ever was, and how often the status of ReplicaSets was written."""

    def __init__(self) -> None:
        self.pods: dict[str, str] = {}
        self.statuses = 0

    def __call__(self, changes: list[Change]) -> None:
        for one in changes:
            tree = one.tree
            if one.resource == PODS:
                self.pods[tree["metadata"]["uid"]] = tree["metadata"]["name"]
            elif one.before is not None and one.after is not None:
                self.statuses += one.before.get("status") != one.after.get("status")

    def count(self, prefix: str) -> int:
        return sum(name.startswith(prefix) for name in self.pods.values())


@contextmanager
def births(where: Where) -> Iterator[Births]:
    heard = Births()
    follower = Follower(where, (PODS, REPLICA_SETS), heard)
    follower.start()
    try:
        assert follower.wait(20)
        yield heard
    finally:
        follower.stop()


@contextmanager
def killable(folder: Path) -> Iterator[tuple[Lab, Killable, Births]]:
    with process(folder) as api:
        where = Where(str(api.kubeconfig))
        with births(where) as heard, kubelets(where, *NODES) as writer:
            controllers = Killable(api.kubeconfig)
            try:
                yield Lab(api.kubeconfig, writer), controllers, heard
            finally:
                controllers.kill()


@pytest.mark.slow
def test_controllers_that_are_killed_again_and_again_make_nothing_twice(tmp_path: Path) -> None:
    moments = random.Random(7)
    with killable(tmp_path) as (cluster, controllers, heard):
        cluster.apply(
            workload("Deployment", "web", replicas=150),
            workload("StatefulSet", "db", replicas=12, podManagementPolicy="Parallel"),
            workload("DaemonSet", "agent"),
            job("sum", completions=20, parallelism=5, completionMode="Indexed"),
        )
        for _ in range(8):
            time.sleep(moments.uniform(0.02, 0.3))
            controllers.kill()
            controllers.start()
        for what in ("deployment/web", "statefulset/db", "daemonset/agent"):
            cluster.kubectl("rollout", "status", what, "--timeout=40s")
        cluster.kubectl("wait", "job/sum", "--for=condition=complete", "--timeout=40s")
        within(10, lambda: heard.count("web-") == 150)
        assert heard.count("db-") == 12
        assert heard.count("agent-") == 3
        assert heard.count("sum-") == 20
        status = cluster.get(JOBS, "sum")["status"]
        assert (status["succeeded"], status["completedIndexes"]) == (20, "0-19")
        assert len(cluster.writer.list(REPLICA_SETS, "default")) == 1
        on = Counter(one["spec"]["nodeName"] for one in cluster.pods("app=web"))
        assert max(on.values()) - min(on.values()) <= 1


@pytest.mark.slow
def test_a_rollout_goes_on_where_a_killed_controller_left_it(tmp_path: Path) -> None:
    with killable(tmp_path) as (cluster, controllers, _):
        cluster.apply(workload("Deployment", "web", replicas=20))
        cluster.kubectl("rollout", "status", "deployment/web", "--timeout=20s")
        cluster.kubectl("set", "image", "deployment/web", "*=runs:2")
        time.sleep(0.15)
        controllers.kill()
        spec = cluster.get(DEPLOYMENTS, "web")["spec"]
        assert len(cluster.alive("app=web")) <= spec["replicas"] + 5
        controllers.start()
        cluster.kubectl("rollout", "status", "deployment/web", "--timeout=20s")
        within(10, lambda: len(cluster.alive("app=web")) == 20)
        assert {one["spec"]["containers"][0]["image"] for one in cluster.alive("app=web")} == {"runs:2"}


@pytest.mark.slow
def test_an_api_that_is_killed_and_comes_back_finds_everything_going_on(tmp_path: Path) -> None:
    with process(tmp_path) as api:
        port = int(api.url.rpartition(":")[2])
        where = Where(str(api.kubeconfig))
        with kubelets(where, *NODES):
            controllers = Killable(api.kubeconfig)
            try:
                kubectl(api.kubeconfig, "create", "deployment", "web", "--image=runs:1", "--replicas=100")
                time.sleep(0.2)
                assert api.process
                api.process.kill()
                api.process.wait(10)
                with process(tmp_path, port) as again:
                    kubectl(again.kubeconfig, "rollout", "status", "deployment/web", "--timeout=50s")
                    found = kubectl(again.kubeconfig, "get", "pods", "-o", "name").split()
                    assert len(found) == 100
                    controllers.kill()
            finally:
                controllers.kill()


def test_a_burst_of_changes_is_told_in_few_writes(tmp_path: Path) -> None:
    with lab(tmp_path, NODES) as cluster, births(Where(str(cluster.kubeconfig))) as heard:
        cluster.apply(workload("ReplicaSet", "burst", replicas=100))
        begun = time.monotonic()
        within(30, lambda: cluster.get(REPLICA_SETS, "burst")["status"].get("readyReplicas") == 100)
        took = time.monotonic() - begun
        time.sleep(0.3)
        assert 0 < heard.statuses <= 2 + took / 0.1
        before = heard.statuses
        time.sleep(0.5)
        assert heard.statuses == before


@pytest.mark.slow
def test_a_thousand_pods_on_five_nodes_come_up_evenly(tmp_path: Path) -> None:
    nodes = [node(f"n{number}") for number in range(5)]
    with lab(tmp_path, nodes) as cluster:
        cluster.apply(workload("Deployment", "many", replicas=1000))
        within(60, lambda: cluster.get(DEPLOYMENTS, "many")["status"].get("readyReplicas") == 1000)
        on = Counter(one["spec"]["nodeName"] for one in cluster.pods("app=many"))
        assert on == dict.fromkeys((f"n{number}" for number in range(5)), 200)
        cluster.kubectl("scale", "deployment/many", "--replicas=10")
        within(60, lambda: len(cluster.pods("app=many")) == 10)
        within(10, lambda: cluster.get(DEPLOYMENTS, "many")["status"]["replicas"] == 10)
