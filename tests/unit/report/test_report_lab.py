"""How a lab's state reads."""

from __future__ import annotations

import pytest

from gatewright.report.lab import enforcement_line, status_text, table


@pytest.mark.parametrize(
    ("count", "enforces", "line"),
    [
        (0, True, "0 NetworkPolicies enforced: network 'n'"),
        (1, True, "1 NetworkPolicy enforced: network 'n'"),
        (0, False, "no policy would be enforced: network 'n' has no policy support"),
        (2, False, "2 NetworkPolicies accepted, NOT enforced: network 'n' has no policy support"),
    ],
)
def test_whether_policies_are_in_force_is_said_in_one_line(count: int, enforces: bool, line: str) -> None:
    assert enforcement_line({"policies": ["p"] * count, "enforces": enforces, "network": "n"}) == line


def test_columns() -> None:
    assert table([("A", "LONG"), ("xyz", "1")]) == "A     LONG\nxyz   1"


STATE = {
    "network": "flat",
    "enforces": False,
    "kubeconfig": "/labs/one/kubeconfig",
    "nodes": [
        {
            "name": "node-1",
            "state": "running",
            "ready": True,
            "addresses": ["172.31.255.11"],
            "podCIDRs": ["10.244.0.0/24"],
            "agent": "",
            "agentProblems": [],
        },
        {
            "name": "node-2",
            "state": "stopped",
            "ready": False,
            "addresses": ["172.31.255.12"],
            "podCIDRs": [],
            "agent": "failing",
            "agentProblems": ["no nft"],
        },
    ],
    "components": [
        {"name": "api", "pid": 4, "restarts": 1, "seconds": 1.0},
        {"name": "node-1/proxy", "pid": 7, "restarts": 3, "seconds": 1.0},
        {"name": "node-1/kubelet", "pid": 8, "restarts": 0, "seconds": 1.0},
    ],
    "outsideAddresses": ["203.0.113.10"],
    "podCIDRs": ["10.244.0.0/16"],
    "pods": [
        {
            "namespace": "shop",
            "name": "web",
            "ready": "1/1",
            "status": "Running",
            "restarts": 2,
            "addresses": ["10.244.0.1"],
            "node": "node-1",
            "runs": "nginx",
            "notes": ["volume v: empty"],
        }
    ],
    "services": [
        {
            "namespace": "shop",
            "name": "web",
            "type": "NodePort",
            "addresses": ["10.96.0.32"],
            "externalName": "",
            "ports": [{"port": 80, "protocol": "TCP", "nodePort": 30080}],
            "backends": ["shop/web"],
        }
    ],
    "policies": ["shop/p"],
}


def test_status() -> None:
    assert status_text("one", STATE).splitlines() == [
        "Lab one: 1 NetworkPolicy accepted, NOT enforced: network 'flat' has no policy support",
        "outside 203.0.113.10; pods 10.244.0.0/16; kubeconfig /labs/one/kubeconfig",
        "",
        "NODE     STATE     READY   ADDRESSES       POD CIDRS       AGENT",
        "node-1   running   yes     172.31.255.11   10.244.0.0/24   none",
        "node-2   stopped   no      172.31.255.12   -               failing",
        "",
        "NAMESPACE   POD   READY   STATUS    RESTARTS   IP           NODE     RUNS",
        "shop        web   1/1     Running   2          10.244.0.1   node-1   nginx",
        "",
        "NAMESPACE   SERVICE   TYPE       CLUSTER-IP   PORT(S)        BACKENDS",
        "shop        web       NodePort   10.96.0.32   80:30080/TCP   1",
        "",
        "NETWORKPOLICY   ENFORCED",
        "shop/p          NO",
        "",
        "Note: shop/web: volume v: empty",
        "Note: node node-2: no nft",
        "Note: api was started again once",
        "Note: node-1/proxy was started again 3 times",
    ]


def test_status_of_one_namespace() -> None:
    assert "web" not in status_text("one", STATE, "default")
