"""Every case of the packet conformance suite, with real packets on a cluster of three nodes.

One lab stands for all cases that have its agents set alike. A case that fails shows its tables where they differ.
"""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from gatewright.probe.conformance.lab import LabCluster, own_lab
from gatewright.probe.conformance.model import AGENTS, Case
from gatewright.probe.conformance.reading import every_case
from gatewright.probe.conformance.running import Patience, run_case
from gatewright.report.conformance import PASSED, as_details, as_line
from tests.packets.labs import Lab, lab_of

pytestmark = [pytest.mark.packets, pytest.mark.slow, pytest.mark.timeout(150)]

CASES = sorted(every_case(), key=lambda case: (AGENTS.index(case.agents), case.number))
Clusters = Callable[[str], LabCluster]


@pytest.fixture(scope="module")
def clusters(namespaces: None) -> Iterator[Clusters]:
    """Gives the cluster whose agents are set in a way; the one before is taken down."""
    with ExitStack() as stack:
        standing: dict[str, LabCluster] = {}

        def cluster(agents: str) -> LabCluster:
            if agents not in standing:
                stack.pop_all().close()
                standing.clear()
                standing[agents] = stack.enter_context(own_lab(agents))
            return standing[agents]

        yield cluster


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)
def test_case(clusters: Clusters, case: Case) -> None:
    row = run_case(clusters(case.agents), case, Patience()).row
    assert row.outcome == PASSED, f"{as_line(row)}\n{as_details(row)}"


@pytest.fixture(scope="module", params=["root", "user"])
def flat(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """A lab of two nodes on which nothing enforces policies."""
    with lab_of(request.param) as made:
        made.run("up", "--nodes", "2", "--network", "flat", "--no-kubeconfig")
        yield made


def test_where_nothing_enforces_the_suite_fails_and_shows_where(flat: Lab) -> None:
    done = flat.process("conformance", "--name", flat.name, "--case", "0", "--case", "3", timeout=100)
    assert done.returncode == 1, done.stderr
    open_network, own_namespace, *rest = done.stdout.split("\n")
    assert open_network.startswith("ok ")
    assert open_network.endswith("000 without policies everything reaches everything")
    assert own_namespace.endswith("003 own namespace by podSelector: after step 1: 56 of 576 connections differ")
    assert "  y/a -> x/a TCP/80 v4 by pod address: expected denied, engine denied, measured allowed" in rest
    assert any(one.split()[:3] == ["y/a", "xx.", "."] for one in rest)
    assert rest[-2].endswith("1 passed, 1 failed")


def test_what_the_lab_is_not_made_for_is_skipped(flat: Lab) -> None:
    done = flat.process("conformance", "--name", flat.name, "--case", "103", "--case", "111", "-o", "json", timeout=60)
    assert done.returncode == 0, done.stderr
    assert [(one["outcome"], one["problems"]) for one in json.loads(done.stdout)["cases"]] == [
        ("skipped", ["needs 3 nodes, the cluster has 2"]),
        ("skipped", ["needs agents with start-closed"]),
    ]


def test_nothing_of_the_suite_stays_in_a_lab(flat: Lab) -> None:
    flat.run("conformance", "--name", flat.name, "--case", "0", timeout=60)
    flat.run("wait", "--timeout", "30")
    assert {one["namespace"] for one in flat.status()["pods"]} & {"x", "y", "z"} == set()


def test_somebody_elses_namespace_is_left_alone(flat: Lab) -> None:
    theirs = 'apiVersion: v1\nkind: Namespace\nmetadata: {name: "y"}\n'
    flat.apply(theirs)
    try:
        said = flat.error("conformance", "--name", flat.name, "--case", "0")
        assert "namespace y is not the suite's own; run it in another lab" in said
        assert {"x", "z"} & {one["namespace"] for one in flat.status()["pods"]} == set()
    finally:
        flat.run("delete", "-f", str(flat.file(theirs)))


@pytest.mark.parametrize("user", ["root", "user"])
def test_a_lab_of_its_own_is_made_and_taken_down(user: str, tmp_path: Path) -> None:
    with lab_of(user) as runner:
        before = runner.run("list")
        done = runner.process("conformance", "--case", "46", "--case", "109", "-o", "junit", timeout=100)
        assert done.returncode == 0, done.stdout + done.stderr
        suite = ET.fromstring(done.stdout).find("testsuite")
        assert suite is not None
        assert [(one.get("name", "")[:3], len(one)) for one in suite] == [("046", 0), ("109", 0)]
        assert runner.run("list") == before
