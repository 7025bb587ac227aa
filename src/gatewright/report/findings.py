"""Findings for people (a line each, columns, Markdown) and for programs (CSV, and a document of a versioned schema)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from gatewright.findings.model import Finding, Place, Severity
from gatewright.findings.rule import Description
from gatewright.findings.suppression import Suppressed
from gatewright.report import structured, tabular

SCHEMA = "gatewright/findings/v1"
FORMATS = ("table", "wide", "json", "yaml", "csv", "md", "sarif", "junit", "github")
HEADING = ("where", "id", "severity", "object", "field", "message", "remedy", "fix")


def render(
    findings: Sequence[Finding],
    output: str,
    suppressed: Sequence[Suppressed] = (),
    rules: Iterable[Description] = (),
    name: str = "gatewright lint",
) -> str:
    """The findings in any of `FORMATS`. `rules` describe their ids, `name` is what JUnit calls the run."""
    if output == "sarif":
        from gatewright.report.sarif import to_sarif

        return to_sarif(findings, suppressed, rules)
    if output == "junit":
        from gatewright.report.junit import to_junit

        return to_junit(findings, name)
    if output == "github":
        from gatewright.report.github import to_github

        return to_github(findings)
    if output in ("json", "yaml"):
        made = document(findings, suppressed)
        return structured.to_json(made) if output == "json" else structured.to_yaml(made)
    if output == "table":
        return to_text(findings)
    write = {"wide": tabular.to_columns, "csv": tabular.to_csv, "md": tabular.to_markdown}[output]
    return write(HEADING, cells(findings))


def to_text(findings: Iterable[Finding]) -> str:
    """A line each: `file:line: GW101 warning: NetworkPolicy shop/web: spec.podSelector: ...`; [*] can be mended."""
    return "".join(f"{_line(finding)}\n" for finding in findings)


def _line(finding: Finding) -> str:
    place = finding.place
    where = f"{place.where}: " if place.origin else ""
    parts = [part for part in (place.object, place.field) if part]
    mark = "[*] " if finding.fix and finding.fix.safe else ""
    return f"{where}{finding.id} {finding.severity}: {mark}{': '.join([*parts, finding.message])}"


def summary(findings: Sequence[Finding], suppressed: int = 0) -> str:
    """How many there are, in one line: `3 findings: 1 error, 2 warnings; 1 suppressed`."""
    counts = Counter(finding.severity for finding in findings)
    parts = [_counted(counts[severity], str(severity)) for severity in reversed(Severity) if counts[severity]]
    text = f"{_counted(len(findings), 'finding')}: {', '.join(parts)}" if findings else "no findings"
    return f"{text}; {suppressed} suppressed" if suppressed else text


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" + ("" if count == 1 or noun == "info" else "s")


def cells(findings: Iterable[Finding]) -> Iterator[tuple[str, ...]]:
    """A row of `HEADING` for each."""
    for finding in findings:
        place = finding.place
        yield (
            str(place.origin or ""),
            finding.id,
            str(finding.severity),
            place.object,
            place.field,
            finding.message,
            finding.remedy,
            finding.fix.what if finding.fix else "",
        )


def document(findings: Sequence[Finding], suppressed: Iterable[Suppressed] = ()) -> dict[str, Any]:
    """A document of schema `gatewright/findings/v1`."""
    counts = Counter(finding.severity for finding in findings)
    return {
        "schema": SCHEMA,
        "summary": {severity.value: counts[severity] for severity in reversed(Severity)},
        "findings": [_item(finding) for finding in findings],
        "suppressed": [{**_item(one.finding), "reason": one.reason} for one in suppressed],
    }


def _item(finding: Finding) -> dict[str, Any]:
    item: dict[str, Any] = {
        "id": finding.id,
        "severity": finding.severity.value,
        "message": finding.message,
        **_place(finding.place),
    }
    if finding.remedy:
        item["remedy"] = finding.remedy
    if finding.fix:
        item["fix"] = {"what": finding.fix.what, "safe": finding.fix.safe}
    if finding.related:
        item["related"] = [{"message": one.message, **_place(one.place)} for one in finding.related]
    return item


def _place(place: Place) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if place.kind:
        found["object"] = {"kind": place.kind, "name": place.name}
        if place.namespace:
            found["object"]["namespace"] = place.namespace
    if place.path:
        found["field"] = place.field
    if place.origin:
        found |= {"file": place.file, "line": place.line}
    return found
