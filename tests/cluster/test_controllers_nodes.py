"""Scheduling, the life of nodes and what every namespace has, through the API and stock kubectl."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from gatewright.lab.api.resources import BY_PLURAL
from gatewright.lab.apiclient.writing import Refused, Writer
from gatewright.sources.kubeconfig import Where
from tests.cluster.fake_kubelets import LEASES, NODES, PODS, Tree, kubelets, node, within
from tests.cluster.lab_controllers import Lab, bare_pod, lab, workload

pytestmark = pytest.mark.cluster
SERVICES, ENDPOINTS = BY_PLURAL["", "services"], BY_PLURAL["", "endpoints"]
SLICES = BY_PLURAL["discovery.k8s.io", "endpointslices"]
ACCOUNTS, CONFIG_MAPS = BY_PLURAL["", "serviceaccounts"], BY_PLURAL["", "configmaps"]
GRACE = 2.5


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    nodes = [node("n1", zone="a"), node("n2", zone="a"), node("n3", zone="b")]
    with lab(tmp_path_factory.mktemp("lab"), nodes, node_grace=GRACE, missing_node_grace=0.5) as found:
        yield found


@pytest.fixture(autouse=True)
def clean(cluster: Lab) -> Iterator[None]:
    yield
    cluster.kubectl("delete", "deployment,daemonset,replicaset,pod", "--all", "--timeout=20s", "--force")
    for name in ("n1", "n2", "n3"):
        cluster.kubectl("uncordon", name)


def where(pod: Tree) -> str:
    return str(pod["spec"].get("nodeName") or "")


def bound(cluster: Lab, name: str) -> str:
    within(10, lambda: where(cluster.get(PODS, name)))
    return where(cluster.get(PODS, name))


def refusal(cluster: Lab, name: str) -> str:
    """What the pod's PodScheduled condition says."""

    def told() -> list[str]:
        conditions = cluster.get(PODS, name)["status"].get("conditions") or ()
        return [one["message"] for one in conditions if one["type"] == "PodScheduled" and one["status"] == "False"]

    within(10, told)
    return told()[0]


def test_a_node_selector_and_a_node_name_are_honoured(cluster: Lab) -> None:
    cluster.apply(bare_pod("chosen", nodeSelector={"zone": "b"}), bare_pod("named", nodeName="n2"))
    assert bound(cluster, "chosen") == "n3"
    assert where(cluster.get(PODS, "named")) == "n2"


def test_a_pod_that_fits_nowhere_says_why_until_it_does(cluster: Lab) -> None:
    cluster.apply(bare_pod("lost", nodeSelector={"zone": "c"}))
    said = "0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector."
    assert refusal(cluster, "lost") == said
    within(10, lambda: "FailedScheduling" in cluster.kubectl("describe", "pod", "lost"))
    assert "Pending" in cluster.kubectl("get", "pod", "lost")
    cluster.kubectl("label", "node", "n1", "zone=c", "--overwrite")
    assert bound(cluster, "lost") == "n1"
    cluster.kubectl("label", "node", "n1", "zone=a", "--overwrite")


def test_a_cordoned_node_takes_no_new_pods(cluster: Lab) -> None:
    for name in ("n1", "n2", "n3"):
        cluster.kubectl("cordon", name)
    cluster.apply(bare_pod("waits"))
    assert refusal(cluster, "waits") == "0/3 nodes are available: 3 node(s) were unschedulable."
    within(10, lambda: "node.kubernetes.io/unschedulable:NoSchedule" in cluster.kubectl("describe", "node", "n2"))
    cluster.kubectl("uncordon", "n2")
    assert bound(cluster, "waits") == "n2"


def test_taints_keep_pods_away_that_do_not_tolerate_them(cluster: Lab) -> None:
    cluster.kubectl("taint", "node", "n1", "n2", "n3", "team=red:NoSchedule")
    toleration = {"key": "team", "operator": "Equal", "value": "red", "effect": "NoSchedule"}
    cluster.apply(bare_pod("blue"), bare_pod("red", tolerations=[toleration]))
    assert bound(cluster, "red")
    assert refusal(cluster, "blue") == "0/3 nodes are available: 3 node(s) had untolerated taint {team: red}."
    cluster.kubectl("taint", "node", "n1", "n2", "n3", "team-")
    assert bound(cluster, "blue")


def test_replicas_that_want_to_be_apart_get_a_node_each(cluster: Lab) -> None:
    term = {"labelSelector": {"matchLabels": {"app": "apart"}}, "topologyKey": "kubernetes.io/hostname"}
    affinity = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    cluster.apply(workload("Deployment", "apart", replicas=4, pod={"affinity": affinity}))
    within(10, lambda: sorted(map(where, cluster.alive("app=apart"))) == ["", "n1", "n2", "n3"])
    [left] = [one["metadata"]["name"] for one in cluster.alive("app=apart") if not where(one)]
    said = refusal(cluster, left)
    assert said == "0/3 nodes are available: 3 node(s) didn't match pod anti-affinity rules."
    cluster.apply(bare_pod("stranger", labels={"app": "apart"}))
    said = "0/3 nodes are available: 3 node(s) didn't satisfy existing pods anti-affinity rules."
    assert refusal(cluster, "stranger") == said


