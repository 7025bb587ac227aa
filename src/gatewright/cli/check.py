"""`gatewright check`: whether policies keep a traffic model true, whose fault it is where not, and what mends it."""

from __future__ import annotations

import click

from gatewright.cli import options, traffic
from gatewright.cli.enforced import opening, require_enforced
from gatewright.cli.given import Sources, sources
from gatewright.cli.progress import progress
from gatewright.engine.snapshot import Snapshot
from gatewright.intent.bind import bind
from gatewright.intent.check import check
from gatewright.report import check as report


@click.command("check")
@click.argument("model", metavar="TRAFFIC.YAML")
@sources
@click.option("--exact", is_flag=True, help="Fail also what is allowed and no flow covers.")
@options.pod_cidrs
@require_enforced
@options.output(*report.FORMATS)
def command(
    model: str, given: Sources, exact: bool, pod_cidrs: tuple[str, ...], require_enforced: bool, output: str
) -> None:
    """Say whether manifests, or a cluster, keep a traffic model true.

    Every flow must be allowed, calls to DNS included, and nothing that stands under never. Each failure names the
    policy and line at fault and the smallest change that mends it; the change was tried in memory, and breaks nothing
    else. Exits with 0 when the model holds, else with 1.

    \b
      gatewright check traffic.yaml -f manifests/
      gatewright check traffic.yaml --live --exact
      gatewright check traffic.yaml -f manifests/ -o sarif > traffic.sarif
    """
    wanted = traffic.load(model)
    loaded = traffic.beside(wanted, given)
    lowest = opening(given, require_enforced)
    snapshot = Snapshot.of(loaded.objects, pod_cidrs=pod_cidrs)
    with progress("checking"):
        found = check(bind(wanted, snapshot), snapshot, exact=exact)
    click.echo(report.render(found, output, model), nl=False)
    loaded.finish(1 if found.failures else lowest)
