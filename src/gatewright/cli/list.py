"""`gatewright list`: every connection that the policies allow, or those that somebody asks about."""

from __future__ import annotations

import click

from gatewright.cli import options
from gatewright.cli.asked import Asked, filters
from gatewright.cli.enforced import opening, require_enforced
from gatewright.cli.given import Sources, sources
from gatewright.cli.progress import progress
from gatewright.engine.view import Answer
from gatewright.report import formats


@click.command("list")
@sources
@options.by
@filters
@options.pod_cidrs
@require_enforced
@options.output(*options.FORMATS)
def command(
    given: Sources, by: str, asked: Asked, pod_cidrs: tuple[str, ...], require_enforced: bool, output: str
) -> None:
    """Show every connection that the policies allow.

    Between pods and workloads, and with addresses outside. A pod that no policy selects for a direction may do
    anything in it. NAME is what `explain` takes: NAME, NAMESPACE/NAME, KIND/NAME, an address, or key=value labels;
    options that take one may be repeated.

    \b
      gatewright list -f manifests/
      gatewright list -f manifests/ --to deploy/db --port 5432
      gatewright list -f manifests/ --focus web -o svg > web.svg
      kubectl get all,netpol,ns -A -o yaml | gatewright list -f -
    """
    loaded = given.load(everything=asked.everything)
    lowest = opening(given, require_enforced)
    compiled = loaded.compiled(pod_cidrs)
    kept = asked.filter((compiled,), loaded.namespace)
    with progress("finding what is allowed"):
        answer = options.answer(compiled, by)
        if kept:
            answer = Answer(compiled, kept.apply(answer.view))
        text = formats.connections(answer, output)
    if not answer.view.rows:
        nobody = "No pod or workload was read, so no connections."
        click.echo("No connections." if compiled.endpoints else nobody, err=True)
    click.echo(text, nl=False)
    loaded.finish(lowest)
