"""Which renderer belongs to `-o`. A renderer is imported when its format is asked for: start-up stays short."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gatewright.engine.view import Answer

if TYPE_CHECKING:
    from gatewright.engine.difference import Difference
    from gatewright.report.explanation import Told
    from gatewright.report.graph import Graph


def connections(answer: Answer, output: str) -> str:
    """The connections of an answer, in any format of `list`."""
    from gatewright.report import connections as report

    rows = answer.view.rows
    if output == "table":
        return report.to_text(rows)
    if output in ("json", "yaml"):
        return _document(report.document(rows), output)
    if output in ("wide", "csv", "md"):
        return _tabular(report.HEADING, list(report.cells(answer)), output)
    from gatewright.report.graph import of_view

    return _drawing(of_view(answer.view), output)


def difference(found: Difference, old: Answer, new: Answer, output: str, *, colour: bool = False) -> str:
    """A difference, in any format of `diff`. Colour is for lines on a terminal."""
    from gatewright.report import difference as report

    if output == "table":
        return report.to_text(found, colour=colour)
    if output in ("json", "yaml"):
        return _document(report.document(found), output)
    if output in ("wide", "csv", "md"):
        rows = list(report.wide_cells(found, old, new))
        return _tabular((*report.HEADING, *report.POLICY_HEADING), rows, output)
    from gatewright.report.graph import of_difference

    return _drawing(of_difference(found), output)


def explanations(found: Sequence[Told], output: str) -> str:
    """Explanations as text, JSON or YAML."""
    from gatewright.report import explanation as report

    return report.to_text(found) if output == "text" else _document(report.document(found), output)


def _document(document: dict[str, Any], output: str) -> str:
    from gatewright.report import structured

    return structured.to_json(document) if output == "json" else structured.to_yaml(document)


def _tabular(heading: Sequence[str], rows: list[tuple[str, ...]], output: str) -> str:
    from gatewright.report import tabular

    return {"wide": tabular.to_columns, "csv": tabular.to_csv, "md": tabular.to_markdown}[output](heading, rows)


def _drawing(graph: Graph, output: str) -> str:
    if output == "dot":
        from gatewright.report.dot import to_dot as draw
    elif output == "mermaid":
        from gatewright.report.mermaid import to_mermaid as draw
    else:
        from gatewright.report.svg import to_svg as draw
    return draw(graph)
