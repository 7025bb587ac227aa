"""Every case of the packet conformance suite on paper: its own tables, the engine and the reference say the same."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from gatewright.objects.read import decode
from gatewright.probe import connect
from gatewright.probe.conformance.expectation import BadExpectation, decide, filled, parse
from gatewright.probe.conformance.model import NAMESPACES, OUTSIDE, PODS, Case, Cell, Operation
from gatewright.probe.conformance.reading import every_case
from gatewright.probe.conformance.running import Patience, run_case
from gatewright.probe.conformance.table import Attempt, attempts, cells, idle_lines
from gatewright.report.conformance import FAILED, PASSED
from tests.paper_cluster import PaperCluster
from tests.reference.evaluator import End, Reference

CASES = every_case()
AT_ONCE = Patience(table=0.0, attempt=0.0, second=0.0, watched=0.0)
DESCRIPTION = Path(__file__).parents[3].parent / "shared" / "conformance.md"
BEYOND = {
    "hairpin through a Service": [101],
    "the node's probes under deny all": [102],
    "hostNetwork pods as source and target": [103],
    "NodePort from outside under both traffic policies": [104, 105],
    "dual-stack targets allowed on one family only": [106, 107],
    "established connections when policy changes (both options)": [108, 109],
    "a pod's first packet at start (open and closed start)": [110, 111],
    "a finished pod's address reused": [112],
    "a pod restarted under the same name with other labels": [113],
    "named ports that differ between pods of one Service": [114],
    "port ranges at their edges": [115, 116],
    "ipBlock /0, /1, /31, /127 with nested excepts": [117, 118, 119],
    "a policy allowed by two rules and removed one at a time": [120, 121],
    "200 policies on one pod": [122],
    "an agent restarted in the middle": [123],
    "every cluster-tier action (Accept, Deny, Pass) against every NetworkPolicy state": [
        *range(201, 207),
        *range(211, 217),
    ],
}


class Judging(PaperCluster):
    """A cluster on paper whose packets do what the reference says.

    It is slow: of each state it is asked about every fourth cell, another fourth each time, and the engine about the
    rest; that both agree on everything is what the properties are for.
    """

    def __init__(self, agents: str) -> None:
        super().__init__(agents=agents)
        self._known: dict[Cell, str] = {}
        self._states = 0

    def perform(self, operation: Operation) -> None:
        super().perform(operation)
        self._known = {}

    def measure(self, attempts: Sequence[Attempt], timeout: float) -> list[str]:
        self.measured += 1
        if not self._known:
            reference = Reference(self.look().trees)
            self._states += 1
            for number, one in enumerate({one.cell: one for one in attempts}.values()):
                asked = reference if (number + self._states) % 4 == 0 else None
                self._known[one.cell] = judged(asked, one)
        return [self._known[one.cell] for one in attempts]


def judged(reference: Reference | None, attempt: Attempt) -> str:
    """What the reference says; of Services, whose translation it does not know, what the engine says."""
    cell = attempt.cell
    answer = attempt.predicted
    if reference and "/svc/" not in cell.destination and cell.source != cell.destination:
        source, destination = end(cell.source, cell.family), end(cell.destination, cell.family)
        answer = reference.connection(source, destination, cell.protocol, cell.port, cell.family)
    return {"allowed": connect.OPEN, "denied": connect.DROPPED}.get(answer, answer)


def end(name: str, family: int) -> End:
    """An end as the reference names it."""
    if name == OUTSIDE:
        return "address", {4: "203.0.113.10", 6: "2001:db8:113::10"}[family]
    namespace, _, pod = name.partition("/")
    return "pod", namespace, pod


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)
def test_the_case_the_engine_and_the_reference_agree(case: Case) -> None:
    cluster = Judging(case.agents)
    outcome = run_case(cluster, case, AT_ONCE)
    different = [
        f"{one.attempt.cell} by {one.attempt.way}: expected {one.attempt.expected}, engine {one.attempt.predicted},"
        f" reference {one.measured}"
        for one in outcome.differences
    ]
    assert (outcome.outcome, outcome.problems, different) == (PASSED, (), [])
    assert cluster.measured == 2 * len(case.steps)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)
def test_every_line_decides_something(case: Case) -> None:
    cluster = PaperCluster(agents=case.agents)
    for step in case.steps:
        addresses = cluster.look().addresses
        for operation in step.operations:
            cluster.perform(replace(operation, body=filled(operation.body, addresses)))
        assert idle_lines(case, step.expected, cluster.look()) == []


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)
def test_every_object_is_one_that_an_api_server_takes(case: Case) -> None:
    addresses = PaperCluster().look().addresses
    for step in case.steps:
        for operation in step.operations:
            if operation.verb in ("create", "update"):
                assert operation.body is not None
                assert decode(filled(operation.body, addresses)) is not None


def test_every_case_of_the_list_is_there_under_its_number() -> None:
    assert [case.number for case in CASES if 1 <= case.number <= 50] == list(range(1, 51))
    if not DESCRIPTION.exists():
        pytest.skip(f"no list of cases at {DESCRIPTION.parent.name}/{DESCRIPTION.name}")
    listed = set(map(int, re.findall(r"(?:^|· )(\d+)(?=[ -])", DESCRIPTION.read_text(), re.MULTILINE)))
    assert {1, 42, 49, 50} <= listed


def test_everything_beyond_the_list_has_its_cases() -> None:
    numbers = {case.number for case in CASES}
    for item, cases in BEYOND.items():
        assert set(cases) <= numbers, item
    if not DESCRIPTION.exists():
        pytest.skip(f"no list of cases at {DESCRIPTION.parent.name}/{DESCRIPTION.name}")
    text = DESCRIPTION.read_text().split("Beyond upstream")[1].partition(":")[2]
    items = {" ".join(item.split()).rstrip(".") for item in text.split(";")}
    assert items - {"IPv6 for every case"} == set(BEYOND)


def test_every_case_is_measured_in_both_families_and_by_both_ways() -> None:
    cluster = PaperCluster()
    asked = attempts(CASES[0], CASES[0].steps[0].expected, cluster.look())
    assert {(one.way, one.cell.family) for one in asked} == {
        (way, family) for way in ("pod address", "Service") for family in (4, 6)
    }
    pods = {(namespace, pod) for namespace in NAMESPACES for pod in PODS}
    pairs = {(one.cell.source, one.cell.destination) for one in asked}
    assert len(pairs) == len(pods) * (len(pods) - 1)
    assert len(asked) == len(pairs) * 6 * 2 * 2


def test_pairs_stand_on_the_same_node_and_on_different_ones() -> None:
    seen = PaperCluster().look()
    nodes = {
        f"{pod['metadata']['namespace']}/{pod['metadata']['name']}": pod["spec"]["nodeName"]
        for pod in seen.of_kind("Pod")
    }
    found = {
        (source[0] == destination[0], nodes[source] == nodes[destination])
        for source in nodes
        for destination in nodes
        if source != destination
    }
    assert found == {(True, True), (True, False), (False, True), (False, False)}


def test_a_case_whose_expectation_is_wrong_fails_though_engine_and_packets_agree() -> None:
    case = next(one for one in CASES if one.number == 3)
    step = replace(case.steps[0], expected=("* -> *: allowed", "* -> x/a: denied"))
    wrong = replace(case, steps=(step,))
    outcome = run_case(PaperCluster(), wrong, AT_ONCE)
    assert outcome.outcome == FAILED
    assert {(one.attempt.cell.source, one.attempt.cell.destination) for one in outcome.differences} == {("x/b", "x/a")}


def test_the_last_line_that_speaks_counts_and_a_table_must_be_whole() -> None:
    addresses = {"x/a": {4: "10.0.0.1"}, "x/b": {4: "10.0.1.1"}}
    lines = [parse(one) for one in ("* -> x/b: denied", "[10.0.0.0/24] -> x/b TCP/80,90-99 v4: allowed")]
    case = CASES[0]
    tcp, udp = case.ports[0][0], case.ports[2][0]
    assert decide(lines, Cell("x/a", "x/b", tcp, 80, 4), addresses) == 1
    assert decide(lines, Cell("x/a", "x/b", tcp, 95, 4), addresses) == 1
    assert decide(lines, Cell("x/a", "x/b", tcp, 100, 4), addresses) == 0
    assert decide(lines, Cell("x/a", "x/b", udp, 80, 4), addresses) == 0
    assert decide(lines, Cell("x/b", "x/b", tcp, 80, 4), addresses) == 0
    with pytest.raises(BadExpectation, match=r"no line says what becomes of x/b -> x/a TCP/80 v4"):
        decide(lines, Cell("x/b", "x/a", tcp, 80, 4), addresses)


@pytest.mark.parametrize("text", ["x/a x/b: allowed", "x/a -> x/b: maybe", "x/a -> x/b ICMP: allowed"])
def test_what_is_no_expectation_is_refused(text: str) -> None:
    with pytest.raises(BadExpectation, match="not an expectation"):
        parse(text)


def test_placeholders_are_addresses_blocks_and_names() -> None:
    addresses = {"x/a": {4: "10.0.0.77", 6: "fd00::4d"}, "node1": {0: "n1"}}
    assert filled({"at": ["$(x/a:4)", "$(x/a:4/24)", "$(x/a:6/120)", "$(node1)"]}, addresses) == {
        "at": ["10.0.0.77", "10.0.0.0/24", "fd00::/120", "n1"]
    }
    assert filled("for i in $(seq 20)", addresses) == "for i in $(seq 20)"
    with pytest.raises(BadExpectation, match=r"\$\(x/b:4\): nothing of that name has such an address"):
        filled("$(x/b:4)", addresses)


def test_a_case_that_asks_of_pods_that_are_not_there_asks_nothing() -> None:
    case = next(one for one in CASES if one.number == 113)
    assert {cell.source for cell in cells(case, PaperCluster().look())} == set(case.sources) - {"x/d"}
