"""The line with which an answer about a live cluster opens where that cluster does not enforce its policies.

What policies allow is what happens only where something enforces them. Whether that is so is asked of the cluster in a
few requests within some seconds; what goes wrong with that is no reason not to answer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from gatewright.cli.given import Sources

PATIENCE = 5.0
"""Seconds that may be spent on asking."""

F = TypeVar("F", bound=Callable[..., Any])


def require_enforced(command: F) -> F:
    """`--require-enforced`."""
    return click.option(
        "--require-enforced",
        is_flag=True,
        help="Exit with 1 unless the cluster certainly enforces its policies (see `doctor`).",
    )(command)


def opening(given: Sources, required: bool) -> int:
    """Say in one line of standard error that the cluster does not enforce, or that it cannot be told.

    The lowest exit code that the run may end with: 1 where that was required and is not certain.
    """
    if given.where is None:
        if required:
            raise click.UsageError("--require-enforced is about a cluster: name one with --live")
        return 0
    import msgspec

    from gatewright.cli.progress import progress
    from gatewright.probe.doctor.collect import examine
    from gatewright.report.doctor import headline
    from gatewright.sources.kubeconfig import ClusterUnavailable

    try:
        with progress("asking whether policies are enforced") as say:
            answer = examine(given.where, patience=PATIENCE, progress=say)
    except ClusterUnavailable as error:
        click.echo(f"gatewright: warning: whether policies are enforced cannot be told: {error}", err=True)
        return int(required)
    if answer.enforced == "yes":
        return 0
    click.echo(f"gatewright: warning: {headline(msgspec.to_builtins(answer))}; see: gatewright doctor", err=True)
    return int(required)
