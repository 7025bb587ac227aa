"""The run: every chosen rule asked, suppressions applied, findings in order."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from gatewright.engine.compile import compile_snapshot
from gatewright.engine.snapshot import Snapshot
from gatewright.findings import reading, suppression
from gatewright.findings.model import Finding, Severity
from gatewright.findings.networks import Network
from gatewright.findings.registry import RULES, choose
from gatewright.findings.suppression import Suppressed
from gatewright.findings.survey import Survey
from gatewright.objects.read import Parsed

REMOVED_VERSION = "GW901"


@dataclass(frozen=True, slots=True)
class Settings:
    """What a run is asked: the rules, and what is known of the cluster beside the input (see `Survey`).

    With a `namespace` only what concerns that is reported; the rules still see everything.
    """

    chosen: frozenset[str] = field(default_factory=choose)
    pod_cidrs: tuple[str, ...] = ()
    complete: bool = False
    network: Network | None = None
    namespace: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """What a run found: the findings in order of file and line, and those that are suppressed."""

    findings: tuple[Finding, ...] = ()
    suppressed: tuple[Suppressed, ...] = ()

    def reaches(self, severity: Severity) -> bool:
        """Whether a finding has at least this severity."""
        return any(finding.severity.rank >= severity.rank for finding in self.findings)


def lint(parsed: Parsed, settings: Settings | None = None) -> Report:
    """Everything that the chosen rules find in what was read."""
    settings = settings or Settings()
    compiled = compile_snapshot(Snapshot.of(parsed.objects, pod_cidrs=settings.pod_cidrs))
    survey = Survey(compiled, parsed.others, settings.complete, settings.network)
    found = [finding for ident in sorted(settings.chosen & RULES.keys()) for finding in RULES[ident].findings(survey)]
    found += _of_reading(parsed, found)
    given = list(suppression.suppressions(parsed.objects))
    standing, suppressed = suppression.apply(found, given, RULES.keys(), settings.chosen)
    kept = [one for one in standing if one.id in settings.chosen and _concerns(one, settings.namespace)]
    known = [one for one in suppressed if _concerns(one.finding, settings.namespace)]
    return Report(
        tuple(sorted(kept, key=lambda one: one.order)), tuple(sorted(known, key=lambda one: one.finding.order))
    )


def _concerns(finding: Finding, namespace: str) -> bool:
    """Whether a finding is about a namespace: about its objects, itself, or a file alone."""
    place = finding.place
    own = place.kind == "Namespace" and place.name == namespace
    return not namespace or own or place.namespace == namespace or not place.kind


def _of_reading(parsed: Parsed, found: Collection[Finding]) -> list[Finding]:
    """What the reading says, without what a rule says better of the same line."""
    said = {one.place.where for one in found if one.id == REMOVED_VERSION}
    return [one for one in reading.findings(parsed.problems, parsed.warnings) if one.place.where not in said]
