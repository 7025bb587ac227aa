"""Findings as JUnit XML, which build servers show as test cases.

Each finding is a failed case, named by its id and its object; the file is its class. A run without findings is one case
that passes, since build servers take a report without cases for a run that did not happen.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Sequence

from gatewright.findings.model import Finding


def to_junit(findings: Sequence[Finding], suite: str = "gatewright lint") -> str:
    """One suite of the run's findings."""
    counts = {"tests": str(max(len(findings), 1)), "failures": str(len(findings)), "errors": "0", "skipped": "0"}
    root = ET.Element("testsuites", {"name": suite, **counts})
    cases = ET.SubElement(root, "testsuite", {"name": suite, **counts})
    for finding in findings:
        _case(cases, finding)
    if not findings:
        ET.SubElement(cases, "testcase", {"name": "no findings", "classname": suite})
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _case(cases: ET.Element, finding: Finding) -> None:
    place = finding.place
    name = " ".join(part for part in (finding.id, place.object, place.field) if part)
    attributes = {"name": _clean(name), "classname": _clean(place.file or place.object)}
    if place.origin:
        attributes |= {"file": _clean(place.file), "line": str(place.line)}
    case = ET.SubElement(cases, "testcase", attributes)
    failure = ET.SubElement(case, "failure", {"type": str(finding.severity), "message": _clean(finding.message)})
    remedy = f"\nremedy: {finding.remedy}" if finding.remedy else ""
    failure.text = _clean(f"{place.where}: {finding.id} {finding.message}{remedy}")


def _clean(text: str) -> str:
    """The text without characters that XML cannot hold."""
    return "".join(one if one in "\t\n\r" or " " <= one <= "\ud7ff" or one >= "\ue000" else "\ufffd" for one in text)
