"""Deployments, ReplicaSets, StatefulSets and DaemonSets of the lab, as stock kubectl rolls them out and back."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.cluster.fake_kubelets import PODS, within
from tests.cluster.lab_controllers import (
    DAEMON_SETS,
    DEPLOYMENTS,
    REPLICA_SETS,
    REVISIONS,
    STATEFUL_SETS,
    Lab,
    bare_pod,
    lab,
    workload,
)

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with lab(tmp_path_factory.mktemp("lab")) as found:
        yield found


def rolled_out(cluster: Lab, what: str) -> str:
    return cluster.kubectl("rollout", "status", what, "--timeout=20s")


def images(cluster: Lab, app: str) -> list[str]:
    return sorted(one["spec"]["containers"][0]["image"] for one in cluster.alive(f"app={app}"))


def test_a_deployment_is_rolled_out_and_its_pods_are_spread(cluster: Lab) -> None:
    cluster.apply(workload("Deployment", "spread", replicas=6))
    assert "successfully rolled out" in rolled_out(cluster, "deployment/spread")
    assert Counter(one["spec"]["nodeName"] for one in cluster.alive("app=spread")) == {"n1": 2, "n2": 2, "n3": 2}
    status = cluster.get(DEPLOYMENTS, "spread")["status"]
    assert (status["readyReplicas"], status["updatedReplicas"], status["availableReplicas"]) == (6, 6, 6)
    assert "unavailableReplicas" not in status


def test_a_new_template_replaces_pods_and_undo_brings_the_old_replica_set_back(cluster: Lab) -> None:
    cluster.kubectl("create", "deployment", "back", "--image=runs:1", "--replicas=4")
    rolled_out(cluster, "deployment/back")
    [first] = cluster.writer.list(REPLICA_SETS, "default", labelSelector="app=back")
    cluster.kubectl("set", "image", "deployment/back", "*=runs:2")
    rolled_out(cluster, "deployment/back")
    within(10, lambda: images(cluster, "back") == ["runs:2"] * 4)
    cluster.kubectl("rollout", "undo", "deployment/back")
    rolled_out(cluster, "deployment/back")
    within(10, lambda: images(cluster, "back") == ["runs:1"] * 4)
    sets = {one["metadata"]["name"]: one for one in cluster.writer.list(REPLICA_SETS, labelSelector="app=back")}
    again = sets[first["metadata"]["name"]]
    assert len(sets) == 2
    assert again["spec"]["replicas"] == 4
    assert again["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "3"
    assert again["metadata"]["annotations"]["deployment.kubernetes.io/revision-history"] == "1"
    assert cluster.get(DEPLOYMENTS, "back")["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "3"


def test_a_rollout_never_has_too_few_nor_too_many_pods(cluster: Lab) -> None:
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    cluster.apply(workload("Deployment", "bounds", replicas=5, strategy=strategy))
    rolled_out(cluster, "deployment/bounds")
    cluster.kubectl("set", "image", "deployment/bounds", "*=broken:1")
    within(10, lambda: "broken:1" in images(cluster, "bounds"))
    assert "timed out" in cluster.kubectl("rollout", "status", "deployment/bounds", "--timeout=1s", expected=1)
    assert images(cluster, "bounds") == ["broken:1", *["runs:1"] * 5]
    cluster.kubectl("rollout", "undo", "deployment/bounds")
    rolled_out(cluster, "deployment/bounds")
    within(10, lambda: images(cluster, "bounds") == ["runs:1"] * 5)


def test_a_rollout_that_makes_no_progress_says_so(cluster: Lab) -> None:
    cluster.apply(workload("Deployment", "stuck", "broken:1", replicas=1, progressDeadlineSeconds=1))
    said = cluster.kubectl("rollout", "status", "deployment/stuck", "--timeout=20s", expected=1)
    assert 'deployment "stuck" exceeded its progress deadline' in said


def test_recreate_waits_until_every_old_pod_is_gone(cluster: Lab) -> None:
    cluster.apply(workload("Deployment", "again", replicas=3, strategy={"type": "Recreate"}))
    rolled_out(cluster, "deployment/again")
    finalizers = {"metadata": {"finalizers": ["lab.test/holds"]}}
    [held, *_] = cluster.alive("app=again")
    cluster.writer.patch(PODS, "default", held["metadata"]["name"], finalizers)
    cluster.kubectl("set", "image", "deployment/again", "*=runs:2")
    within(10, lambda: [one["metadata"]["name"] for one in cluster.pods("app=again")] == [held["metadata"]["name"]])
    time.sleep(0.3)
    assert images(cluster, "again") == []
    cluster.writer.patch(PODS, "default", held["metadata"]["name"], {"metadata": {"finalizers": None}})
    rolled_out(cluster, "deployment/again")
    assert images(cluster, "again") == ["runs:2"] * 3


def test_a_paused_deployment_scales_and_does_not_roll(cluster: Lab) -> None:
    cluster.apply(workload("Deployment", "paused", replicas=2))
    rolled_out(cluster, "deployment/paused")
    cluster.kubectl("rollout", "pause", "deployment/paused")
    cluster.kubectl("set", "image", "deployment/paused", "*=runs:2")
    cluster.kubectl("scale", "deployment/paused", "--replicas=3")
    within(10, lambda: images(cluster, "paused") == ["runs:1"] * 3)
    cluster.kubectl("rollout", "resume", "deployment/paused")
    rolled_out(cluster, "deployment/paused")
    within(10, lambda: images(cluster, "paused") == ["runs:2"] * 3)


def test_scaling_in_the_middle_of_a_rollout_keeps_the_proportion(cluster: Lab) -> None:
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 2, "maxUnavailable": 2}}
    cluster.apply(workload("Deployment", "middle", replicas=8, strategy=strategy))
    rolled_out(cluster, "deployment/middle")
    cluster.kubectl("set", "image", "deployment/middle", "*=broken:1")
    within(10, lambda: Counter(images(cluster, "middle")) == {"runs:1": 6, "broken:1": 4})
    cluster.kubectl("scale", "deployment/middle", "--replicas=18")
    within(10, lambda: Counter(images(cluster, "middle")) == {"runs:1": 12, "broken:1": 8})
    cluster.kubectl("delete", "deployment", "middle")


def test_old_replica_sets_beyond_the_limit_are_deleted(cluster: Lab) -> None:
    cluster.apply(workload("Deployment", "history", replicas=1, revisionHistoryLimit=1))
    for number in (1, 2, 3):
        cluster.kubectl("set", "image", "deployment/history", f"*=runs:{number}")
        rolled_out(cluster, "deployment/history")
    within(10, lambda: len(cluster.writer.list(REPLICA_SETS, "default", labelSelector="app=history")) == 2)


def test_a_deleted_pod_is_made_again_and_a_freed_one_is_replaced_and_adopted_back(cluster: Lab) -> None:
    cluster.apply(workload("Deployment", "owned", replicas=2))
    rolled_out(cluster, "deployment/owned")
    first, second = cluster.alive("app=owned")
    cluster.kubectl("delete", "pod", first["metadata"]["name"])
    rolled_out(cluster, "deployment/owned")
    within(10, lambda: len(cluster.alive("app=owned")) == 2)
    free = second["metadata"]["name"]
    cluster.kubectl("label", "pod", free, "app=elsewhere", "--overwrite")
    within(10, lambda: "ownerReferences" not in cluster.get(PODS, free)["metadata"])
    within(10, lambda: len(cluster.alive("app=owned")) == 2)
    cluster.kubectl("label", "pod", free, "app=owned", "--overwrite")
    within(10, lambda: len(cluster.alive("app=owned")) == 2)
    owners = {one["metadata"]["ownerReferences"][0]["kind"] for one in cluster.alive("app=owned")}
    assert owners == {"ReplicaSet"}


def test_deletion_cost_decides_which_pod_goes(cluster: Lab) -> None:
    cluster.apply(workload("Deployment", "cost", replicas=3))
    rolled_out(cluster, "deployment/cost")
    names = [one["metadata"]["name"] for one in cluster.alive("app=cost")]
    cluster.kubectl("annotate", "pod", names[1], "controller.kubernetes.io/pod-deletion-cost=-5")
    cluster.kubectl("scale", "deployment/cost", "--replicas=2")
    within(10, lambda: len(cluster.alive("app=cost")) == 2)
    assert sorted(one["metadata"]["name"] for one in cluster.alive("app=cost")) == sorted([names[0], names[2]])


def test_a_stateful_set_makes_its_pods_one_after_the_other_and_updates_from_the_last(cluster: Lab) -> None:
    claims = [{"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}]
    cluster.apply(workload("StatefulSet", "db", replicas=3, serviceName="db", volumeClaimTemplates=claims))
    rolled_out(cluster, "statefulset/db")
    pods = {one["metadata"]["name"]: one for one in cluster.alive("app=db")}
    assert list(pods) == ["db-0", "db-1", "db-2"]
    revisions = [int(one["metadata"]["resourceVersion"]) for one in pods.values()]
    assert revisions == sorted(revisions)
    second = pods["db-1"]
    assert second["metadata"]["labels"]["apps.kubernetes.io/pod-index"] == "1"
    assert second["metadata"]["labels"]["statefulset.kubernetes.io/pod-name"] == "db-1"
    assert (second["spec"]["hostname"], second["spec"]["subdomain"]) == ("db-1", "db")
    assert {"name": "data", "emptyDir": {}} in second["spec"]["volumes"]
    assert "empty directory" in cluster.kubectl("describe", "statefulset", "db")
    cluster.kubectl("set", "image", "statefulset/db", "main=runs:2")
    rolled_out(cluster, "statefulset/db")
    assert images(cluster, "db") == ["runs:2"] * 3
    pods = {one["metadata"]["name"]: one for one in cluster.alive("app=db")}
    made = [int(pods[f"db-{number}"]["metadata"]["resourceVersion"]) for number in (2, 1, 0)]
    assert made == sorted(made)
    cluster.kubectl("rollout", "undo", "statefulset/db")
    rolled_out(cluster, "statefulset/db")
    assert images(cluster, "db") == ["runs:1"] * 3


def test_a_stateful_set_waits_for_a_pod_that_is_not_ready(cluster: Lab) -> None:
    cluster.apply(workload("StatefulSet", "slow", "broken:1", replicas=3, serviceName=""))
    within(10, lambda: [one["metadata"]["name"] for one in cluster.alive("app=slow")] == ["slow-0"])
    within(10, lambda: cluster.get(STATEFUL_SETS, "slow")["status"]["replicas"] == 1)
    cluster.apply(workload("StatefulSet", "fast", "broken:1", replicas=3, podManagementPolicy="Parallel"))
    within(10, lambda: len(cluster.alive("app=fast")) == 3)
    assert len(cluster.alive("app=slow")) == 1


def test_a_partition_keeps_lower_ordinals_as_they_are(cluster: Lab) -> None:
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}
    cluster.apply(workload("StatefulSet", "part", replicas=3, updateStrategy=strategy))
    rolled_out(cluster, "statefulset/part")
    cluster.kubectl("set", "image", "statefulset/part", "main=runs:2")
    within(10, lambda: images(cluster, "part") == ["runs:1", "runs:1", "runs:2"])
    assert cluster.get(PODS, "part-2")["spec"]["containers"][0]["image"] == "runs:2"
    cluster.kubectl("delete", "pod", "part-0")
    within(10, lambda: len(cluster.alive("app=part")) == 3)
    assert images(cluster, "part") == ["runs:1", "runs:1", "runs:2"]


def test_a_daemon_set_has_a_pod_on_every_node_and_is_rolled_back(cluster: Lab) -> None:
    cluster.apply(workload("DaemonSet", "agent"))
    rolled_out(cluster, "daemonset/agent")
    pods = cluster.alive("app=agent")
    assert sorted(one["spec"]["nodeName"] for one in pods) == ["n1", "n2", "n3"]
    assert {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute"} in pods[0]["spec"][
        "tolerations"
    ]
    cluster.kubectl("set", "image", "daemonset/agent", "main=runs:2")
    rolled_out(cluster, "daemonset/agent")
    assert images(cluster, "agent") == ["runs:2"] * 3
    cluster.kubectl("rollout", "undo", "daemonset/agent")
    rolled_out(cluster, "daemonset/agent")
    within(10, lambda: images(cluster, "agent") == ["runs:1"] * 3)
    found = cluster.writer.list(REVISIONS, "default", labelSelector="app=agent")
    assert sorted(one["revision"] for one in found) == [2, 3]
    status = cluster.get(DAEMON_SETS, "agent")["status"]
    assert (status["desiredNumberScheduled"], status["numberReady"], status["updatedNumberScheduled"]) == (3, 3, 3)


def test_a_daemon_set_follows_the_labels_of_nodes(cluster: Lab) -> None:
    cluster.apply(workload("DaemonSet", "chosen", pod={"nodeSelector": {"disk": "ssd"}}))
    within(10, lambda: cluster.get(DAEMON_SETS, "chosen")["status"].get("observedGeneration") == 1)
    assert not cluster.alive("app=chosen")
    cluster.kubectl("label", "node", "n2", "disk=ssd")
    within(10, lambda: [one["spec"].get("nodeName") for one in cluster.alive("app=chosen")] == ["n2"])
    cluster.kubectl("label", "node", "n2", "disk-")
    within(10, lambda: not cluster.alive("app=chosen"))


def test_a_daemon_set_that_may_be_down_on_one_node_stops_at_the_first_broken_pod(cluster: Lab) -> None:
    cluster.apply(workload("DaemonSet", "careful"))
    rolled_out(cluster, "daemonset/careful")
    cluster.kubectl("set", "image", "daemonset/careful", "main=broken:1")
    within(10, lambda: "broken:1" in images(cluster, "careful"))
    within(10, lambda: cluster.get(DAEMON_SETS, "careful")["status"].get("numberUnavailable") == 1)
    assert images(cluster, "careful") == ["broken:1", "runs:1", "runs:1"]


def test_pods_of_a_workload_go_with_it_and_stay_when_orphaned(cluster: Lab) -> None:
    cluster.apply(workload("Deployment", "gone", replicas=2), workload("StatefulSet", "left", replicas=1))
    rolled_out(cluster, "deployment/gone")
    rolled_out(cluster, "statefulset/left")
    cluster.kubectl("delete", "deployment", "gone")
    within(10, lambda: not cluster.pods("app=gone"))
    cluster.kubectl("delete", "statefulset", "left", "--cascade=orphan")
    within(10, lambda: "ownerReferences" not in cluster.get(PODS, "left-0")["metadata"])
    uid = cluster.get(PODS, "left-0")["metadata"]["uid"]
    cluster.apply(workload("StatefulSet", "left", replicas=1))
    rolled_out(cluster, "statefulset/left")
    adopted = cluster.get(PODS, "left-0")["metadata"]
    assert (adopted["uid"], adopted["ownerReferences"][0]["name"]) == (uid, "left")


def test_a_pod_of_its_own_is_adopted_by_a_replica_set_that_selects_it(cluster: Lab) -> None:
    cluster.apply(bare_pod("early", labels={"app": "late"}))
    cluster.apply(workload("ReplicaSet", "late", replicas=2))
    within(10, lambda: cluster.get(REPLICA_SETS, "late")["status"].get("readyReplicas") == 2)
    names = {one["metadata"]["name"] for one in cluster.alive("app=late")}
    assert "early" in names
    assert len(names) == 2
