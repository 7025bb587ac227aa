"""`gatewright flows`: what this node's agent dropped. Parses, asks the agent, prints."""

from __future__ import annotations

from pathlib import Path

import click

from gatewright.cli.agent import SOCKET_OPTION


@click.command()
@click.option("-f", "--follow", is_flag=True, help="Go on with every flow that comes, until Ctrl-C.")
@click.option("-n", "--namespace", help="Only flows from or to pods of this namespace.")
@click.option("--pod", help="Only flows from or to this pod: NAME, or NAMESPACE/NAME.")
@click.option("--tail", type=click.IntRange(0), help="Only the last so many of those that are kept.")
@click.option(
    "-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True, help="json: JSON lines."
)
@SOCKET_OPTION
def command(
    follow: bool, namespace: str | None, pod: str | None, tail: int | None, output: str, socket_path: Path
) -> None:
    """Show connections that policies of this node denied: which pod, which peer, which port, and why.

    The agent keeps the last thousand. Where it runs with --audit these are those that would have been dropped.
    """
    from gatewright.agent import client
    from gatewright.report.agent import flow_line

    wanted = client.Wanted(namespace, pod)
    for line, flow in client.flows(socket_path, wanted, follow=follow, tail=tail):
        click.echo(line if output == "json" else flow_line(flow))
