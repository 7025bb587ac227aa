"""Findings as workflow commands of GitHub Actions: annotations at the file and line of a pull request."""

from __future__ import annotations

from collections.abc import Iterable

from gatewright.findings.model import Finding, Severity

COMMANDS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "notice"}


def to_github(findings: Iterable[Finding]) -> str:
    """A command each: `::error file=web.yaml,line=3,title=GW301 unknown...::message`."""
    return "".join(f"{_command(finding)}\n" for finding in findings)


def _command(finding: Finding) -> str:
    place = finding.place
    properties = {"file": place.file, "line": str(place.line)} if place.origin else {}
    properties["title"] = " ".join(part for part in (finding.id, place.object) if part)
    written = ",".join(f"{name}={_property(value)}" for name, value in properties.items())
    parts = [part for part in (place.field, finding.message) if part]
    remedy = f"\nRemedy: {finding.remedy}" if finding.remedy else ""
    return f"::{COMMANDS[finding.severity]} {written}::{_data(': '.join(parts) + remedy)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