def test_a_pod_follows_the_one_it_wants_to_be_near(cluster: Lab) -> None:
    term = {"labelSelector": {"matchLabels": {"app": "leader"}}, "topologyKey": "zone"}
    affinity = {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    cluster.apply(bare_pod("follower", affinity=affinity))
    assert refusal(cluster, "follower") == "0/3 nodes are available: 3 node(s) didn't match pod affinity rules."
    cluster.apply(bare_pod("leader", labels={"app": "leader"}, nodeSelector={"zone": "b"}))
    assert bound(cluster, "leader") == "n3"
    assert bound(cluster, "follower") == "n3"


def test_pods_are_spread_over_zones(cluster: Lab) -> None:
    constraint = {
        "maxSkew": 1,
        "topologyKey": "zone",
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "zoned"}},
    }
    cluster.apply(workload("Deployment", "zoned", replicas=6, pod={"topologySpreadConstraints": [constraint]}))
    within(10, lambda: all(map(where, cluster.alive("app=zoned"))) and len(cluster.alive("app=zoned")) == 6)
    assert sum(where(one) == "n3" for one in cluster.alive("app=zoned")) == 3


def test_a_port_of_the_node_is_given_once(cluster: Lab) -> None:
    def taking(name: str) -> Tree:
        return bare_pod(
            name, containers=[{"name": "c", "image": "runs:1", "ports": [{"containerPort": 80, "hostPort": 8080}]}]
        )

    cluster.apply(*(taking(f"port-{number}") for number in range(4)))
    within(10, lambda: sorted(where(one) for one in cluster.alive()) == ["", "n1", "n2", "n3"])
    [left] = [one["metadata"]["name"] for one in cluster.alive() if not where(one)]
    words = "node(s) didn't have free ports for the requested pod ports"
    assert refusal(cluster, left) == f"0/3 nodes are available: 3 {words}."
    [first] = [one["metadata"]["name"] for one in cluster.alive() if where(one) == "n1"]
    cluster.kubectl("delete", "pod", first)
    assert bound(cluster, left) == "n1"


def test_a_drained_node_is_empty_but_for_daemons(cluster: Lab) -> None:
    cluster.apply(workload("Deployment", "moves", replicas=6), workload("DaemonSet", "stays"))
    cluster.kubectl("rollout", "status", "deployment/moves", "--timeout=20s")
    cluster.kubectl("rollout", "status", "daemonset/stays", "--timeout=20s")
    said = cluster.kubectl("drain", "n1", "--ignore-daemonsets", "--timeout=20s")
    assert "node/n1 drained" in said
    left = [one for one in cluster.alive() if where(one) == "n1"]
    assert [one["metadata"]["labels"]["app"] for one in left] == ["stays"]
    cluster.kubectl("rollout", "status", "deployment/moves", "--timeout=20s")
    assert {where(one) for one in cluster.alive("app=moves")} == {"n2", "n3"}


def test_every_node_has_ranges_of_its_own_which_a_later_node_gets_when_it_is_gone(cluster: Lab) -> None:
    api = Where(str(cluster.kubeconfig))
    within(10, lambda: all(ranges(cluster, name) for name in ("n1", "n2", "n3")))
    assert sorted(ranges(cluster, name) for name in ("n1", "n2", "n3")) == [
        ["10.244.0.0/24", "fd00:10:244::/64"],
        ["10.244.1.0/24", "fd00:10:244:1::/64"],
        ["10.244.2.0/24", "fd00:10:244:2::/64"],
    ]
    with kubelets(api, node("extra")):
        within(10, lambda: ranges(cluster, "extra") == ["10.244.3.0/24", "fd00:10:244:3::/64"])
    cluster.kubectl("delete", "node", "extra")
    with kubelets(api, node("later")):
        within(10, lambda: ranges(cluster, "later") == ["10.244.3.0/24", "fd00:10:244:3::/64"])
    cluster.kubectl("delete", "node", "later")


def ranges(cluster: Lab, name: str) -> Any:
    return cluster.get(NODES, name)["spec"].get("podCIDRs")


def ready(cluster: Lab, name: str) -> str:
    conditions = cluster.get(NODES, name)["status"]["conditions"]
    return next(str(one["status"]) for one in conditions if one["type"] == "Ready")


