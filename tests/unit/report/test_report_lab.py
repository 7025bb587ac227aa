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
    "nodeAddresses": ["172.31.255.1"],
    "outsideAddresses": ["203.0.113.10"],
    "podCIDRs": ["10.244.0.0/24"],
    "pods": [
        {
            "namespace": "shop",
            "name": "web",
            "ready": "1/1",
            "status": "Running",
            "restarts": 2,
            "addresses": ["10.244.0.1"],
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
    "warnings": ["CronJob shop/c: not started"],
}


def test_status() -> None:
    assert status_text("one", STATE).splitlines() == [
        "Lab one: 1 NetworkPolicy accepted, NOT enforced: network 'flat' has no policy support",
        "Node lab 172.31.255.1; outside 203.0.113.10; pods 10.244.0.0/24",
        "",
        "NAMESPACE   POD   READY   STATUS    RESTARTS   IP           RUNS",
        "shop        web   1/1     Running   2          10.244.0.1   nginx",
        "",
        "NAMESPACE   SERVICE   TYPE       CLUSTER-IP   PORT(S)        BACKENDS",
        "shop        web       NodePort   10.96.0.32   80:30080/TCP   1",
        "",
        "NETWORKPOLICY   ENFORCED",
        "shop/p          NO",
        "",
        "Note: CronJob shop/c: not started",
        "Note: shop/web: volume v: empty",
    ]


def test_status_of_one_namespace() -> None:
    assert "web" not in status_text("one", STATE, "default")
