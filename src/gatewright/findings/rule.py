"""What a lint rule is: its stable id, its words, and the function that finds.

A family of rules is one module of functions under the decorator `rule`. The function's docstring is the rule's own
documentation, so that the page of a rule, `gatewright lint --explain` and the code cannot differ.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gatewright.findings.model import Finding, Fix, Place, Related, Severity

if TYPE_CHECKING:
    from gatewright.findings.survey import Survey

Check = Callable[["Survey"], Iterator["Hit"]]


@dataclass(frozen=True, slots=True)
class Hit:
    """What a rule's function yields: a finding without what the rule says itself. `severity` is set if it differs."""

    place: Place
    message: str
    severity: Severity | None = None
    fix: Fix | None = None
    related: tuple[Related, ...] = ()


@dataclass(frozen=True, slots=True)
class Example:
    """YAML that a rule finds something in, and the same mended: empty where no text can mend it.

    `options` are those of the command line that it needs.
    """

    fault: str
    mended: str
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Description:
    """The words of a rule. `default` is False for one that is asked only where it is selected by its id."""

    id: str
    name: str
    severity: Severity
    summary: str
    why: str
    remedy: str
    example: Example | None = None
    default: bool = True


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule: its words, and the function that asks the engine."""

    text: Description
    check: Check

    def findings(self, survey: Survey) -> Iterator[Finding]:
        """Everything it finds."""
        for hit in self.check(survey):
            severity = hit.severity or self.text.severity
            yield Finding(self.text.id, severity, hit.message, hit.place, self.text.remedy, hit.fix, hit.related)


def rule(
    ident: str, name: str, severity: Severity, *, remedy: str, example: Example, default: bool = True
) -> Callable[[Check], Rule]:
    """Make a rule of a function whose docstring says what it finds, and why that is a fault."""

    def made(check: Check) -> Rule:
        summary, why = documented(check.__doc__)
        return Rule(Description(ident, name, severity, summary, why, remedy, example, default), check)

    return made


def documented(docstring: str | None) -> tuple[str, str]:
    """(first line, the rest) of a docstring."""
    summary, _, rest = inspect.cleandoc(docstring or "").partition("\n")
    return summary, rest.strip()
