"""Findings in every format, at the edges: nothing found, no file, no description, text a format takes for its own."""

from __future__ import annotations

import csv
import io
import json
import xml.etree.ElementTree as ET
from pathlib import Path

import jsonschema
import pytest

from gatewright.findings.model import Finding, Place, Related, Severity
from gatewright.findings.registry import DESCRIPTIONS
from gatewright.findings.suppression import Suppressed
from gatewright.objects.origin import Origin
from gatewright.report.findings import FORMATS, render, summary
from gatewright.report.rules import to_page, to_text

ROOT = Path(__file__).parents[3]
SARIF = json.loads((ROOT / "tests" / "schemas" / "sarif-2.1.0.json").read_text())
SCHEMA = json.loads((ROOT / "docs" / "schemas" / "findings-v1.schema.json").read_text())
LIVE = Finding("X1", Severity.INFO, "is live", Place("NetworkPolicy", "shop", "p", ("spec", "ingress", 0)))
WRITTEN = Finding(
    "X2",
    Severity.ERROR,
    'says "a, b" | 50% \x07 <&>\nand more',
    Place("ClusterNetworkPolicy", "", "guard", (), Origin("dir/a, b.yaml", 3)),
    remedy="mend it",
    related=(Related(LIVE.place, "is meant"),),
)
BOTH = (LIVE, WRITTEN)


def validate(text: str) -> None:
    jsonschema.Draft4Validator(SARIF).validate(json.loads(text))


@pytest.mark.parametrize("output", FORMATS)
def test_every_format_takes_nothing(output: str) -> None:
    text = render((), output)
    if output == "sarif":
        validate(text)
    elif output == "json":
        jsonschema.Draft202012Validator(SCHEMA).validate(json.loads(text))
    elif output == "junit":
        assert ET.fromstring(text).attrib["failures"] == "0"


def test_an_object_of_a_cluster_has_no_file() -> None:
    assert render((LIVE,), "table") == "X1 info: NetworkPolicy shop/p: spec.ingress[0]: is live\n"
    assert render((LIVE,), "github") == "::notice title=X1 NetworkPolicy shop/p::spec.ingress[0]: is live\n"
    case = ET.fromstring(render((LIVE,), "junit")).find("testsuite/testcase")
    assert case is not None
    assert case.attrib == {"name": "X1 NetworkPolicy shop/p spec.ingress[0]", "classname": "NetworkPolicy shop/p"}


def test_sarif_without_descriptions_and_files_is_valid() -> None:
    text = render(BOTH, "sarif", (Suppressed(LIVE, "because"),))
    validate(text)
    results = json.loads(text)["runs"][0]["results"]
    live = {"logicalLocations": [{"fullyQualifiedName": "NetworkPolicy shop/p spec.ingress[0]", "kind": "resource"}]}
    assert results[0]["locations"] == [live]
    assert results[1]["relatedLocations"] == [{**live, "message": {"text": "is meant"}}]
    assert "ruleIndex" not in results[0]
    assert [one.get("suppressions") for one in results][2] == [{"kind": "inSource", "justification": "because"}]


def test_text_that_a_format_takes_for_its_own_is_escaped() -> None:
    github = render((WRITTEN,), "github").splitlines()
    assert len(github) == 1
    assert github[0].startswith("::error file=dir/a%2C b.yaml,line=3,title=X2 ClusterNetworkPolicy guard::")
    assert "50%25" in github[0]
    failure = ET.fromstring(render((WRITTEN,), "junit")).find("testsuite/testcase/failure")
    assert failure is not None
    assert "\ufffd <&>" in (failure.text or "")
    rows = list(csv.reader(io.StringIO(render((WRITTEN,), "csv"))))
    assert rows[1][5] == WRITTEN.message
    assert "\\|" in render((WRITTEN,), "md")


def test_the_summary_counts() -> None:
    assert summary(()) == "no findings"
    assert summary((), 2) == "no findings; 2 suppressed"
    assert summary((*BOTH, WRITTEN), 1) == "3 findings: 2 errors, 1 info; 1 suppressed"


def test_a_rule_without_a_mended_example_shows_the_fault_alone() -> None:
    text = DESCRIPTIONS["GW911"]
    assert "(with `--network flannel`)" in to_page(text)
    assert "Mended" not in to_page(text)
    assert "Mended" not in to_text([text])
