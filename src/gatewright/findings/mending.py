"""Mending a run's findings: round by round, until nothing is left that can be mended.

A mended text is read and asked again, since one fix may make another possible or needless. Nothing is written here:
the caller gets the texts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from gatewright.findings.lint import Report, Settings, lint
from gatewright.findings.mend import mend
from gatewright.findings.model import Finding
from gatewright.objects.read import Parsed, parse

ROUNDS = 10
"""More rounds than fixes can build on each other."""
Texts = Callable[[str], str | None]
"""The text of a file by its name; None for what no person wrote: the output of a program, or a pipe."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What mending came to: the new texts by file, the findings mended, what the run finds now.

    `unwritable` are findings with a fix in text that is not a file of its own.
    """

    texts: Mapping[str, str] = field(default_factory=dict)
    done: tuple[Finding, ...] = ()
    report: Report = field(default_factory=Report)
    unwritable: tuple[Finding, ...] = ()


def mended(parsed: Parsed, settings: Settings, texts: Texts, *, unsafe: bool = False) -> Outcome:
    """Mend what can be mended. Without `unsafe` only what changes nothing of what the policies allow."""
    new: dict[str, str] = {}
    done: list[Finding] = []
    unwritable: tuple[Finding, ...] = ()
    report = lint(parsed, settings)
    for _ in range(ROUNDS):
        by_file: dict[str, list[Finding]] = defaultdict(list)
        for finding in report.findings:
            if finding.fix is not None and (finding.fix.safe or unsafe):
                by_file[finding.place.file].append(finding)
        originals = {file: new.get(file) or texts(file) for file in by_file}
        unwritable = tuple(one for file, found in by_file.items() if originals[file] is None for one in found)
        progress = False
        for file, text in originals.items():
            if text is None:
                continue
            result = mend(text, file, by_file[file])
            if result.done:
                new[file], progress = result.text, True
                done += result.done
                parsed = reread(parsed, file, result.text)
        if not progress:
            break
        report = lint(parsed, settings)
    return Outcome(new, tuple(done), report, unwritable)


def reread(parsed: Parsed, file: str, text: str) -> Parsed:
    """What was read, with one file as it is now. An object that another file declares later stays that file's."""

    def is_elsewhere(where: str) -> bool:
        return where.rpartition(":")[0] != file

    now = parse(text, file)
    kept = [item for item in parsed.objects if item.origin is None or item.origin.file != file]
    taken = {item.key for item in kept}
    return replace(
        parsed,
        objects=(*kept, *(item for item in now.objects if item.key not in taken)),
        problems=(*(one for one in parsed.problems if is_elsewhere(one.where)), *now.problems),
        others=(*(one for one in parsed.others if one.origin.file != file), *now.others),
    )
