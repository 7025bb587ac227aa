"""`gatewright doctor`: whether a cluster enforces its network policies."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from gatewright.cli.options import output
from gatewright.cli.progress import progress
from gatewright.report.doctor import FORMATS


@click.command("doctor")
@click.option("--context", metavar="NAME", help="The cluster of this context.")
@click.option("--kubeconfig", metavar="FILE", help="The kubeconfig to find the cluster in.")
@click.option(
    "--node-files",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="A folder with files of a node, such as /: its CNI configuration is evidence too.",
)
@click.option("--node", default="", help="The node that these files are of.  [default: the node, if there is one only]")
@output(*FORMATS)
def command(context: str | None, kubeconfig: str | None, node_files: Path | None, node: str, output: str) -> None:
    """Say whether the cluster of the current context enforces network policies, and which parts of them.

    A cluster accepts policies whether or not its network enforces them. The answer is yes, no, partly or unknown, for
    the cluster and each node, with every piece of evidence and with what would change it. It reads nodes, DaemonSets
    and their pods, and the settings of the networking solution that it finds; it changes nothing.
    Exits with 0 when policies are enforced, with 1 when they are not, partly, or it cannot be told.

    \b
      gatewright doctor
      gatewright doctor --context staging -o json
      gatewright doctor --node-files / --node $(hostname)
    """
    import msgspec

    from gatewright.probe.doctor.collect import examine
    from gatewright.report.doctor import render
    from gatewright.sources.kubeconfig import Where

    with progress("asking the cluster") as say:
        answer = examine(Where(kubeconfig, context), node_files=node_files, node=node, progress=say)
    click.echo(render(msgspec.to_builtins(answer), output), nl=False)
    sys.exit(0 if answer.enforced == "yes" else 1)
