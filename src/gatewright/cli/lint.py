"""`gatewright lint`: what is wrong or doubtful about policies, and the mending of what is certain."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from difflib import unified_diff

import click

from gatewright.cli import options
from gatewright.cli.given import Sources, any_sources
from gatewright.cli.manifests import Place
from gatewright.cli.progress import progress
from gatewright.errors import InvalidInput
from gatewright.findings.lint import Settings, lint
from gatewright.findings.mending import Outcome, mended
from gatewright.findings.model import Finding, Severity
from gatewright.findings.networks import NETWORKS
from gatewright.findings.reading import place_of
from gatewright.findings.registry import DESCRIPTIONS, choose, explained
from gatewright.objects.read import Parsed
from gatewright.report import findings as report
from gatewright.report import rules
from gatewright.sources.rewrite import text_of, write

NO_NEWLINE = "\n\\ No newline at end of file\n"
FAIL_ON = ("error", "warning", "never")


@click.command("lint")
@click.argument("paths", metavar="[PATH]...", nargs=-1)
@any_sources
@click.option("--select", multiple=True, metavar="ID", help="Ask only these rules: GW101, GW1, ALL.")
@click.option("--extend-select", multiple=True, metavar="ID", help="Ask these rules, too.")
@click.option("--ignore", multiple=True, metavar="ID", help="Do not ask these rules; the longer ID counts.")
@click.option(
    "--fail-on",
    type=click.Choice(FAIL_ON),
    default="error",
    show_default=True,
    help="Exit with 1 for findings of at least this severity.",
)
@click.option("--fix", is_flag=True, help="Mend what changes nothing of what is allowed, in the files themselves.")
@click.option("--unsafe-fixes", is_flag=True, help="Mend also what changes what is allowed.")
@click.option("--diff", is_flag=True, help="Show what --fix would change, and write nothing.")
@click.option("--network", type=click.Choice(list(NETWORKS)), help="The network that is to enforce the policies.")
@click.option("--complete", is_flag=True, help="Take the input for the whole cluster: what it lacks does not exist.")
@click.option("--explain", "topic", metavar="ID", help="Print a rule, its reason and an example; ALL lists them.")
@click.option("-n", "--namespace", help="Only findings of this namespace.")
@click.option("-A", "--all-namespaces", is_flag=True, help="Every namespace, as without -n; overrides it.")
@options.pod_cidrs
@options.output(*report.FORMATS)
def command(
    paths: tuple[str, ...],
    given: Sources,
    select: tuple[str, ...],
    extend_select: tuple[str, ...],
    ignore: tuple[str, ...],
    fail_on: str,
    fix: bool,
    unsafe_fixes: bool,
    diff: bool,
    network: str | None,
    complete: bool,
    topic: str | None,
    namespace: str | None,
    all_namespaces: bool,
    pod_cidrs: tuple[str, ...],
    output: str,
) -> None:
    """Find what is wrong or doubtful about policies: one line a finding, with file and line.

    PATH is read as with -f, and stands before what -f and -k name.

    Rules ask the engine, not the text: what a policy selects, whom it names, what others allow beside it. Where the
    input is not the whole cluster, what is absent from it may exist elsewhere: such findings are infos, or not made.
    An object suppresses a finding by the annotation gatewright/ignore: "GW403: the reason why".

    \b
      gatewright lint -R manifests/
      gatewright lint -f manifests/ --fix
      gatewright lint -f manifests/ -o sarif > findings.sarif
      gatewright lint --live --network calico
      gatewright lint --explain GW202
    """
    if topic is not None:
        found = explained(topic)
        click.echo(rules.to_list(found) if len(found) > 1 else rules.to_text(found), nl=False)
        return
    named = (*map(Place, paths), *given.manifests.places)
    given = replace(given, manifests=replace(given.manifests, places=named))
    if not (named or given.where):
        raise click.UsageError("nothing to read: name manifests, or a cluster with --live")
    chosen = choose(select, ignore, extend_select)
    parsed = given.read(everything=all_namespaces)
    if parsed.problems and not parsed.objects and not any(map(place_of, parsed.problems)):
        raise InvalidInput(parsed.problems)
    unread = _tell(parsed)
    whole = complete or (given.where is not None and not unread)
    within = "" if all_namespaces else namespace or ""
    settings = Settings(chosen, pod_cidrs, whole, NETWORKS[network] if network else None, within)
    code = 2 if unread and not given.keep_going and _stopped(parsed) else 0
    if diff:
        sys.exit(code or _show(_mended(parsed, settings, unsafe_fixes)))
    if fix or unsafe_fixes:
        outcome = _mended(parsed, settings, unsafe_fixes)
        for file, text in outcome.texts.items():
            write(file, text)
        _refuse(outcome.unwritable)
    else:
        with progress("asking the rules"):
            outcome = Outcome(report=lint(parsed, settings))
    _print(outcome, output)
    failed = fail_on != "never" and outcome.report.reaches(Severity(fail_on))
    sys.exit(code or int(failed))


def _tell(parsed: Parsed) -> bool:
    """Say what concerns no line of a document, and whether there is any: then something was not read."""
    told = [problem for problem in (*parsed.problems, *parsed.warnings) if place_of(problem) is None]
    for problem in dict.fromkeys(told):
        mark = "" if problem in parsed.problems else "warning: "
        click.echo(f"gatewright: {mark}{problem}", err=True)
    return bool(told)


def _stopped(parsed: Parsed) -> bool:
    return any(place_of(problem) is None for problem in parsed.problems)


def _mended(parsed: Parsed, settings: Settings, unsafe: bool) -> Outcome:
    with progress("mending"):
        return mended(parsed, settings, text_of, unsafe=unsafe)


def _show(outcome: Outcome) -> int:
    """Print the changes as a patch; 1 where there are some."""
    for file, text in sorted(outcome.texts.items()):
        patch = unified_diff(_lines(text_of(file) or ""), _lines(text), file, file)
        click.echo("".join(line if line.endswith("\n") else f"{line}{NO_NEWLINE}" for line in patch), nl=False)
    _refuse(outcome.unwritable)
    count = len(outcome.done)
    click.echo(f"Would mend {count} finding{'' if count == 1 else 's'}.", err=True)
    return int(bool(outcome.texts))


def _lines(text: str) -> list[str]:
    """The lines as patches know them: `\\n` alone ends one."""
    return re.findall(r"[^\n]*\n|[^\n]+", text)


def _refuse(findings: tuple[Finding, ...]) -> None:
    for finding in findings:
        what = "is not mended: the text was made by a program, or came through a pipe; mend its source"
        click.echo(f"gatewright: {finding.place.where}: {finding.id} {what}", err=True)


def _print(outcome: Outcome, output: str) -> None:
    found, suppressed = outcome.report.findings, outcome.report.suppressed
    click.echo(report.render(found, output, suppressed, DESCRIPTIONS.values()), nl=False)
    done = f"{len(outcome.done)} mended; " if outcome.done else ""
    mendable = sum(1 for one in found if one.fix is not None and one.fix.safe)
    hint = f" ([*] {mendable} can be mended with --fix)" if mendable else ""
    click.echo(f"{done}{report.summary(found, len(suppressed))}{hint}", err=True)
