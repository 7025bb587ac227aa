"""`gatewright lab conformance`: the packet conformance suite. Parses, runs cases, prints each as it is done."""

from __future__ import annotations

import contextlib
import sys
import time
from typing import TYPE_CHECKING

import click

from gatewright.cli.progress import progress

if TYPE_CHECKING:
    from gatewright.probe.conformance.lab import LabCluster
    from gatewright.probe.conformance.model import Case
    from gatewright.report.conformance import CaseRow


@click.command()
@click.option("--case", "numbers", type=int, multiple=True, metavar="NUMBER", help="Only this case; may be repeated.")
@click.option("-k", "words", multiple=True, metavar="WORD", help="Only cases with this in their name; may be repeated.")
@click.option("--list", "listing", is_flag=True, help="Print the cases and run none.")
@click.option("--name", metavar="LAB", help="Run in this lab, which is up.  [default: in one of its own, taken down]")
@click.option("--nodes", type=click.IntRange(1), default=3, show_default=True, help="Nodes of the lab of its own.")
@click.option("-o", "--output", type=click.Choice(["text", "json", "junit"]), default="text", show_default=True)
def conformance(
    numbers: tuple[int, ...], words: tuple[str, ...], listing: bool, name: str | None, nodes: int, output: str
) -> None:
    """Run the packet conformance cases: what every enforcer of NetworkPolicy is held to.

    Each case makes objects through the API and opens every connection between nine pods on the nodes, by pod address
    and through Services, over IPv4 and IPv6, TCP, UDP and SCTP. What packets do must be what the case expects and what
    the engine says. Exits with 1 when a case fails, with 2 when one could not be run.
    """
    from gatewright.report import conformance as report

    chosen = _chosen(numbers, words)
    if listing:
        for case in chosen:
            click.echo(f"{case.title}{_needs(case)}")
        return
    started = time.monotonic()
    rows: list[CaseRow] = []
    for agents in dict.fromkeys(case.agents for case in chosen) if name is None else [""]:
        group = [case for case in chosen if name is not None or case.agents == agents]
        with contextlib.ExitStack() as stack:
            with progress("making a lab ready"):
                cluster = stack.enter_context(_cluster(name, agents, nodes))
            rows += [_run(cluster, case, output) for case in group]
    rows.sort(key=lambda row: row.title)
    if output == "text":
        click.echo(report.as_summary(rows, time.monotonic() - started))
    else:
        click.echo({"json": report.as_json, "junit": report.as_junit}[output](rows))
    outcomes = {row.outcome for row in rows}
    sys.exit(1 if report.FAILED in outcomes else 2 if report.BROKEN in outcomes else 0)


def _chosen(numbers: tuple[int, ...], words: tuple[str, ...]) -> list[Case]:
    from gatewright.probe.conformance.reading import every_case

    cases = every_case()
    if unknown := [number for number in numbers if number not in {case.number for case in cases}]:
        raise click.UsageError(f"no case has the number {unknown[0]}; see --list")
    found = [
        case
        for case in cases
        if not (numbers or words) or case.number in numbers or any(word.lower() in case.name.lower() for word in words)
    ]
    if not found:
        raise click.UsageError(f"no case has {' or '.join(words)} in its name; see --list")
    return found


def _needs(case: Case) -> str:
    needs = [f"{case.nodes} nodes"] if case.nodes > 1 else []
    needs += [f"agents with {case.agents}"] if case.agents else []
    return f" (needs {', '.join(needs)})" if needs else ""


def _cluster(name: str | None, agents: str, nodes: int) -> contextlib.AbstractContextManager[LabCluster]:
    from gatewright.probe.conformance.lab import of_lab, own_lab

    return of_lab(name) if name is not None else own_lab(agents, nodes)


def _run(cluster: LabCluster, case: Case, output: str) -> CaseRow:
    """Run one case, and say what became of it: on standard error where standard output is for a document."""
    from gatewright.probe.conformance.running import Patience, run_case
    from gatewright.report.conformance import as_details, as_line

    with progress(case.title):
        row = run_case(cluster, case, Patience()).row
    click.echo(as_line(row), err=output != "text")
    if row.differences:
        click.echo(as_details(row), err=output != "text")
    return row