def test_a_node_that_falls_silent_is_unknown_and_its_pods_leave_in_time(cluster: Lab) -> None:
    quick = [
        {"key": f"node.kubernetes.io/{what}", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 1}
        for what in ("unreachable", "not-ready")
    ]
    pinned = {"kubernetes.io/hostname": "dying"}
    with kubelets(Where(str(cluster.kubeconfig)), node("dying")):
        cluster.apply(bare_pod("quick", nodeSelector=pinned, tolerations=quick), bare_pod("slow", nodeSelector=pinned))
        cluster.apply(workload("DaemonSet", "faithful", pod={"nodeSelector": pinned}))
        within(10, lambda: [pod_ready(cluster, name) for name in ("quick", "slow")] == ["True", "True"])
        within(10, lambda: len(cluster.alive("app=faithful")) == 1)
    within(GRACE + 5, lambda: ready(cluster, "dying") == "Unknown")
    within(5, lambda: taints(cluster, "dying") == ["NoExecute", "NoSchedule"])
    within(5, lambda: pod_ready(cluster, "slow") == "False")
    within(5, lambda: "deletionTimestamp" in absent_or(cluster, "quick"))
    assert "deletionTimestamp" not in cluster.get(PODS, "slow")["metadata"]
    assert len(cluster.alive("app=faithful")) == 1
    cluster.kubectl("delete", "node", "dying")
    within(10, lambda: not [one for one in cluster.pods() if where(one) == "dying"])


def test_an_object_that_makes_no_sense_stops_nobody(cluster: Lab) -> None:
    odd = {"key": "zone", "operator": "Sideways", "values": ["a"]}
    terms = {"nodeSelectorTerms": [{"matchExpressions": [odd, {"operator": "In"}]}]}
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}
    headless = {
        "podAntiAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": [
                {"labelSelector": {"matchExpressions": [{"operator": "In"}]}, "topologyKey": "zone"}
            ]
        }
    }
    for tree in (bare_pod("odd", affinity=affinity), bare_pod("odder", nodeName="n1", affinity=headless)):
        cluster.kubectl("create", "--validate=false", "-f", "-", text=json.dumps(tree))
    cluster.apply(bare_pod("plain"))
    assert bound(cluster, "plain")
    assert not where(cluster.get(PODS, "odd"))


def taints(cluster: Lab, name: str) -> list[str]:
    found = cluster.get(NODES, name)["spec"].get("taints") or ()
    return sorted(one["effect"] for one in found if one["key"] == "node.kubernetes.io/unreachable")


def pod_ready(cluster: Lab, name: str) -> str:
    conditions = cluster.get(PODS, name)["status"].get("conditions") or ()
    return next((str(one["status"]) for one in conditions if one["type"] == "Ready"), "")


def absent_or(cluster: Lab, name: str) -> Tree:
    try:
        metadata: Tree = cluster.get(PODS, name)["metadata"]
    except Refused:
        return {"deletionTimestamp": "gone"}
    return metadata


def test_a_node_that_renews_its_lease_stays_ready(cluster: Lab) -> None:
    writer = Writer(Where(str(cluster.kubeconfig)))
    before = writer.get(LEASES, "kube-node-lease", "n1")["spec"]["renewTime"]
    time.sleep(GRACE + 1)
    assert writer.get(LEASES, "kube-node-lease", "n1")["spec"]["renewTime"] > before
    assert ready(cluster, "n1") == "True"


def test_the_service_kubernetes_leads_to_the_api(cluster: Lab) -> None:
    service = cluster.get(SERVICES, "kubernetes")
    assert service["spec"]["clusterIP"] == "10.96.0.1"
    assert service["spec"]["ports"] == [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": 6443}]
    found = cluster.get(SLICES, "kubernetes")
    assert found["metadata"]["labels"]["kubernetes.io/service-name"] == "kubernetes"
    assert found["endpoints"][0]["addresses"] == ["172.31.255.1"]
    assert cluster.get(ENDPOINTS, "kubernetes")["subsets"][0]["addresses"] == [{"ip": "172.31.255.1"}]
    cluster.kubectl("delete", "endpointslice", "kubernetes")
    within(10, lambda: "kubernetes" in cluster.kubectl("get", "endpointslices"))


def test_every_namespace_has_its_account_and_the_certificate(cluster: Lab) -> None:
    cluster.kubectl("create", "namespace", "fresh")
    within(10, lambda: "default" in cluster.kubectl("get", "serviceaccounts", "-n", "fresh"))
    within(10, lambda: "kube-root-ca.crt" in cluster.kubectl("get", "configmaps", "-n", "fresh"))
    assert cluster.get(CONFIG_MAPS, "kube-root-ca.crt", "fresh")["data"] == {"ca.crt": "a certificate"}
    cluster.kubectl("delete", "configmap", "kube-root-ca.crt", "-n", "fresh")
    within(10, lambda: "kube-root-ca.crt" in cluster.kubectl("get", "configmaps", "-n", "fresh"))
    cluster.kubectl("delete", "namespace", "fresh", "--timeout=20s")
