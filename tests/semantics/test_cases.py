"""Every case of the tables, asked of the engine and of the reference: each guards the other, the tables guard both."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.semantics.cases import Case, all_cases
from tests.subjects import SUBJECTS, Subject

CASES = all_cases()
RULES = Path(__file__).parents[2].parent / "shared" / "semantics.md"
CONFORMANCE = range(1, 51)
NOT_DECIDED_HERE = {
    49: "API operations: a matter of the API, not of verdicts",
}
ROWS_DECIDED_ELSEWHERE = {
    "a peer `{}`, or ipBlock together with a selector": "refused when decoded: test_refused.py",
    "established connections when a policy changes": "a matter of conntrack, shown with packets",
    "Service addresses": "a matter of the Service's translation",
    "headless, ExternalName, selector-less Service": "a matter of the Service's translation",
    "NodePort, LoadBalancer": "a matter of the Service's translation",
}
CLAUSES_DECIDED_ELSEWHERE = {
    6: "no manifest may say it, only an API server newer than this: test_fails_closed.py",
}


@pytest.mark.parametrize("subject", SUBJECTS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)
def test_case(case: Case, subject: str) -> None:
    judge: Subject = SUBJECTS[subject](case.objects, case.pod_cidrs)
    wrong = []
    for each, expected in case.expected.items():
        answer = judge.connection(each.source, each.destination, each.protocol, each.port, each.family)
        if answer != expected:
            wrong.append(f"{each}: expected {expected}, got {answer}")
    assert not wrong, "\n".join(wrong)


def test_titles_are_unique() -> None:
    titles = [case.title for case in CASES]
    assert len(titles) == len(set(titles))


def test_every_row_has_a_case() -> None:
    if not RULES.exists():
        pytest.skip(f"no table of rules at {RULES.parent.name}/{RULES.name}")
    table = RULES.read_text().split("## NetworkPolicy v1\n")[1].split("\n## ")[0]
    rows = {match[1].strip() for match in re.finditer(r"^\| (.+?) \|", table, re.MULTILINE)} - {"case"}
    covered = {row for case in CASES for row in case.rows}
    assert rows - covered == set(ROWS_DECIDED_ELSEWHERE)
    assert {row for row in covered if not row.startswith(("conformance ", "clause "))} <= rows


def test_every_clause_of_the_tiers_has_a_case() -> None:
    if not RULES.exists():
        pytest.skip(f"no table of rules at {RULES.parent.name}/{RULES.name}")
    section = RULES.read_text().split("## ClusterNetworkPolicy")[1].split("\n## ")[0]
    clauses = range(1, len(re.findall(r"^- ", section, re.MULTILINE)) + 1)
    covered = {int(row.split()[1]) for case in CASES for row in case.rows if row.startswith("clause ")}
    assert covered == set(clauses) - set(CLAUSES_DECIDED_ELSEWHERE)


def test_every_conformance_case_is_there() -> None:
    covered = {int(row.split()[1]) for case in CASES for row in case.rows if row.startswith("conformance ")}
    assert covered == set(CONFORMANCE) - set(NOT_DECIDED_HERE)
