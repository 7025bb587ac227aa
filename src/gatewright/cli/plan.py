"""`gatewright plan`: the policies that a traffic model needs, and the proof that they do what it says."""

from __future__ import annotations

import click

from gatewright.cli import options, traffic
from gatewright.cli.given import Sources, any_sources
from gatewright.engine.snapshot import Snapshot
from gatewright.intent.plan import Style
from gatewright.intent.propose import propose
from gatewright.report import plan as report


@click.command("plan")
@click.argument("model", metavar="TRAFFIC.YAML")
@any_sources
@click.option(
    "--style",
    type=click.Choice([style.value for style in Style]),
    default=Style.COMPONENT.value,
    show_default=True,
    help="component: only the model's pods are denied by default. namespace: everything in their namespaces is.",
)
@click.option("--existing", is_flag=True, help="Only what is missing beside the policies of -f or --live.")
@click.option("--cluster-tier", is_flag=True, help="Also a ClusterNetworkPolicy for what stands under never.")
@options.pod_cidrs
@options.output(*report.FORMATS)
def command(
    model: str,
    given: Sources,
    style: str,
    existing: bool,
    cluster_tier: bool,
    pod_cidrs: tuple[str, ...],
    output: str,
) -> None:
    """Write the NetworkPolicies that allow exactly the flows of a traffic model.

    Components are denied everything by default, in both directions; each flow has a rule on either side, and whoever
    calls others by name may ask the cluster's DNS. The policies go to standard output, for kubectl create -f; the proof
    that they do what the model says goes to standard error. Policies among the manifests are left out of it, unless
    --existing asks for a plan beside them. Exits with 1 when something differs from the model.

    \b
      gatewright plan traffic.yaml
      gatewright plan traffic.yaml -f manifests/ -o table
      gatewright plan traffic.yaml --live --existing | kubectl create -f -
    """
    from_somewhere = bool(given.manifests.places or given.where)
    if existing and not from_somewhere:
        raise click.UsageError("--existing: name the policies that are there with -f, -k or --live")
    wanted = traffic.load(model)
    loaded = traffic.beside(wanted, given) if from_somewhere else None
    snapshot = Snapshot.of(loaded.objects, pod_cidrs=pod_cidrs) if loaded else None
    made = propose(wanted, snapshot, style=Style(style), beside=existing, cluster_tier=cluster_tier)
    for problem in made.untold:
        click.echo(f"gatewright: warning: {problem}", err=True)
    click.echo(report.render(made, output, model), nl=False)
    if output != "table":
        click.echo(report.proof_text(made, model), nl=False, err=True)
    code = 1 if made.failures else 0
    if loaded:
        loaded.finish(code)
    raise SystemExit(code)
