"""`gatewright exposure`: what can be reached from outside, through what, and whether policies let it through."""

from __future__ import annotations

import click

from gatewright.cli import options
from gatewright.cli.given import Sources, sources
from gatewright.cli.progress import progress
from gatewright.engine.exposure import exposures
from gatewright.engine.owners import owner
from gatewright.engine.targets import find
from gatewright.report import exposure as report
from gatewright.report.structured import to_json, to_yaml


@click.command("exposure")
@sources
@click.option(
    "--controller",
    "controllers",
    multiple=True,
    metavar="NAME",
    help="Pods that serve Ingresses and routes: NAME, NAMESPACE/NAME, KIND/NAME, an address, or labels.",
)
@click.option("-n", "--namespace", help="Only workloads of this namespace; names without one are in it.")
@click.option("-A", "--all-namespaces", is_flag=True, help="Every namespace, as without -n; overrides it.")
@options.pod_cidrs
@options.output("text", "json", "yaml")
def command(
    given: Sources,
    controllers: tuple[str, ...],
    namespace: str | None,
    all_namespaces: bool,
    pod_cidrs: tuple[str, ...],
    output: str,
) -> None:
    """Show what can be reached from outside: through what, and whether the policies let it through.

    Ways in are NodePorts, load balancers, external and host ports of Services and pods, Ingresses, routes of the
    Gateway API and OpenShift Routes. Behind the latter stands a proxy: name its pods with --controller, else it is
    taken to run anywhere, and a pod that admits some sources only `depends` on where.

    \b
      gatewright exposure -f manifests/
      gatewright exposure --live --controller ingress-nginx/deploy/ingress-nginx-controller
    """
    loaded = given.load(everything=all_namespaces)
    compiled = loaded.compiled(pod_cidrs)
    within = "" if all_namespaces else namespace or ""
    proxies = [party for name in controllers for party in find(compiled, name, within or loaded.namespace).parties]
    with progress("judging the ways in"):
        found = exposures(compiled, proxies)
    nowhere = tuple(lost for lost in found.nowhere if within in ("", lost.namespace))
    lines = []
    for one in found.found:
        kind, place, name = owner(compiled.snapshot, one.endpoint)
        if within in ("", place):
            lines.append(report.Line(f"{place}/{name}[{kind}]", one, compiled.at))
    lines.sort(key=lambda line: (line.workload, line.exposure.way.protocol, line.exposure.port))
    if output == "text":
        click.echo(report.to_text(lines, nowhere), nl=False)
        if not lines:
            click.echo("Nothing is reachable from outside.", err=True)
    else:
        document = report.document(lines, nowhere)
        click.echo(to_json(document) if output == "json" else to_yaml(document), nl=False)
    loaded.finish()
