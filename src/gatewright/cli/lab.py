"""`gatewright lab`: a cluster on this machine. Parses, calls `gatewright.lab.client`, prints."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import click

from gatewright.cli import lab_api, lab_conformance, lab_nodes, lab_pods
from gatewright.cli.lab_options import OUTPUT, TIMEOUT, WAIT, conclude, lab_name, read, settle
from gatewright.cli.manifests import Manifests, Place, manifests
from gatewright.cli.progress import progress
from gatewright.errors import GatewrightError
from gatewright.lab.errors import LabError


class KubectlNames(click.Group):
    """Lists the verbs in the order people meet them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In order of definition."""
        return list(self.commands)


@click.group(cls=KubectlNames)
def command() -> None:
    """Run a cluster on this machine, with policies enforced or not.

    A lab has nodes, pods, Services, names and policies, each node and pod in network namespaces of its own, behind a
    Kubernetes API for kubectl and any client. It runs without root where the machine lets users make namespaces, and
    `lab down` leaves nothing behind.
    """


@command.command()
@manifests
@lab_name
@click.option("--nodes", type=click.IntRange(1), help="How many nodes.  [default: 1]")
@click.option(
    "--config",
    "config",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="A lab.yaml that says the same as the options and names nodes; options count more.",
)
@click.option(
    "--network",
    type=click.Choice(["enforcing", "flat"]),
    help="flat: a network without policy support; policies are accepted and nothing is enforced.  [default: enforcing]",
)
@click.option("--pod-cidr", "pod_cidrs", multiple=True, metavar="CIDR", help="Range of pod addresses (one a family).")
@click.option("--start-closed", is_flag=True, help="A pod whose policies are not in the kernel yet is cut off.")
@click.option("--keep-connections", is_flag=True, help="Let connections live that a change of policy forbids.")
@click.option(
    "--api",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    metavar="KUBECONFIG",
    help="Put the nodes under the API server of this kubeconfig, instead of one of the lab's own.",
)
@click.option(
    "--controllers/--no-controllers",
    default=None,
    help="Run the lab's scheduler and controllers.  [default: unless --api is given]",
)
@click.option(
    "--kubeconfig",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Where to put the lab's context, and make it the current one.  [default: $KUBECONFIG or ~/.kube/config]",
)
@click.option("--no-kubeconfig", is_flag=True, help="Leave your kubeconfig as it is; see `lab kubeconfig`.")
@WAIT
@TIMEOUT
def up(
    manifests: Manifests,
    name: str,
    nodes: int | None,
    config: Path | None,
    network: str | None,
    pod_cidrs: tuple[str, ...],
    start_closed: bool,
    keep_connections: bool,
    api: Path | None,
    controllers: bool | None,
    kubeconfig: Path | None,
    no_kubeconfig: bool,
    waiting: bool,
    timeout: float,
) -> None:
    """Start a lab, create the objects that -f and -k name, and wait until its pods are ready."""
    from gatewright.lab import client, kubeconfigs
    from gatewright.lab.network.plan import DEFAULT_POD_CIDRS, Plan
    from gatewright.lab.supervisor.settings import LabFile, LabSettings, numbered, read_lab_file

    started = time.monotonic()
    file = read_lab_file(config) if config else LabFile()
    chosen = _nodes(nodes, file.nodes) or numbered(1)
    settings = LabSettings(
        nodes=chosen,
        plan=Plan.of(pod_cidrs or file.pod_cidrs or DEFAULT_POD_CIDRS, len(chosen)),
        network=network or file.network or "enforcing",
        start_closed=start_closed or file.start_closed,
        keep_connections=keep_connections or file.keep_connections,
        api=api,
        controllers=controllers if controllers is not None else api is None,
    )
    if file.name and click.get_current_context().get_parameter_source("name") is click.core.ParameterSource.DEFAULT:
        name = file.name
    assert config or not file.manifests
    beside = tuple(Place(str(config.parent / path)) for path in file.manifests) if config else ()
    named = Manifests((*beside, *manifests.places), manifests.recursive)
    parsed = read(named) if named.places else None
    with progress("starting the lab"):
        client.up(settings, name)
    try:
        if waiting:
            settle(name, True, timeout)  # programs that ask for a name as they start find the name server answering
        warnings = client.apply(name, parsed)["warnings"] if parsed else []
        context = "" if no_kubeconfig else _merged(name, kubeconfig or kubeconfigs.user_file())
    except BaseException:
        client.down(name)
        raise
    if context:
        click.echo(f'kubectl uses the lab now: context "{context}"')
    settle(name, waiting, timeout)
    state = conclude(name, warnings)
    took = time.monotonic() - started
    counts = f"{_count(state['nodes'], 'node')}, {_count(state['pods'], 'pod')}, {_count(state['services'], 'Service')}"
    click.echo(f"lab {name} is up: {counts}, in {took:.1f} s")


def _merged(name: str, file: Path) -> str:
    """Put the context of a lab that is taken down where that fails into a kubeconfig; the context's name."""
    from gatewright.lab import client

    try:
        return client.merge_context(name, file)
    except GatewrightError as error:
        raise LabError(f"{error}; the lab has been taken down again") from error


