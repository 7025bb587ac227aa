"""Findings as SARIF 2.1.0, which code hosts and editors show beside the lines.

Suppressed findings are part of the log, with their reason, so that nobody has to ask why a fault is not shown.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from typing import Any
from urllib.parse import quote

from gatewright.findings.model import Finding, Place, Severity
from gatewright.findings.rule import Description
from gatewright.findings.suppression import Suppressed

LEVELS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "note"}
_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"


def to_sarif(
    findings: Sequence[Finding], suppressed: Sequence[Suppressed] = (), rules: Iterable[Description] = ()
) -> str:
    """One run of one tool. `rules` describe the ids of the findings; those that no finding has are left out."""
    used = {finding.id for finding in findings} | {one.finding.id for one in suppressed}
    described = [text for text in rules if text.id in used]
    index = {text.id: number for number, text in enumerate(described)}
    results = [_result(finding, index) for finding in findings]
    for one in suppressed:
        why = [{"kind": "inSource", "justification": one.reason}]
        results.append({**_result(one.finding, index), "suppressions": why})
    driver = {"name": "gatewright", "version": version("gatewright"), "rules": [_rule(text) for text in described]}
    run = {"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}
    return json.dumps({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2) + "\n"


def _rule(text: Description) -> dict[str, Any]:
    why = " ".join(text.why.split())
    help_text = "\n\n".join(part for part in (why, f"Remedy: {text.remedy}." if text.remedy else "") if part)
    return {
        "id": text.id,
        "name": "".join(word.capitalize() for word in text.name.split("-")),
        "shortDescription": {"text": text.summary},
        "fullDescription": {"text": why or text.summary},
        "help": {"text": help_text or text.summary},
        "defaultConfiguration": {"level": LEVELS[text.severity]},
    }


def _result(finding: Finding, index: dict[str, int]) -> dict[str, Any]:
    place = finding.place
    parts = [part for part in (place.object, place.field, finding.message) if part]
    result: dict[str, Any] = {
        "ruleId": finding.id,
        "level": LEVELS[finding.severity],
        "message": {"text": ": ".join(parts) + (f" Remedy: {finding.remedy}." if finding.remedy else "")},
        "partialFingerprints": {"gatewright/v1": _fingerprint(finding)},
    }
    if finding.id in index:
        result["ruleIndex"] = index[finding.id]
    if location := _location(place):
        result["locations"] = [location]
    related = [
        {**location, "message": {"text": one.message}} for one in finding.related if (location := _location(one.place))
    ]
    if related:
        result["relatedLocations"] = related
    return result


def _location(place: Place) -> dict[str, Any]:
    """The file and line, where there is one, and the object's field."""
    location: dict[str, Any] = {}
    if place.origin:
        artifact = {"uri": ("file://" if place.file.startswith("/") else "") + quote(place.file)}
        location["physicalLocation"] = {"artifactLocation": artifact, "region": {"startLine": max(place.line, 1)}}
    if place.kind:
        name = f"{place.object} {place.field}".rstrip()
        location["logicalLocations"] = [{"fullyQualifiedName": name, "kind": "resource"}]
    return location


def _fingerprint(finding: Finding) -> str:
    """The same while the finding is: by what it speaks of, not by the line, which moves."""
    place = finding.place
    own = (finding.id, place.object or place.file, place.field, finding.message)
    return hashlib.sha256("\0".join(own).encode()).hexdigest()[:32]
