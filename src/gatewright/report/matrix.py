"""The measured matrix as a table, as JSON and as JUnit XML. Pure; decides nothing but how it looks.

Works on plain rows (`MatrixRow`), so that whatever measures can print.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from xml.sax.saxutils import quoteattr

from gatewright.report.lab import table


@dataclass(frozen=True, slots=True)
class MatrixRow:
    """One connection: between whom, on which port, what was predicted, what was measured, and who decided.

    `seconds` is how long the measurement took. `agrees` is None where packets cannot tell. `reached` says whether a
    packet got through.
    """

    source: str
    destination: str
    address: str
    port: str
    predicted: str
    measured: str
    reached: bool
    agrees: bool | None
    policies: tuple[str, ...] = ()
    detail: str = ""
    seconds: float = 0.0


def as_table(rows: Sequence[MatrixRow], *, enforces: bool, width: int | None = None, times: bool = False) -> str:
    """A table with the differences first and marked, and a line that sums up; with `times`, how long each took.

    For a terminal of `width` columns longer lines of the table are cut, and end in an ellipsis to say so.
    """
    heading = ("", "FROM", "TO", "PORT", "PREDICTED", "MEASURED", "POLICY")
    lines = [heading, *(_line(row, enforces) for row in rows)]
    if times:
        took = ("TIME", *(f"{row.seconds * 1000:.0f} ms" for row in rows))
        lines = [(*line[:-1], time, line[-1]) for line, time in zip(lines, took, strict=True)]
    marked = any(line[0] for line in lines)
    body = table(lines if marked else [line[1:] for line in lines])
    if width:
        body = "\n".join(line if len(line) <= width else line[: width - 1] + "…" for line in body.split("\n"))
    return f"{body}\n\n{summary(rows, enforces=enforces)}" if rows else summary(rows, enforces=enforces)


def summary(rows: Sequence[MatrixRow], *, enforces: bool) -> str:
    """`N connections: N open, N denied, N differ`, and what that means on a network that does not enforce."""
    reached = sum(row.reached for row in rows)
    unknown = sum(row.agrees is None for row in rows)
    differ = sum(row.agrees is False for row in rows)
    stopped = sum(not row.reached and row.measured in ("dropped", "rejected") for row in rows)
    text = f"{len(rows)} connection{'' if len(rows) == 1 else 's'}: {reached} open, {stopped} denied, {differ} differ"
    if unknown:
        text += f", {unknown} cannot be judged"
    if not enforces:
        forbidden = sum(row.reached and row.agrees is False for row in rows)
        text += (
            f"\nNothing enforces policies on this network: {forbidden} connection{'' if forbidden == 1 else 's'}"
            " that NetworkPolicies forbid reached their destination."
        )
    return text


def as_json(rows: Sequence[MatrixRow], *, enforces: bool) -> str:
    """The rows as a JSON object with the sums beside them."""
    differ = sum(row.agrees is False for row in rows)
    result = {"enforces": enforces, "connections": len(rows), "differ": differ, "rows": [asdict(row) for row in rows]}
    return json.dumps(result, indent=2)


def as_junit(rows: Sequence[MatrixRow], *, enforces: bool, suite: str = "gatewright lab probe") -> str:
    """One test case a connection, failed where prediction and packet differ, skipped where packets cannot tell."""
    failures = sum(row.agrees is False for row in rows)
    skipped = sum(row.agrees is None for row in rows)
    counts = f'tests="{len(rows)}" failures="{failures}" errors="0" skipped="{skipped}"'
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f"<testsuite name={quoteattr(suite)} {counts}>",
    ]
    for row in rows:
        name = quoteattr(f"{row.source} => {row.destination} : {row.port}")
        said = quoteattr(f"predicted {row.predicted}, measured {_measured(row)}; {_policies(row, enforces)}")
        inner = f"<failure message={said}/>" if row.agrees is False else "<skipped/>" if row.agrees is None else ""
        took = f' time="{row.seconds:.4f}"' if row.seconds else ""
        lines.append(f"  <testcase classname={quoteattr(row.source)} name={name}{took}>{inner}</testcase>")
    return "\n".join([*lines, "</testsuite>"])


def _line(row: MatrixRow, enforces: bool) -> tuple[str, ...]:
    names = (row.source, row.destination, row.port)
    return (_mark(row, enforces), *names, row.predicted, _measured(row), _policies(row, enforces))


def _mark(row: MatrixRow, enforces: bool) -> str:
    if row.agrees is False:
        return "DIFFERS" if enforces or not row.reached else "NOT ENFORCED"
    return ""


def _measured(row: MatrixRow) -> str:
    return f"{row.measured} ({row.detail})" if row.measured in ("error", "unknown") and row.detail else row.measured


def _policies(row: MatrixRow, enforces: bool) -> str:
    names = ", ".join(row.policies)
    if not enforces and row.agrees is False and row.reached:
        return f"forbidden by {names}, reached"
    return names or "-"
