"""The demo goes through its four states, finds every prediction true and leaves no lab behind."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GATEWRIGHT = Path(sys.executable).with_name("gatewright")

pytestmark = [pytest.mark.packets, pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def shown() -> str:
    """What the demo printed; it has to succeed."""
    done = subprocess.run(
        [sys.executable, "scripts/demo.py"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def tables(shown: str) -> list[str]:
    """The part of each of the four states."""
    return re.split(r"^\d\. ", shown, flags=re.MULTILINE)[1:]


def test_each_state_is_measured_and_nothing_differs_where_policies_are_enforced(shown: str) -> None:
    differences = re.findall(r"^\d+ connections: .* (\d+) differ$", shown, re.MULTILINE)
    assert len(differences) == 4
    assert [count == "0" for count in differences] == [True, True, True, False]


def test_db_policy_closes_the_way_from_web_to_the_database(shown: str) -> None:
    before, after, *_ = tables(shown)
    row = re.compile(r"^\s*default/web-\S+ +default/db-\S+ +TCP 3306 +(\w+) +(\w+)", re.MULTILINE)
    assert row.findall(before) == [("allowed", "open")]
    assert row.findall(after) == [("denied", "dropped")]


def test_an_unlisted_port_is_denied_in_both_directions(shown: str) -> None:
    row = re.compile(r"^default/(\w+)-\S+ +default/(\w+)-\S+ +TCP 8080 +denied +dropped", re.MULTILINE)
    pods = ("api", "db", "web")
    assert set(row.findall(tables(shown)[2])) == {(one, other) for one in pods for other in pods if one != other}


def test_the_flat_network_says_that_it_does_not_enforce(shown: str) -> None:
    assert "4 NetworkPolicies accepted, NOT enforced" in tables(shown)[3]
    assert "NOT enforced" not in "".join(tables(shown)[:3])


def test_the_pods_are_on_three_nodes(shown: str) -> None:
    assert len(set(re.findall(r"^(?:api|db|web)-\S+ .* (node-\d) ", tables(shown)[0], re.MULTILINE))) == 3


def test_kubectl_creates_the_policy_and_the_web_tier_no_longer_reaches_the_database(shown: str) -> None:
    assert "networkpolicy.networking.k8s.io/db-policy created" in tables(shown)[1]
    assert re.search(r"curl: \(28\) .*timed out", tables(shown)[1])


def test_the_doctor_says_that_the_flat_network_does_not_enforce(shown: str) -> None:
    assert "enforced: no" in tables(shown)[3]


def test_no_lab_is_left(shown: str) -> None:
    assert shown
    labs = subprocess.run([GATEWRIGHT, "lab", "list"], capture_output=True, text=True, timeout=30, check=True).stdout
    assert not re.search(r"^demo\b", labs, re.MULTILINE)
