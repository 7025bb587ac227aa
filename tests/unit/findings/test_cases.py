"""Rules against the tables in `cases/`: what they must find, line by line, and what they must leave alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.findings.running import findings, report

CASES = [
    case for file in sorted((Path(__file__).parent / "cases").glob("*.yaml")) for case in yaml.safe_load(file.open())
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['rule']}: {case['name']}")
def test_case(case: dict[str, Any]) -> None:
    options = case.get("options", [])
    assert not [one for one in report(case["manifests"], *options).findings if one.id == "GW001"]
    found = findings(case["manifests"], case["rule"], *options)
    assert [f"{one.place.line} {one.severity}" for one in found] == case["finds"], [one.message for one in found]
