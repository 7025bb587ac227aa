"""Options that several verbs share, meaning what they mean in kubectl, and what they make of an answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from gatewright.engine.addresses import block_range
from gatewright.engine.compile import Compiled
from gatewright.engine.connectivity import connections
from gatewright.engine.view import Answer, by_pod, by_workload

FORMATS = ("table", "wide", "json", "yaml", "csv", "md", "dot", "svg", "mermaid")
"""What `list` and `diff` print."""

F = TypeVar("F", bound=Callable[..., Any])


def namespace(command: F) -> F:
    """`-n`: the namespace of names that do not say theirs."""
    return click.option(
        "-n",
        "--namespace",
        help="Namespace of names that do not name theirs.  [default: default, or that of the cluster's context]",
    )(command)


def by(command: F) -> F:
    """`--by`: whether pods stand for themselves or for their workload."""
    return click.option(
        "--by",
        type=click.Choice(["workload", "pod"]),
        default="workload",
        show_default=True,
        help="workload: pods of one workload that may do the same share a line, under the name of their owner.",
    )(command)


def pod_cidrs(command: F) -> F:
    """`--pod-cidr`: where pods of manifests may get their addresses."""
    return click.option(
        "--pod-cidr",
        "pod_cidrs",
        multiple=True,
        metavar="CIDR",
        callback=_check_cidrs,
        help="Range of pod addresses, one a family: decides what an ipBlock covers before pods have an address.",
    )(command)


def output(*formats: str) -> Callable[[F], F]:
    """`-o`: the first format is the default."""
    return click.option(
        "-o", "--output", type=click.Choice(formats), default=formats[0], show_default=True, help="Output format."
    )


def _check_cidrs(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        try:
            block_range(value)
        except ValueError as error:
            raise click.BadParameter(f"{value!r} is not a CIDR (write 10.244.0.0/16)", context, parameter) from error
    return values


def answer(compiled: Compiled, by: str) -> Answer:
    """Everything that is allowed, in the view that `--by` asks for."""
    return Answer(compiled, by_pod(compiled, connections(compiled)) if by == "pod" else by_workload(compiled))
