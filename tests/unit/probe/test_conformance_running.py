"""The runner of the conformance suite on a cluster on paper that lies: every lie must be found and told."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest

from gatewright.errors import GatewrightError
from gatewright.probe import connect
from gatewright.probe.conformance.model import BASE, Case, Operation
from gatewright.probe.conformance.reading import every_case
from gatewright.probe.conformance.running import Outcome, Patience, run_case, run_cases
from gatewright.probe.conformance.table import Attempt
from gatewright.report.conformance import (
    BROKEN,
    FAILED,
    PASSED,
    SKIPPED,
    as_details,
    as_json,
    as_junit,
    as_line,
    as_summary,
)
from tests.paper_cluster import PaperCluster

AT_ONCE = Patience(table=0.0, attempt=0.0, second=0.0, watched=0.0)
CASES = {case.number: case for case in every_case()}


def is_cell(attempt: Attempt, source: str, destination: str, port: int, family: int, way: str) -> bool:
    cell = attempt.cell
    return (cell.source, cell.destination, cell.port, cell.family, attempt.way) == (
        source,
        destination,
        port,
        family,
        way,
    )


def lying(source: str, destination: str, port: int, family: int, way: str, said: str) -> PaperCluster:
    return PaperCluster(lie=lambda one: said if is_cell(one, source, destination, port, family, way) else "")


@pytest.mark.parametrize(
    ("source", "destination", "way", "family", "said", "measured"),
    [
        ("x/b", "x/a", "pod address", 4, connect.DROPPED, "denied"),
        ("x/b", "x/a", "Service", 6, connect.REJECTED, "denied"),
        ("y/c", "x/a", "Service", 4, connect.OPEN, "allowed"),
        ("z/a", "x/a", "pod address", 6, connect.REFUSED, "refused"),
        ("z/a", "y/b", "Service", 6, connect.REFUSED, "refused"),
        ("z/a", "y/b", "pod address", 6, connect.ERROR, "error"),
        ("z/a", "y/b", "pod address", 6, connect.UNKNOWN, "unknown"),
    ],
)
def test_one_wrong_cell_is_found(
    source: str, destination: str, way: str, family: int, said: str, measured: str
) -> None:
    outcome = run_case(lying(source, destination, 81, family, way, said), CASES[3], AT_ONCE)
    assert (outcome.outcome, outcome.step) == (FAILED, 1)
    (found,) = outcome.differences
    assert (found.attempt.cell.source, found.attempt.cell.destination) == (source, destination)
    assert (found.attempt.way, found.attempt.cell.family, found.measured) == (way, family, measured)


def test_a_refusal_has_got_through_only_where_nobody_listens() -> None:
    refusing = PaperCluster(lie=lambda one: connect.REFUSED if one.cell.port in (1, 2, 79) else "")
    outcome = run_case(refusing, CASES[115], AT_ONCE)
    assert (outcome.outcome, outcome.step) == (FAILED, 1)
    assert {one.attempt.expected for one in outcome.differences} == {"denied"}
    assert {one.measured for one in outcome.differences} == {"allowed"}


def test_a_wrong_cell_is_shown_beside_what_was_expected() -> None:
    outcome = run_case(lying("x/b", "x/a", 81, 4, "pod address", connect.DROPPED), CASES[3], AT_ONCE)
    row = outcome.row
    assert as_line(row).endswith("003 own namespace by podSelector: after step 1: 1 of 576 connections differ")
    details = as_details(row)
    assert "x/b -> x/a TCP/81 v4 by pod address: expected allowed, engine allowed, measured denied" in details
    (line,) = [one for one in details.split("\n") if one.strip().startswith("x/b  ")]
    assert line.split() == ["x/b", "..x", *["."] * 7]
    (other,) = [one for one in details.split("\n") if one.strip().startswith("y/a  ")]
    assert other.split() == ["y/a", "x", *["."] * 7]


def test_an_engine_that_is_wrong_is_found_though_packets_are_as_expected(monkeypatch: pytest.MonkeyPatch) -> None:
    from gatewright.probe.conformance import seen

    def wrong(self: seen.Seen, cell: object) -> str:
        return "allowed"

    monkeypatch.setattr(seen.Seen, "predicted", wrong)
    cluster = PaperCluster(lie=lambda one: connect.OPEN if one.expected == "allowed" else connect.DROPPED)
    outcome = run_case(cluster, CASES[1], AT_ONCE)
    assert outcome.outcome == FAILED
    assert {one.measured for one in outcome.differences} == {"denied"}
    assert {one.attempt.predicted for one in outcome.differences} == {"allowed"}


def test_a_table_may_take_its_time() -> None:
    cluster = PaperCluster()
    cluster.lie = lambda one: connect.OPEN if cluster.measured < 4 else ""
    assert run_case(cluster, CASES[1], replace(AT_ONCE, table=5.0)).outcome == PASSED
    assert cluster.measured == 5


def test_where_nothing_may_change_it_may_not() -> None:
    cluster = PaperCluster()
    cluster.lie = lambda one: connect.OPEN if cluster.log[-1] == "kill agents" and cluster.measured == 3 else ""
    outcome = run_case(cluster, CASES[123], replace(AT_ONCE, table=5.0))
    assert (outcome.outcome, outcome.step) == (FAILED, 2)


def test_a_table_that_holds_and_then_does_not_fails() -> None:
    cluster = PaperCluster()
    cluster.lie = lambda one: connect.OPEN if cluster.measured == 2 else ""
    outcome = run_case(cluster, CASES[1], replace(AT_ONCE, table=5.0))
    assert outcome.outcome == FAILED
    assert outcome.problems == ("the table held, and then held no more",)


def test_silence_the_second_time_is_asked_again_before_it_counts() -> None:
    cluster = PaperCluster()
    cluster.lie = lambda one: connect.DROPPED if cluster.measured == 2 else ""
    assert run_case(cluster, CASES[1], AT_ONCE).outcome == PASSED
    cluster = PaperCluster()
    cluster.lie = lambda one: connect.DROPPED if cluster.measured >= 2 else ""
    assert run_case(cluster, CASES[1], AT_ONCE).outcome == FAILED


def test_established_connections_that_live_too_long_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = PaperCluster()
    cluster.agents = "keep-connections"
    outcome = run_case(cluster, replace(CASES[108], agents="keep-connections"), AT_ONCE)
    assert outcome.outcome == FAILED
    assert "the established connection y/a -> x/a TCP/80 v6 lives; expected that it has ended" in outcome.problems
    assert [one for one in cluster.log if one.startswith("close ")]


def test_pods_that_do_not_stay_ready_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PaperCluster, "not_ready", lambda self, pods, seconds: ["y/b"])
    outcome = run_case(PaperCluster(), CASES[102], AT_ONCE)
    assert (outcome.outcome, outcome.problems) == (FAILED, ("pod y/b does not stay ready",))


def test_pods_that_end_otherwise_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PaperCluster, "ended", lambda self, pod: "Failed")
    outcome = run_case(PaperCluster(), CASES[110], AT_ONCE)
    assert (outcome.outcome, outcome.problems) == (FAILED, ("pod x/first ended as Failed, expected Succeeded",))


def test_a_program_that_finds_something_fails() -> None:
    class Finding(PaperCluster):
        def program(self, name: str) -> list[str]:
            return [f"{name}: wrong"]

    outcome = run_case(Finding(), CASES[49], AT_ONCE)
    assert (outcome.outcome, outcome.problems) == (FAILED, ("api-operations: wrong",))


def test_what_a_cluster_has_not_is_skipped_and_says_why() -> None:
    assert told(run_case(PaperCluster(nodes=2), CASES[103], AT_ONCE)) == (
        SKIPPED,
        "needs 3 nodes, the cluster has 2",
    )
    assert told(run_case(PaperCluster(), CASES[109], AT_ONCE)) == (SKIPPED, "needs agents with keep-connections")
    one_family = PaperCluster()
    seen = one_family.look()
    addresses = {
        name: {family: text for family, text in of.items() if family != 6} for name, of in seen.addresses.items()
    }
    vars(seen)["addresses"] = addresses
    one_family.look = lambda: seen  # type: ignore[method-assign]
    assert told(run_case(one_family, CASES[34], AT_ONCE)) == (SKIPPED, "needs IPv6, which the cluster has not")


def told(outcome: Outcome) -> tuple[str, str]:
    return outcome.outcome, outcome.row.summary


class Failing(PaperCluster):
    """A cluster whose API says no."""

    def perform(self, operation: Operation) -> None:
        raise GatewrightError("the server says no")


class Interrupted(PaperCluster):
    """A cluster whose user has had enough."""

    def settle(self) -> None:
        raise KeyboardInterrupt


def test_what_cannot_be_run_is_broken_and_the_next_case_is_run() -> None:
    cluster = Failing()
    heard: list[Outcome] = []
    outcomes = run_cases(cluster, [CASES[3], CASES[0]], AT_ONCE, heard.append)
    assert [one.outcome for one in outcomes] == [BROKEN, PASSED]
    assert outcomes == heard
    assert told(outcomes[0]) == (BROKEN, "the server says no")
    assert cluster.log.count("clean") == 3


def test_what_is_left_of_a_case_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def stuck(self: PaperCluster) -> None:
        raise GatewrightError("pod x/d is not gone")

    cluster = PaperCluster()
    monkeypatch.setattr(PaperCluster, "clean", stuck)
    assert told(run_case(cluster, CASES[1], AT_ONCE)) == (BROKEN, "cannot clean up: pod x/d is not gone")


def test_an_interruption_leaves_nothing_behind() -> None:
    cluster = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        run_case(cluster, CASES[3], AT_ONCE)
    assert cluster.log[-1] == "clean"
    assert {f"{one['metadata']['namespace']}/{one['metadata']['name']}" for one in cluster.look().of_kind("Pod")} == {
        *BASE
    }
    assert not list(cluster.look().of_kind("NetworkPolicy"))


def results(*numbers: int) -> list[Outcome]:
    cases: list[Case] = [CASES[number] for number in numbers]
    return run_cases(lying("x/b", "x/a", 81, 4, "pod address", connect.DROPPED), cases, AT_ONCE, lambda one: None)


def test_junit_has_a_test_case_for_each_case() -> None:
    rows = [one.row for one in results(1, 3, 109)]
    suite = ET.fromstring(as_junit(rows)).find("testsuite")
    assert suite is not None
    assert {name: suite.get(name) for name in ("tests", "failures", "errors", "skipped")} == {
        "tests": "3",
        "failures": "1",
        "errors": "0",
        "skipped": "1",
    }
    passed, failed, skipped = suite.findall("testcase")
    assert [passed.get("name"), len(passed)] == ["001 default deny ingress", 0]
    failure = failed.find("failure")
    assert failure is not None
    assert failure.get("message") == "after step 1: 1 of 576 connections differ"
    assert "x/b -> x/a TCP/81 v4 by pod address" in (failure.text or "")
    assert skipped.find("skipped") is not None


def test_json_has_the_whole_table_of_what_failed() -> None:
    read = json.loads(as_json([one.row for one in results(1, 3, 109)]))
    assert read["sums"] == {"passed": 1, "failed": 1, "broken": 0, "skipped": 1}
    passed, failed, _ = read["cases"]
    assert (passed["rows"], len(failed["rows"])) == ([], 576)
    assert [one for one in failed["rows"] if one["differs"]] == [
        {
            "source": "x/b",
            "destination": "x/a",
            "port": "TCP/81",
            "family": 4,
            "way": "pod address",
            "expected": "allowed",
            "engine": "allowed",
            "measured": "denied",
            "differs": True,
        }
    ]


def test_the_last_line_counts() -> None:
    assert as_summary([one.row for one in results(1, 3, 109)], 12.3) == "3 cases in 12 s: 1 passed, 1 failed, 1 skipped"
