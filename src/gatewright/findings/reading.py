"""Findings about the input itself: what could not be read, and what stands there twice."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from gatewright.errors import Problem
from gatewright.findings.model import Finding, Place, Severity
from gatewright.findings.rule import Description, Example
from gatewright.objects.origin import Origin

_POLICY = """\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web}
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Ingress]
"""

INVALID = Description(
    "GW001",
    "invalid",
    Severity.ERROR,
    "A document that cannot be read, or that an API server would refuse.",
    "The message is the API server's own, with the field. The object is left out of every other rule: a cluster would\n"
    "not have it either. This finding can be neither ignored nor suppressed.",
    "correct the document",
    Example(_POLICY + "  ingres: []\n", _POLICY + "  ingress: []\n"),
)
REPEATED = Description(
    "GW002",
    "declared-twice",
    Severity.WARNING,
    "An object stands in the input twice, and differs.",
    "The later one counts, as with `kubectl apply`: which that is hangs on the order of the files.",
    "keep one of them",
    Example(_POLICY + "---\n" + _POLICY + "  ingress: [{}]\n", _POLICY + "  ingress: [{}]\n"),
)
DESCRIPTIONS = (INVALID, REPEATED)


def place_of(problem: Problem) -> Place | None:
    """The place in a file that a problem names; None for one that names no line."""
    file, colon, line = problem.where.rpartition(":")
    if not colon or not line.isascii() or not line.isdigit():
        return None
    return Place(origin=Origin(file, int(line)))


def findings(problems: Iterable[Problem], warnings: Iterable[Problem]) -> Iterator[Finding]:
    """What was met in the text of the input."""
    for description, every in ((INVALID, problems), (REPEATED, warnings)):
        for problem in every:
            place = place_of(problem)
            if place is not None:
                yield Finding(description.id, description.severity, problem.what, place, description.remedy)
