"""Rows of cells for people (aligned columns, Markdown) and for programs (CSV)."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

from gatewright.report.lab import table

Cells = Sequence[str]


def to_columns(heading: Cells, rows: Iterable[Cells]) -> str:
    """Columns as kubectl aligns them, `-` for an empty cell; nothing but the heading where there is no row."""
    filled = [tuple(cell or "-" for cell in row) for row in rows]
    return table([tuple(word.upper() for word in heading), *filled]) + "\n"


def to_csv(heading: Cells, rows: Iterable[Cells]) -> str:
    """RFC 4180 with a header line and `\\n`; cells with commas, quotes or line ends are quoted."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(word.replace(" ", "_") for word in heading)
    writer.writerows(rows)
    return stream.getvalue()


def to_markdown(heading: Cells, rows: Iterable[Cells]) -> str:
    """A table as GitHub reads it. What Markdown would take for its own is escaped."""
    lines = [[word.capitalize() for word in heading], ["---"] * len(heading), *([_plain(c) for c in r] for r in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _plain(cell: str) -> str:
    return "".join(f"\\{one}" if one in "\\`*_[]<>|#~" else one for one in cell)