def _count(items: list[object], noun: str) -> str:
    return f"{len(items)} {noun}{'' if len(items) == 1 else 's'}"


def _nodes(number: int | None, given: object) -> tuple[Any, ...]:
    from gatewright.lab.supervisor.settings import numbered

    if number is not None:
        return numbered(number)
    if isinstance(given, int):
        return numbered(given)
    return tuple(given) if isinstance(given, tuple) else ()


@command.command()
@manifests
@lab_name
@WAIT
@TIMEOUT
def apply(manifests: Manifests, name: str, waiting: bool, timeout: float) -> None:
    """Create or change the objects that -f and -k name in a running lab; all of them or none."""
    from gatewright.lab import client

    _require(manifests)
    answer = client.apply(name, read(manifests))
    click.echo("\n".join(answer["lines"]))
    settle(name, waiting, timeout)
    conclude(name, answer["warnings"])


@command.command()
@manifests
@lab_name
@click.option("--ignore-not-found", is_flag=True, help="Objects that are not there are no error.")
@TIMEOUT
def delete(manifests: Manifests, name: str, ignore_not_found: bool, timeout: float) -> None:
    """Delete the objects that -f and -k name from a running lab, and wait until they are gone."""
    from gatewright.lab import client

    _require(manifests)
    answer = client.delete(name, read(manifests), timeout)
    for line in answer["lines"]:
        click.echo(line)
    if answer["missing"] and not ignore_not_found:
        for line in answer["missing"]:
            click.echo(f"gatewright: {line}", err=True)
        sys.exit(2)


def _require(named: Manifests) -> None:
    if not named.places:
        raise click.UsageError("nothing to read: name manifests with -f or -k")


@command.command()
@lab_name
@TIMEOUT
def wait(name: str, timeout: float) -> None:
    """Wait until every pod is ready and the policies are in every kernel."""
    settle(name, True, timeout)


@command.command()
@lab_name
@click.option("-n", "--namespace", help="Only what is in this namespace.")
@OUTPUT
def status(name: str, namespace: str | None, output: str) -> None:
    """Show a lab: its network, nodes, pods, Services and policies, and whether the policies are enforced."""
    from gatewright.lab import client
    from gatewright.report.lab import status_text

    state = client.status(name)
    click.echo(json.dumps(state, indent=2) if output == "json" else status_text(name, state, namespace))


@command.command()
@lab_name
@click.option("--path", is_flag=True, help="Print where the file is instead.")
def kubeconfig(name: str, path: bool) -> None:
    """Print the lab's kubeconfig."""
    from gatewright.lab.reaching import kubeconfig as kubeconfig_of

    found = kubeconfig_of(name)
    click.echo(str(found) if path else found.read_text().rstrip())


@command.command(name="list")
@OUTPUT
def list_labs(output: str) -> None:
    """List your labs."""
    from gatewright.lab import client
    from gatewright.report.lab import table

    found = client.listed()
    if output == "json":
        click.echo(json.dumps([{"name": one.name, "pid": one.pid} for one in found], indent=2))
    elif not found:
        click.echo("No labs.", err=True)
    else:
        rows = [(one.name, str(one.pid) if one.pid else "-", "up" if one.pid else "killed") for one in found]
        click.echo(table([("NAME", "PID", "STATE"), *rows]))


@command.command()
@lab_name
@click.option("--all", "every", is_flag=True, help="Every lab of yours.")
def down(name: str, every: bool) -> None:
    """Take a lab down; nothing of it is left, and its context is gone from your kubeconfig."""
    from gatewright.lab import client

    names = [one.name for one in client.listed()] if every else [name]
    for one in names:
        click.echo(f"lab {one} is down" if client.down(one) else f"lab {one} is not up")


for verb in (*lab_pods.VERBS, *lab_nodes.VERBS, lab_conformance.conformance, lab_api.command):
    command.add_command(verb)
