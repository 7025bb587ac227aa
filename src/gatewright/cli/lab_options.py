"""The options that the verbs of `gatewright lab` share, and what they all say at the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from gatewright.cli.manifests import Manifests, warn
from gatewright.cli.progress import progress

if TYPE_CHECKING:
    from gatewright.objects.read import Parsed

F = TypeVar("F", bound=Callable[..., Any])


def lab_name(function: F) -> F:
    """`--name`: which lab."""
    option = click.option(
        "--name", default="default", show_default=True, envvar="GATEWRIGHT_LAB", help="Which lab of yours."
    )
    return option(function)


NAMESPACE = click.option("-n", "--namespace", default="default", show_default=True, help="The pod's namespace.")
CONTAINER = click.option("-c", "--container", help="Which container; the first one otherwise.")
OUTPUT = click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
WAIT = click.option(
    "--wait/--no-wait",
    "waiting",
    default=True,
    help="Wait until every pod is ready and the policies are in every kernel.  [default: wait]",
)
TIMEOUT = click.option("--timeout", type=click.FloatRange(0.1), default=120, show_default=True, help="Seconds to wait.")


def read(named: Manifests) -> Parsed:
    """What -f and -k name, with the objects as they were written."""
    from gatewright.objects.read import keeping_trees

    with progress("reading") as say, keeping_trees():
        parsed = named.read(say)
    parsed.require()
    warn(parsed)
    return parsed


def settle(name: str, waiting: bool, timeout: float) -> None:
    """Wait until a lab has settled, where that is wanted."""
    from gatewright.lab import settling

    if waiting:
        with progress("waiting") as say:
            settling.wait(name, timeout, say)


def conclude(name: str, warnings: list[str]) -> dict[str, Any]:
    """What has to be said after a change: what runs otherwise than in a cluster, and whether policies count."""
    from gatewright.lab import client
    from gatewright.report.lab import enforcement_line

    state = client.status(name)
    for warning in warnings:
        click.echo(f"warning: {warning}", err=True)
    for pod in state["pods"]:
        for note in pod["notes"]:
            click.echo(f"warning: pod {pod['namespace']}/{pod['name']}: {note}", err=True)
    click.echo(enforcement_line(state))
    return state
