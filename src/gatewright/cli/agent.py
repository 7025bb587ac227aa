"""`gatewright agent`: one node's enforcement of policies. Parses, calls `gatewright.agent`, prints."""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path

import click

from gatewright.cli.options import output, pod_cidrs

SOCKET_OPTION = click.option(
    "--socket",
    "socket_path",
    type=click.Path(path_type=Path),
    default="/run/gatewright/agent.sock",
    show_default=True,
    envvar="GATEWRIGHT_AGENT_SOCKET",
    help="Where the agent of this node answers.",
)
_TABLE = click.option(
    "--table", default="gatewright", show_default=True, help="Name of the nftables table, which is the agent's alone."
)


class Verbs(click.Group):
    """Lists the verbs in the order people meet them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In order of definition."""
        return list(self.commands)


@click.group(cls=Verbs)
def command() -> None:
    """Make this node's kernel enforce the cluster's network policies.

    The agent runs on every node of a cluster whose network does not enforce policies. What it programmed stays in
    force when it ends, however it ends; `agent cleanup` takes it away.
    """


@command.command()
@click.option("--node", envvar="NODE_NAME", help="Name of this node's Node object.  [default: $NODE_NAME, host name]")
@click.option("--kubeconfig", metavar="FILE", help="The kubeconfig to find the cluster in; in a pod its own account.")
@click.option("--context", metavar="NAME", help="The context of the kubeconfig.")
@click.option("--audit", is_flag=True, help="Drop nothing: report what would be dropped.")
@click.option(
    "--start-closed", is_flag=True, help="A pod of this node whose policies are not in the kernel yet is cut off."
)
@click.option("--keep-connections", is_flag=True, help="Let connections live that a change of policy forbids.")
@click.option("--spoof-guard/--no-spoof-guard", default=True, show_default=True, help="Drop borrowed source addresses.")
@click.option(
    "--log-group",
    type=click.IntRange(0, 65535),
    default=100,
    show_default=True,
    help="Netlink group to which the kernel logs what it drops.",
)
@click.option("--no-log", is_flag=True, help="Log no drops: `gatewright flows` stays empty, counters go on.")
@click.option(
    "--log-rate", type=click.IntRange(1), default=50, show_default=True, help="Drops logged a second, at most."
)
@click.option("--events", is_flag=True, help="Tell denied connections as Kubernetes Events too, a few a minute.")
@click.option(
    "--metrics-address",
    "metrics",
    default=":9469",
    show_default=True,
    metavar="[HOST]:PORT",
    help="Where /metrics, /healthz and /readyz answer; empty for nowhere.",
)
@click.option("--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True)
@_TABLE
@SOCKET_OPTION
def run(
    node: str | None,
    kubeconfig: str | None,
    context: str | None,
    audit: bool,
    start_closed: bool,
    keep_connections: bool,
    spoof_guard: bool,
    log_group: int,
    no_log: bool,
    log_rate: int,
    events: bool,
    metrics: str,
    log_format: str,
    table: str,
    socket_path: Path,
) -> None:
    """Enforce policies on this node until told to stop (SIGTERM, Ctrl-C).

    Watches pods, namespaces, nodes and policies, and keeps one nftables table equal to what they say.
    """
    from gatewright.agent import log
    from gatewright.agent.run import run_agent
    from gatewright.agent.settings import Settings
    from gatewright.sources.kubeconfig import Where

    log.set_up(log_format)
    settings = Settings(
        node=node or socket.gethostname(),
        table=table,
        audit=audit,
        start_closed=start_closed,
        keep_connections=keep_connections,
        spoof_guard=spoof_guard,
        log_group=None if no_log else log_group,
        log_rate=log_rate,
        events=events,
        socket=socket_path,
        metrics=metrics,
    )
    run_agent(settings, Where(kubeconfig, context))


@command.command()
@output("text", "json")
@SOCKET_OPTION
def status(output: str, socket_path: Path) -> None:
    """Say whether this node is in step with the cluster; exit code 1 when it is not."""
    from gatewright.agent import client
    from gatewright.report.agent import status_text

    answer = client.status(socket_path)
    click.echo(json.dumps(answer, indent=2) if output == "json" else status_text(answer))
    sys.exit(0 if answer["state"] == "in step" and not answer["problems"] else 1)


@command.command()
@pod_cidrs
@click.option("--bridge", is_flag=True, help="Pods hang on a bridge.  [default: found out with --pod-cidr]")
def check(pod_cidrs: tuple[str, ...], bridge: bool) -> None:
    """Say what this node lacks for enforcing policies, changing nothing; exit code 1 when it lacks something."""
    from ipaddress import ip_network

    from gatewright.kernel.preflight import preflight

    ranges = [ip_network(one, strict=False) for one in pod_cidrs]
    missing = preflight(bridge=bridge or None, pod_ranges=ranges)
    for one in missing:
        click.echo(str(one))
    if not missing:
        click.echo("nothing is missing: this node can enforce policies")
    sys.exit(1 if missing else 0)


@command.command()
@_TABLE
@SOCKET_OPTION
@click.option("--yes", is_flag=True, help="Do not ask.")
def cleanup(table: str, socket_path: Path, yes: bool) -> None:
    """Take away everything the agent left on this node: policies are not in force any more.

    The table, the marks of ended connections, and the socket. Refused while an agent is running.
    """
    from gatewright.agent.cleanup import cleanup

    if not yes:
        click.confirm(f"Take the table {table} away? No policy is in force on this node then", abort=True, err=True)
    for line in cleanup(table, socket_path):
        click.echo(line)
