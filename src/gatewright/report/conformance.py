"""The packet conformance suite as lines on a terminal, as JSON and as JUnit XML. Pure; decides nothing.

Works on plain rows, so that whatever runs cases can print. Of a case that failed every table with a difference is
shown: `.` is allowed and `x` denied where all three agree, three signs are what was expected, what the engine says and
what packets did.
"""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from gatewright.report.lab import table

PASSED, FAILED, SKIPPED, BROKEN = "passed", "failed", "skipped", "broken"
"""What becomes of a case; `broken`: it could not be run to its end."""
SUITE = "gatewright lab conformance"
_WORDS = {PASSED: "ok", FAILED: "FAIL", SKIPPED: "skip", BROKEN: "BROKEN"}
_SIGNS = {"allowed": ".", "denied": "x"}
_MOST_LINES, _MOST_TABLES = 12, 4


@dataclass(frozen=True, slots=True)
class ConnectionRow:
    """One connection of a table: between whom, on which port (`TCP/80`), in which family, by which way, and what of it.

    `expected`, `engine` and `measured` are `allowed`, `denied`, or other words where something went wrong.
    """

    source: str
    destination: str
    port: str
    family: int
    way: str
    expected: str
    engine: str
    measured: str

    @property
    def differs(self) -> bool:
        """Whether the three do not agree."""
        return len({self.expected, self.engine, self.measured}) > 1

    def __str__(self) -> str:
        return (
            f"{self.source} -> {self.destination} {self.port} v{self.family} by {self.way}:"
            f" expected {self.expected}, engine {self.engine}, measured {self.measured}"
        )


@dataclass(frozen=True, slots=True)
class CaseRow:
    """A case and what became of it. `rows` is the whole table of the step that failed, `problems` what is no table."""

    title: str
    outcome: str
    seconds: float
    step: int = 0
    problems: tuple[str, ...] = ()
    rows: tuple[ConnectionRow, ...] = ()

    @property
    def differences(self) -> list[ConnectionRow]:
        """The connections that differ."""
        return [one for one in self.rows if one.differs]

    @property
    def summary(self) -> str:
        """What is wrong, in one line; empty where nothing is."""
        parts = [*self.problems]
        if differing := len(self.differences):
            parts.append(f"{differing} of {len(self.rows)} connections differ")
        where = f"after step {self.step}: " if self.step else ""
        return where + "; ".join(parts) if parts else ""


def as_line(case: CaseRow) -> str:
    """The line that a terminal shows as soon as a case is done."""
    text = f"{_WORDS[case.outcome]:<6} {case.seconds:6.1f} s  {case.title}"
    return f"{text}: {case.summary}" if case.summary else text


def as_details(case: CaseRow) -> str:
    """The tables of a case that failed, where they differ."""
    lines = [f"  {one}" for one in case.differences[:_MOST_LINES]]
    if more := len(case.differences) - _MOST_LINES:
        lines += [f"  and {more} more"] if more > 0 else []
    groups = dict.fromkeys((one.port, one.family, one.way) for one in case.differences)
    for group in list(groups)[:_MOST_TABLES]:
        rows = [one for one in case.rows if (one.port, one.family, one.way) == group]
        lines += ["", f"  {group[0]} v{group[1]} by {group[2]} (expected, engine, measured):"]
        lines += [f"    {line}" for line in _matrix(rows).split("\n")]
    if len(groups) > _MOST_TABLES:
        lines += ["", f"  and {len(groups) - _MOST_TABLES} more tables with differences; -o json has all of them"]
    return "\n".join(lines)


def as_summary(cases: Sequence[CaseRow], seconds: float) -> str:
    """The last line: how many became what."""
    counts = {word: sum(one.outcome == word for one in cases) for word in (PASSED, FAILED, BROKEN, SKIPPED)}
    parts = [f"{count} {word}" for word, count in counts.items() if count or word == PASSED]
    return f"{len(cases)} case{'' if len(cases) == 1 else 's'} in {seconds:.0f} s: {', '.join(parts)}"


def as_json(cases: Sequence[CaseRow]) -> str:
    """Everything, with the sums beside it."""
    result = {
        "suite": SUITE,
        "sums": {word: sum(one.outcome == word for one in cases) for word in (PASSED, FAILED, BROKEN, SKIPPED)},
        "cases": [
            asdict(one) | {"rows": [asdict(row) | {"differs": row.differs} for row in one.rows]} for one in cases
        ],
    }
    return json.dumps(result, indent=2)


def as_junit(cases: Sequence[CaseRow]) -> str:
    """One test case a case: failed, skipped, or an error where it could not be run."""
    counts = {
        "tests": str(len(cases)),
        "failures": str(sum(one.outcome == FAILED for one in cases)),
        "errors": str(sum(one.outcome == BROKEN for one in cases)),
        "skipped": str(sum(one.outcome == SKIPPED for one in cases)),
        "time": f"{sum(one.seconds for one in cases):.2f}",
    }
    root = ET.Element("testsuites", {"name": SUITE, **counts})
    suite = ET.SubElement(root, "testsuite", {"name": SUITE, **counts})
    tags = {FAILED: "failure", BROKEN: "error", SKIPPED: "skipped"}
    for case in cases:
        attributes = {"name": case.title, "classname": SUITE, "time": f"{case.seconds:.2f}"}
        entry = ET.SubElement(suite, "testcase", attributes)
        if tag := tags.get(case.outcome):
            told = ET.SubElement(entry, tag, {"message": case.summary})
            told.text = as_details(case) or None
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _matrix(rows: Iterable[ConnectionRow]) -> str:
    """Sources down, destinations across."""
    cells = {(one.source, one.destination): _sign(one) for one in rows}
    sources = list(dict.fromkeys(source for source, _ in cells))
    destinations = sorted({destination for _, destination in cells})
    heading = ("", *destinations)
    return table([heading, *((one, *(cells.get((one, other), "") for other in destinations)) for one in sources)])


def _sign(row: ConnectionRow) -> str:
    signs = [_SIGNS.get(one, "?") for one in (row.expected, row.engine, row.measured)]
    return "".join(signs) if row.differs else signs[0]
