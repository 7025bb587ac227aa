"""Every rule on its own example: it finds the fault at its line, and nothing in the mended text.

The examples are those that `gatewright lint --explain` and the pages of the rules show.
"""

from __future__ import annotations

import pytest

from gatewright.findings.registry import DESCRIPTIONS, RULES, explained
from tests.golden import assert_golden
from tests.unit.findings.running import findings, found

LINES = {
    "GW001": ["7"],
    "GW002": ["8"],
    "GW010": ["6"],
    "GW011": ["6"],
    "GW012": ["6"],
    "GW101": ["10"],
    "GW102": ["10"],
    "GW201": ["23"],
    "GW202": ["24"],
    "GW203": ["23"],
    "GW204": ["23"],
    "GW301": ["15"],
    "GW302": ["16"],
    "GW303": ["15"],
    "GW304": ["20"],
    "GW401": ["15"],
    "GW402": ["15"],
    "GW403": ["9"],
    "GW501": ["21"],
    "GW502": ["18"],
    "GW503": ["20"],
    "GW504": ["19"],
    "GW505": ["18"],
    "GW601": ["1"],
    "GW602": ["1"],
    "GW603": ["1"],
    "GW604": ["17"],
    "GW701": ["7"],
    "GW702": ["6"],
    "GW703": ["4"],
    "GW801": ["24"],
    "GW802": ["33"],
    "GW803": ["32"],
    "GW901": ["1"],
    "GW902": ["1"],
    "GW903": ["1"],
    "GW911": ["1"],
    "GW912": ["8"],
    "GW913": ["8"],
    "GW914": ["1"],
}
"""The line of the fault in each example."""


def test_every_rule_has_words_and_an_example() -> None:
    assert LINES.keys() == DESCRIPTIONS.keys()
    for text in DESCRIPTIONS.values():
        assert text.summary.endswith(".")
        assert text.remedy
        assert text.example is not None
    assert len({text.name for text in DESCRIPTIONS.values()}) == len(DESCRIPTIONS)
    assert all(RULES[ident].text is DESCRIPTIONS[ident] for ident in RULES)


@pytest.mark.parametrize("ident", DESCRIPTIONS)
def test_a_rule_finds_the_fault_of_its_example_at_its_line(ident: str) -> None:
    example = explained(ident)[0].example
    assert example is not None
    assert found(example.fault, ident, *example.options) == LINES[ident]
    if example.mended:
        assert found(example.mended, ident, *example.options) == []


def test_the_words_of_every_finding() -> None:
    lines = []
    for ident, text in DESCRIPTIONS.items():
        assert text.example is not None
        for one in findings(text.example.fault, ident, *text.example.options):
            lines.append(f"{ident} {one.severity} {one.place.object} {one.place.field}: {one.message}")
            lines += [f"    {other.place.object} {other.place.field}: {other.message}" for other in one.related]
    assert_golden("findings/examples.txt", "\n".join(lines) + "\n")
