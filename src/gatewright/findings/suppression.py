"""Suppressions: an annotation on an object that says which finding is meant to be so, and why.

    metadata:
      annotations:
        gatewright/ignore: |
          GW403: the shop is open to everybody
          GW601: tested without policies until TICKET-1

One rule and its reason a line. A suppression without a reason is not in force, and one that suppresses nothing is a
finding itself: it would hide the next fault.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from gatewright.findings.model import Finding, Place, Severity
from gatewright.findings.rule import Description, Example
from gatewright.objects.meta import Object

ANNOTATION = "gatewright/ignore"
_LINE = re.compile(r"(?P<id>[A-Za-z]+[0-9]+)\s*(?::\s*(?P<reason>.*))?")
_POLICY = """\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: web
  annotations:
    gatewright/ignore: "LINE"
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Ingress]
  ingress:
  - from: [{ipBlock: {cidr: 0.0.0.0/0}}]
"""


def _example(fault: str) -> Example:
    return Example(_POLICY.replace("LINE", fault), _POLICY.replace("LINE", "GW403: the shop is open to everybody"))


MALFORMED = Description(
    "GW010",
    "suppression-without-reason",
    Severity.ERROR,
    "A suppression that is not in force: it has no reason, or is not written as `GW403: reason`.",
    "The reason is for whoever meets the suppression later. Without one nobody can tell whether it still holds.",
    "write `ID: reason`, one a line",
    _example("GW403"),
)
UNKNOWN = Description(
    "GW011",
    "suppression-of-nothing-known",
    Severity.ERROR,
    "A suppression of a rule that does not exist, or that cannot be suppressed.",
    "Most often the id is misspelt, and the finding that was meant stands.",
    "write the id of the finding; `gatewright lint --explain all` lists them",
    _example("GW999: the shop is open to everybody"),
)
UNUSED = Description(
    "GW012",
    "unused-suppression",
    Severity.WARNING,
    "A suppression that suppresses nothing.",
    "The fault is mended, or is on another object. Left in place it would hide the next fault of the kind.",
    "take the line out of the annotation",
    _example("GW403: the shop is open to everybody\\nGW601: not yet isolated"),
)
DESCRIPTIONS = (MALFORMED, UNKNOWN, UNUSED)


@dataclass(frozen=True, slots=True)
class Suppression:
    """One line of an annotation: the rule, the reason (empty where there is none), and where it stands."""

    id: str
    reason: str
    place: Place


@dataclass(frozen=True, slots=True)
class Suppressed:
    """A finding that is meant to be so, and why."""

    finding: Finding
    reason: str


def suppressions(objects: Iterable[Object]) -> Iterator[Suppression]:
    """Every line of every annotation. A line that cannot be read has the whole of it as id, and no reason."""
    for item in objects:
        text = item.metadata.annotations.get(ANNOTATION)
        if text is None:
            continue
        place = Place.of(item, "metadata", "annotations", ANNOTATION)
        for line in filter(None, map(str.strip, text.splitlines())):
            found = _LINE.fullmatch(line)
            if found is None:
                yield Suppression(line, "", place)
            else:
                yield Suppression(found["id"].upper(), (found["reason"] or "").strip(), place)


def apply(
    findings: Iterable[Finding], given: Collection[Suppression], known: Collection[str], asked: Collection[str]
) -> tuple[list[Finding], list[Suppressed]]:
    """(findings that stand, those suppressed). `known` can be suppressed at all; `asked` are the rules of this run."""
    in_force = {(one.id, one.place.object): one.reason for one in given if one.reason and one.id in known}
    standing: list[Finding] = []
    suppressed: list[Suppressed] = []
    for finding in findings:
        reason = in_force.get((finding.id, finding.place.object))
        if reason is None:
            standing.append(finding)
        else:
            suppressed.append(Suppressed(finding, reason))
    used = {(one.finding.id, one.finding.place.object) for one in suppressed}
    return standing + list(_faults(given, known, asked, used)), suppressed


def _faults(
    given: Iterable[Suppression], known: Collection[str], asked: Collection[str], used: Collection[tuple[str, str]]
) -> Iterator[Finding]:
    for one in given:
        if not one.reason:
            yield _finding(MALFORMED, one, f"{one.id!r} is not in force: it gives no reason")
        elif one.id not in known:
            yield _finding(UNKNOWN, one, f"{one.id} is no rule that can be suppressed")
        elif one.id in asked and (one.id, one.place.object) not in used:
            yield _finding(UNUSED, one, f"{one.id} finds nothing here to suppress")


def _finding(description: Description, one: Suppression, message: str) -> Finding:
    return Finding(description.id, description.severity, message, one.place, description.remedy)
