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
    """What a run is asked: the rules, and what is known of the cluster beside the input (see `Survey`)."""

    chosen: frozenset[str] = field(default_factory=choose)
    pod_cidrs: tuple[str, ...] = ()
    complete: bool = False
    network: Network | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """What a run found: the findings in order of file and line, and those that are suppressed."""

    findings: tuple[Finding, ...] = ()
    suppressed: tuple[Suppressed, ...] = ()

    def within(self, namespace: str) -> Report:
        """What concerns one namespace: its objects, itself, and files alone; everything for an empty name."""
        if not namespace:
            return self

        def concerns(finding: Finding) -> bool:
            place = finding.place
            own = place.kind == "Namespace" and place.name == namespace
            return own or place.namespace == namespace or not place.kind

        kept = tuple(finding for finding in self.findings if concerns(finding))
        return Report(kept, tuple(one for one in self.suppressed if concerns(one.finding)))

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
    kept = sorted((one for one in standing if one.id in settings.chosen), key=lambda one: one.order)
    return Report(tuple(kept), tuple(sorted(suppressed, key=lambda one: one.finding.order)))


def _of_reading(parsed: Parsed, found: Collection[Finding]) -> list[Finding]:
    """What the reading says, without what a rule says better of the same line."""
    said = {one.place.where for one in found if one.id == REMOVED_VERSION}
    return [one for one in reading.findings(parsed.problems, parsed.warnings) if one.place.where not in said]
