"""`gatewright explain`: whether one connection is allowed, and which rule decides."""

from __future__ import annotations

from collections.abc import Iterator

import click

from gatewright.cli import options
from gatewright.cli.given import Sources, sources
from gatewright.engine.backends import Backends
from gatewright.engine.compile import Compiled
from gatewright.engine.explain import Explanation, explain, traffic_text
from gatewright.engine.ports import Protocol
from gatewright.engine.targets import Target, find, parse_port, service_port
from gatewright.engine.verdict import Outcome, Party, verdict
from gatewright.errors import GatewrightError
from gatewright.report import formats


class NoBackend(GatewrightError):
    """A Service that no pod stands behind, or whose pods lack its target port."""


@click.command("explain")
@click.argument("source")
@click.argument("destination")
@click.argument("port", metavar="[PROTO/]PORT")
@sources
@options.namespace
@options.pod_cidrs
@options.output("text", "json", "yaml")
def command(
    source: str,
    destination: str,
    port: str,
    given: Sources,
    namespace: str | None,
    pod_cidrs: tuple[str, ...],
    output: str,
) -> None:
    """Say whether SOURCE may connect to a port of DESTINATION, and which rule of which policy decides.

    SOURCE and DESTINATION are NAME, NAMESPACE/NAME, KIND/NAME (deploy/web, svc/api), an address, or key=value labels.
    Exits with 0 when the connection is allowed, with 1 when it is denied or hangs on something unknown.

    \b
      gatewright explain web db 3306 -f manifests/
      gatewright explain web svc/api 5000 -f manifests/
      gatewright explain 203.0.113.7 web udp/53 -f manifests/
    """
    loaded = given.load()
    compiled, within = loaded.compiled(pod_cidrs), namespace or loaded.namespace
    protocol, number = parse_port(port)
    origin, target = find(compiled, source, within), find(compiled, destination, within)
    if origin.service:
        raise click.BadParameter(f"{source}: a Service opens no connections; name a pod or workload")
    found: list[Explanation] = []
    for one in origin.parties:
        for party, target_port in _doors(compiled, target, protocol, number):
            found += _explained(compiled, one, party, protocol, target_port)
    click.echo(formats.explanations(found, output), nl=False)
    loaded.finish(0 if all(one.outcome is Outcome.ALLOWED for one in found) else 1)


def _explained(
    compiled: Compiled, source: Party, destination: Party, protocol: Protocol | None, port: int
) -> tuple[Explanation, ...]:
    return explain(compiled, verdict(compiled, source, destination, protocol, port))


def _doors(compiled: Compiled, target: Target, protocol: Protocol | None, port: int) -> Iterator[tuple[Party, int]]:
    """(party, port) of everything the target stands for: policies see a Service's backends on their target ports."""
    if target.service is None:
        for party in target.parties:
            yield party, port
        return
    entry = service_port(target.service, protocol, port)
    found = Backends(compiled).doors(target.service, entry)
    if not found:
        raise NoBackend(
            f"{target.service}: no pod behind it serves {traffic_text(protocol, port)}; look at its selector and ports"
        )
    yield from found
