"""`gatewright explain`: whether one connection is allowed, and which rule decides."""

from __future__ import annotations

import click

from gatewright.cli import options
from gatewright.cli.enforced import opening, require_enforced
from gatewright.cli.given import Sources, sources
from gatewright.cli.progress import progress
from gatewright.engine.alike import ask_alike
from gatewright.engine.explain import explain
from gatewright.report import formats


@click.command("explain")
@click.argument("source")
@click.argument("destination")
@click.argument("port", metavar="[PROTO/]PORT")
@sources
@options.namespace
@options.pod_cidrs
@require_enforced
@options.output("text", "json", "yaml")
def command(
    source: str,
    destination: str,
    port: str,
    given: Sources,
    namespace: str | None,
    pod_cidrs: tuple[str, ...],
    require_enforced: bool,
    output: str,
) -> None:
    """Say whether SOURCE may connect to a port of DESTINATION, and which rule of which policy decides.

    SOURCE and DESTINATION are NAME, NAMESPACE/NAME, KIND/NAME (deploy/web, svc/api, ing/web), an address, or key=value
    labels. Behind an Ingress every pod is asked about, with its controller's pod as SOURCE. Pods of one owner with the
    same answer are told as one.
    Exits with 0 when the connection is allowed, with 1 when it is denied or hangs on something unknown.

    \b
      gatewright explain web db 3306 -f manifests/
      gatewright explain web svc/api 5000 -f manifests/
      gatewright explain 203.0.113.7 web udp/53 -f manifests/
    """
    loaded = given.load()
    lowest = opening(given, require_enforced)
    compiled, within = loaded.compiled(pod_cidrs), namespace or loaded.namespace
    with progress("asking"):
        blocks = ask_alike(compiled, source, destination, port, within)
        text = formats.explanations([(block, explain(compiled, block.verdict)) for block in blocks], output)
    click.echo(text, nl=False)
    loaded.finish(lowest if all(block.verdict.allowed for block in blocks) else 1)
