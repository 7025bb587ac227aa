"""`gatewright doctor`: whether a cluster enforces its network policies, by evidence and by packets."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gatewright.cli.options import output
from gatewright.cli.progress import progress
from gatewright.report.doctor import FORMATS

if TYPE_CHECKING:
    from gatewright.probe.doctor.answer import Answer
    from gatewright.probe.verify.answer import Measured
    from gatewright.probe.verify.measure import Wanted
    from gatewright.sources.kubeconfig import Where


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
@click.option("--verify", is_flag=True, help="Prove it by packets, with pods in a namespace of its own.")
@click.option("--yes", is_flag=True, help="Do not ask before something is created.")
@click.option("--dry-run", is_flag=True, help="Print the objects that --verify would create, as YAML.")
@click.option("--image", metavar="IMAGE", help="Image of the pods.  [default: busybox:1.37]")
@click.option("--max-pairs", type=click.IntRange(1, 2000), help="Pairs of pods, two a node.  [default: 40]")
@click.option(
    "--within", type=click.FloatRange(1, 300), help="Seconds in which a policy has to be in force.  [default: 10]"
)
@output(*FORMATS)
def command(
    context: str | None,
    kubeconfig: str | None,
    node_files: Path | None,
    node: str,
    verify: bool,
    yes: bool,
    dry_run: bool,
    image: str | None,
    max_pairs: int | None,
    within: float | None,
    output: str,
) -> None:
    """Say whether the cluster of the current context enforces network policies, and which parts of them.

    A cluster accepts policies whether or not its network enforces them. The answer is yes, no, partly or unknown, for
    the cluster and each node, with every piece of evidence and with what would change it. It reads nodes, DaemonSets
    and their pods, and the settings of the networking solution that it finds; it changes nothing.

    With --verify it asks, then starts two small pods a node in a namespace of its own, creates policies that deny and
    allow, and tells from connections which node enforces them, and how soon. It removes all of it, also on Ctrl-C;
    what a killed run left, the next one removes.
    Exits with 0 when policies are enforced, with 1 when they are not, partly, or it cannot be told.

    \b
      gatewright doctor
      gatewright doctor --context staging -o json
      gatewright doctor --node-files / --node $(hostname)
      gatewright doctor --verify --dry-run
      gatewright doctor --verify --yes --image registry.example/busybox:1.37
    """
    from gatewright.probe.verify.measure import Wanted
    from gatewright.sources.kubeconfig import Where

    if not (verify or dry_run) and (yes or image or max_pairs or within):
        raise click.UsageError("--yes, --image, --max-pairs and --within are for --verify")
    where, usual = Where(kubeconfig, context), Wanted()
    wanted = Wanted(image or usual.image, max_pairs or usual.pairs, within or usual.within)
    if dry_run:
        _print_objects(where, wanted)
        return
    answer = _examined(where, node_files, node)
    measured = _verified(where, wanted, yes) if verify else None
    click.echo(_rendered(answer, measured, output), nl=False)
    sys.exit(0 if (measured or answer).enforced == "yes" else 1)


def _examined(where: Where, node_files: Path | None, node: str) -> Answer:
    from gatewright.probe.doctor.collect import examine

    with progress("asking the cluster") as say:
        return examine(where, node_files=node_files, node=node, progress=say)


def _rendered(answer: Answer, measured: Measured | None, output: str) -> str:
    from gatewright.probe.doctor.answer import document
    from gatewright.report.doctor import render

    return render(document(answer, measured), output)


def _print_objects(where: Where, wanted: Wanted) -> None:
    import yaml

    from gatewright.probe.verify import objects
    from gatewright.probe.verify.measure import nodes_of, trial

    every_node = nodes_of(where)
    one = trial([node for node, why in every_node.items() if not why], wanted)
    click.echo(yaml.safe_dump_all(list(objects.everything(one)), sort_keys=False), nl=False)


def _verified(where: Where, wanted: Wanted, yes: bool) -> Measured:
    from gatewright.probe.verify.measure import nodes_of, trial, verify

    every_node = nodes_of(where)
    one = trial([node for node, why in every_node.items() if not why], wanted)
    if not yes:
        what = f"{2 * len(one.nodes)} pods ({one.image}) and 4 policies in a new namespace {one.namespace}"
        click.confirm(f"Create {what}, and remove them within a minute?", abort=True, err=True)
    with progress("verifying") as say:
        measured = verify(where, one, every_node, wanted, say)
    for name in measured.left:
        click.echo(f"gatewright: warning: namespace {name} is not gone yet; see: kubectl get ns {name}", err=True)
    return measured
