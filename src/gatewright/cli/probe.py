"""`gatewright probe`: the measured matrix of a cluster, beside the predicted one."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING

import click

from gatewright.cli.progress import bar, progress

if TYPE_CHECKING:
    from gatewright.probe.live.choose import Question
    from gatewright.probe.live.run import How, Plan
    from gatewright.probe.matrix import Row
    from gatewright.report.matrix import MatrixRow
    from gatewright.sources.kubeconfig import Where

PATIENCE = 5.0
"""Seconds that may be spent on asking whether the cluster enforces."""


@click.command("probe")
@click.option("--context", metavar="NAME", help="The cluster of this context.")
@click.option("--kubeconfig", metavar="FILE", help="The kubeconfig to find the cluster in.")
@click.option("--from", "sources", multiple=True, metavar="NAME", help="Only from the pods of NAME.")
@click.option("--to", "destinations", multiple=True, metavar="NAME", help="Only to the pods of NAME.")
@click.option("--port", "ports", multiple=True, metavar="[PROTO/]PORT", help="This port, instead of the declared ones.")
@click.option("--also", is_flag=True, help="The ports of --port besides the declared ones.")
@click.option("-n", "--namespace", help="Only pods of this namespace.  [default: all but kube-system]")
@click.option("--family", type=click.Choice(["4", "6", "both"]), default="4", show_default=True, help="Address family.")
@click.option("--addresses", "only", flag_value="addresses", help="Only by pod address.")
@click.option("--services", "only", flag_value="services", help="Only through Services.")
@click.option(
    "--through",
    type=click.Choice(["stand-ins", "pods", "inside"]),
    help="stand-ins: from pods that are made and removed again; pods: from the existing containers; inside: from the "
    "pods' networks, of a lab of this machine.  [default: stand-ins, lab: inside]",
)
@click.option("--image", metavar="IMAGE", help="Image of the stand-ins.  [default: busybox:1.37]")
@click.option("--yes", is_flag=True, help="Do not ask before stand-ins are created.")
@click.option("--parallel", type=click.IntRange(1, 64), default=8, show_default=True, help="Pods that connect at once.")
@click.option("--max", "most", type=click.IntRange(1), default=20000, show_default=True, help="Connections, at most.")
@click.option(
    "--timeout", type=click.FloatRange(0.1, 30), help="Seconds of one attempt of two.  [default: 1, lab: 0.4]"
)
@click.option("-o", "--output", type=click.Choice(["table", "json", "junit"]), default="table", show_default=True)
def command(
    context: str | None,
    kubeconfig: str | None,
    sources: tuple[str, ...],
    destinations: tuple[str, ...],
    ports: tuple[str, ...],
    also: bool,
    namespace: str | None,
    family: str,
    only: str | None,
    through: str | None,
    image: str | None,
    yes: bool,
    parallel: int,
    most: int,
    timeout: float | None,
    output: str,
) -> None:
    """Open real connections between the pods of a cluster, and compare each with what the policies say.

    Every pair of pods on the ports that they declare, by address and through Services. Open and refused got through,
    dropped and rejected did not; where packets cannot tell, the result is unknown. NAME is what `list` takes. In a
    cluster they are opened from stand-ins: pods with the namespace, labels and node of the source, which never become
    ready and are removed again, also on Ctrl-C. A lab of this machine is measured from inside of its pods.
    Exits with 0 when all agree, with 1 when a packet and a prediction differ.

    \b
      gatewright probe -n shop
      gatewright probe --from deploy/web --to svc/db --port 3306
      gatewright probe --through pods --context staging -o junit > probe.xml
    """
    from gatewright.probe.doctor.labs import lab_of
    from gatewright.probe.leastpods import DEFAULT_IMAGE
    from gatewright.probe.live.choose import Question
    from gatewright.probe.live.run import How, Means
    from gatewright.probe.matrix import parse_port
    from gatewright.sources.kubeconfig import Where

    try:
        wanted = tuple(parse_port(text, sctp=True) for text in ports)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--port") from error
    where = Where(kubeconfig, context)
    lab = lab_of(where)
    question = Question(
        sources,
        destinations,
        namespace,
        wanted,
        only_ports=bool(wanted) and not also,
        families={"4": (4,), "6": (6,), "both": (4, 6)}[family],
        addresses=only != "services",
        services=only != "addresses",
        timeout=timeout or (0.4 if lab else 1.0),
        most=most,
    )
    means = Means(through) if through else Means.INSIDE if lab else Means.STAND_INS
    if means is Means.INSIDE and lab is None:
        raise click.BadParameter("the cluster is no lab of this machine", param_hint="--through inside")
    how = How(means, image or DEFAULT_IMAGE, parallel, lab=lab.name if lab and means is Means.INSIDE else "")
    rows = _measured(where, question, how, yes)
    _show(rows, _enforces(where), output)


def _measured(where: Where, question: Question, how: How, yes: bool) -> tuple[Row, ...]:
    from gatewright.probe.live.run import Means, measure, plan
    from gatewright.sources.cluster import default_namespace, read_cluster

    with progress("reading the cluster") as say:
        parsed = read_cluster(where, everything=True, progress=say)
        one = plan(parsed.require(), question, default_namespace(where), how)
    if how.means is Means.STAND_INS and not yes:
        _confirm(one, how)
    with bar("opening connections", len(one.connections)) as told:
        return measure(where, one, question, how, told)


def _confirm(one: Plan, how: How) -> None:
    spaces = sorted({source.namespace for source in one.sources})
    where = f"namespace {spaces[0]}" if len(spaces) == 1 else f"{len(spaces)} namespaces"
    what = f"{len(one.sources)} pods ({how.image}) with the labels of existing ones in {where}"
    click.confirm(f"Create {what}, and remove them at the end?", abort=True, err=True)


def _enforces(where: Where) -> bool:
    """Whether the cluster may be enforcing: what nobody enforces is told in other words."""
    from gatewright.probe.doctor.collect import examine

    with progress("asking whether policies are enforced"):
        return examine(where, patience=PATIENCE).enforced != "no"


def _show(rows: tuple[Row, ...], enforces: bool, output: str) -> None:
    from gatewright.report.matrix import as_json, as_junit, as_table

    shown = [_row(row) for row in rows]
    if output == "table":
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        click.echo(as_table(shown, enforces=enforces, width=width, times=True))
    elif output == "json":
        click.echo(as_json(shown, enforces=enforces))
    else:
        click.echo(as_junit(shown, enforces=enforces, suite="gatewright probe"))
    sys.exit(1 if any(row.agrees is False for row in shown) else 0)


def _row(row: Row) -> MatrixRow:
    from gatewright.probe.matrix import Agreement
    from gatewright.report.matrix import MatrixRow

    one = row.connection
    return MatrixRow(
        source=one.source,
        destination=one.destination,
        address=one.address,
        port=f"{one.protocol} {one.port}",
        predicted=one.predicted.value,
        measured=row.result,
        reached=row.reached,
        agrees=None if row.agreement is Agreement.UNKNOWN else row.agreement is Agreement.SAME,
        policies=one.policies,
        detail=row.detail,
        seconds=row.seconds,
    )
