"""`gatewright list`: every connection that the policies allow."""

from __future__ import annotations

import click

from gatewright.cli import options
from gatewright.engine.connectivity import connections
from gatewright.report import connections as report


@click.command("list")
@options.files
@options.pod_cidrs
@options.output("table", "json")
def command(filenames: tuple[str, ...], recursive: bool, pod_cidrs: tuple[str, ...], output: str) -> None:
    """Show every connection that the policies allow.

    Between pods and workloads, and with addresses outside. A pod that no policy selects for a direction may do
    anything in it.

    \b
      gatewright list -f manifests/
      kubectl get pods,netpol,ns -A -o yaml | gatewright list -f -
    """
    found = connections(options.load_compiled(filenames, recursive, pod_cidrs))
    click.echo(report.to_json(found) if output == "json" else report.to_text(found), nl=False)
