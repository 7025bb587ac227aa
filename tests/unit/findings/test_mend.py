"""Mending text line by line: what changes, what stays, and what is left alone because it cannot be changed alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from gatewright.findings.lint import Settings, lint
from gatewright.findings.mend import mend
from gatewright.findings.mending import mended
from gatewright.findings.model import Finding
from gatewright.findings.registry import choose
from gatewright.objects.read import Parsed, parse
from tests.unit.findings.running import FILE

HEAD = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  name: p\nspec:\n"


def fixed(text: str, select: str, *, unsafe: bool = False) -> str:
    """The text with every fix of some rules made; as it was where none could be."""
    settings = Settings(choose((select,)))
    outcome = mended(Parsed.merge([parse(text, FILE)]), settings, {FILE: text}.get, unsafe=unsafe)
    assert not outcome.unwritable
    return outcome.texts.get(FILE, text)


def policy(body: str) -> str:
    return HEAD + body


CASES: list[dict[str, str]] = yaml.safe_load((Path(__file__).parent / "mend.yaml").read_text())


def case(name: str) -> tuple[str, str, str]:
    """(rule, text before, text after) of a case of the table."""
    found = next(one for one in CASES if one["name"] == name)
    before, after = found["before"], found.get("after", found["before"])
    if found.get("ending") == "crlf":
        before, after = before.replace("\n", "\r\n"), after.replace("\n", "\r\n")
    return found["rule"], before, after


@pytest.mark.parametrize("name", [one["name"] for one in CASES])
def test_a_fix_changes_its_lines_alone(name: str) -> None:
    select, before, after = case(name)
    assert fixed(before, select) == after


@pytest.mark.parametrize(("types", "wanted"), [
    ("  policyTypes: [Ingress]  # ours\n", "  policyTypes: [Ingress, Egress]  # ours\n"),
    ("  policyTypes: [ Ingress ]\n", "  policyTypes: [ Ingress, Egress ]\n"),
    ("  policyTypes:\n  - Ingress # ours\n", "  policyTypes:\n  - Ingress # ours\n  - Egress\n"),
    ("  policyTypes:\n    - Ingress\n", "  policyTypes:\n    - Ingress\n    - Egress\n"),
    ("  policyTypes: [\n    Ingress\n  ]\n", "  policyTypes: [\n    Ingress\n  ]\n"),
])  # fmt: skip
def test_a_direction_is_added_as_the_others_are_written(types: str, wanted: str) -> None:
    rest = "  egress:\n  - {}\n"
    before = policy("  podSelector: {}\n" + types + rest)
    assert fixed(before, "GW701", unsafe=True) == policy("  podSelector: {}\n" + wanted + rest)
    assert fixed(before, "GW701") == before


def test_what_is_mended_is_found_no_more_and_nothing_else_is_new() -> None:
    before = case("a peer that repeats another, with its comments")[1]
    after = fixed(before, "ALL")
    assert {one.id for one in lint(parse(after, FILE)).findings} <= {
        one.id for one in lint(parse(before, FILE)).findings
    }
    assert not [one for one in lint(parse(after, FILE)).findings if one.id == "GW503"]


def test_a_finding_of_another_text_is_left() -> None:
    text = case("a peer that repeats another, with its comments")[1]
    findings: list[Finding] = [one for one in lint(parse(text, FILE)).findings if one.id == "GW503"]
    result = mend(text.replace("name: p", "name: q"), FILE, findings)
    assert (result.done, result.left) == ((), tuple(findings))


def test_an_object_of_two_files_stays_the_later_ones() -> None:
    """The earlier file is mended; what it declares must not come back over the later one's."""
    early = case("a key after another")[1]
    late = early.replace("ingress:\n  - {}", "ingress: []")
    both = Parsed.merge([parse(early, "early.yaml"), parse(late, "late.yaml")])
    outcome = mended(both, Settings(choose(("GW703",))), {"early.yaml": early, "late.yaml": late}.get)
    assert list(outcome.texts) == ["late.yaml"]
    assert not outcome.report.findings or {one.place.file for one in outcome.report.findings} == {"late.yaml"}
