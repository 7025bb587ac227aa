"""Cells as columns, CSV and Markdown, and documents as YAML."""

from __future__ import annotations

import csv
import io

import yaml

from gatewright.report.structured import to_yaml
from gatewright.report.tabular import to_columns, to_csv, to_markdown

HEADING = ("source", "egress policies")
ROWS = [("a|b", 'x, "y"\nz'), ("*.example.com[External]", "")]


def test_csv_quotes_what_would_break_it() -> None:
    text = to_csv(HEADING, ROWS)
    assert text.startswith("source,egress_policies\n")
    assert list(csv.reader(io.StringIO(text)))[1:] == [list(row) for row in ROWS]


def test_markdown_escapes_its_own_signs() -> None:
    assert to_markdown(HEADING, ROWS[1:]) == (
        "| Source | Egress policies |\n| --- | --- |\n| \\*.example.com\\[External\\] |  |\n"
    )
    assert "a\\|b" in to_markdown(HEADING, ROWS[:1])


def test_columns_show_what_is_empty() -> None:
    assert to_columns(HEADING, [("a", "")]) == "SOURCE   EGRESS POLICIES\na        -\n"


def test_yaml_has_no_anchors_and_reads_back() -> None:
    shared = {"TCP": [[80, 80]]}
    document = {"b": shared, "a": [shared, "no", "1e3", None, True]}
    text = to_yaml(document)
    assert "&" not in text
    assert text.startswith("b:")
    assert yaml.safe_load(text) == document
