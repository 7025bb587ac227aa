"""`gatewright list`: every connection that the policies allow, or those that somebody asks about."""

from __future__ import annotations

import click

from gatewright.cli import options
from gatewright.cli.given import Sources, sources
from gatewright.engine.filters import Filter, label_filter, port_filter
from gatewright.engine.targets import Target, find
from gatewright.engine.view import Answer
from gatewright.report import formats


@click.command("list")
@sources
@options.by
@click.option("--from", "origins", multiple=True, metavar="NAME", help="Only connections that NAME opens.")
@click.option("--to", "destinations", multiple=True, metavar="NAME", help="Only connections to NAME.")
@click.option("--focus", multiple=True, metavar="NAME", help="Only connections of NAME, in both directions.")
@click.option("--port", "ports", multiple=True, metavar="[PROTO/]PORT", help="Only this port of each connection.")
@click.option("-n", "--namespace", help="Only connections with an end in this namespace; names without one are in it.")
@click.option("-A", "--all-namespaces", is_flag=True, help="Every namespace, as without -n; overrides it.")
@click.option("-l", "--selector", default="", help="Only connections with an end of these labels: app=web,tier!=front.")
@options.pod_cidrs
@options.output(*options.FORMATS)
def command(
    given: Sources,
    by: str,
    origins: tuple[str, ...],
    destinations: tuple[str, ...],
    focus: tuple[str, ...],
    ports: tuple[str, ...],
    namespace: str | None,
    all_namespaces: bool,
    selector: str,
    pod_cidrs: tuple[str, ...],
    output: str,
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
    within = "" if all_namespaces else namespace or ""
    wanted, chosen = port_filter(ports), label_filter(selector)
    loaded = given.load(everything=all_namespaces)
    compiled = loaded.compiled(pod_cidrs)

    def named(names: tuple[str, ...]) -> tuple[Target, ...]:
        return tuple(find(compiled, name, within or loaded.namespace) for name in names)

    kept = Filter(named(origins), named(destinations), named(focus), wanted, within, chosen)
    answer = options.answer(compiled, by)
    if kept:
        answer = Answer(compiled, kept.apply(answer.view))
        if not answer.view.rows:
            click.echo("No connections.", err=True)
    click.echo(formats.connections(answer, output), nl=False)
    loaded.finish()
