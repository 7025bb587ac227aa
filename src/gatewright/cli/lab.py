"""`gatewright lab`: run the pods of manifests on this machine. Parses, calls `gatewright.lab.client`, prints."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable
from typing import Any, TypeVar

import click

from gatewright.cli import lab_api
from gatewright.cli.manifests import Manifests, manifests, warn
from gatewright.cli.progress import progress
from gatewright.objects.meta import Object

F = TypeVar("F", bound=Callable[..., Any])


class KubectlNames(click.Group):
    """Lists the verbs in the order people meet them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In order of definition."""
        return list(self.commands)


@click.group(cls=KubectlNames)
def command() -> None:
    """Run the pods of manifests on this machine, with policies enforced or not.

    A lab is one node in namespaces of its own: pods with addresses, Services, names, policies. It runs without root
    where the machine lets users make namespaces, and `lab down` leaves nothing behind.
    """


def _name(function: F) -> F:
    option = click.option(
        "--name", default="default", show_default=True, envvar="GATEWRIGHT_LAB", help="Which lab of yours."
    )
    return option(function)


_NAMESPACE = click.option("-n", "--namespace", default="default", show_default=True, help="The pod's namespace.")
_CONTAINER = click.option("-c", "--container", help="Which container; the first one otherwise.")
_OUTPUT = click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
_WAIT = click.option(
    "--wait/--no-wait", "waiting", default=True, help="Wait until every pod is ready.  [default: wait]"
)
_TIMEOUT = click.option("--timeout", type=click.FloatRange(0.1), default=60, show_default=True, help="Seconds to wait.")


def _read(named: Manifests) -> tuple[Object, ...]:
    if not named.places:
        raise click.UsageError("nothing to read: name manifests with -f or -k")
    with progress("reading") as say:
        parsed = named.read(say)
    objects = parsed.require()
    warn(parsed)
    return objects


def _settle(name: str, waiting: bool, timeout: float) -> None:
    from gatewright.lab import client

    if waiting:
        with progress("waiting for the pods to be ready"):
            client.wait(name, timeout)


def _say(name: str) -> None:
    """What has to be said after a change: notes on what does not run as in a cluster, and whether policies count."""
    from gatewright.lab import client
    from gatewright.report.lab import enforcement_line

    state = client.status(name)
    for warning in state["warnings"]:
        click.echo(f"warning: {warning}", err=True)
    for pod in state["pods"]:
        for note in pod["notes"]:
            click.echo(f"warning: pod {pod['namespace']}/{pod['name']}: {note}", err=True)
    click.echo(enforcement_line(state))


@command.command()
@manifests
@click.option(
    "--network",
    type=click.Choice(["enforcing", "flat"]),
    default="enforcing",
    show_default=True,
    help="flat: a network without policy support; policies are accepted and nothing is enforced.",
)
@_name
@click.option("--pod-cidr", "pod_cidrs", multiple=True, metavar="CIDR", help="Range of pod addresses (one a family).")
@_WAIT
@_TIMEOUT
def up(
    manifests: Manifests,
    network: str,
    name: str,
    pod_cidrs: tuple[str, ...],
    waiting: bool,
    timeout: float,
) -> None:
    """Start a lab with the objects that -f and -k name, and wait until its pods are ready."""
    from gatewright.lab import client
    from gatewright.lab.addresses import DEFAULT_POD_CIDRS

    started = time.monotonic()
    client.up(_read(manifests), name, network, pod_cidrs or DEFAULT_POD_CIDRS)
    _settle(name, waiting, timeout)
    state = client.status(name)
    took = time.monotonic() - started
    pods, services = len(state["pods"]), len(state["services"])
    click.echo(f"lab {name} is up: {pods} pods, {services} Services, in {took:.1f} s")
    _say(name)


@command.command()
@manifests
@_name
@_WAIT
@_TIMEOUT
def apply(manifests: Manifests, name: str, waiting: bool, timeout: float) -> None:
    """Create or change the objects that -f and -k name in a running lab; all of them or none."""
    from gatewright.lab import client

    answer = client.apply(name, _read(manifests))
    click.echo("\n".join(answer["lines"]))
    _settle(name, waiting, timeout)
    _say(name)


@command.command()
@manifests
@_name
@click.option("--ignore-not-found", is_flag=True, help="Objects that are not there are no error.")
def delete(manifests: Manifests, name: str, ignore_not_found: bool) -> None:
    """Delete the objects that -f and -k name from a running lab."""
    from gatewright.lab import client

    answer = client.delete(name, _read(manifests))
    for line in answer["lines"]:
        click.echo(line)
    if answer["missing"] and not ignore_not_found:
        for line in answer["missing"]:
            click.echo(f"gatewright: {line}", err=True)
        sys.exit(2)


@command.command(name="exec", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@_name
@_NAMESPACE
@_CONTAINER
@click.option("-i", "--stdin", is_flag=True, help="Pass standard input to the program.")
@click.option("-t", "--tty", is_flag=True, help="Give the program a terminal.")
@click.argument("pod")
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[-- COMMAND...]")
def execute(
    name: str, namespace: str, container: str | None, stdin: bool, tty: bool, pod: str, words: tuple[str, ...]
) -> None:
    """Run a program in a POD, and exit with its exit code.

    POD is a name, namespace/name, a workload (deploy/web), or `outside`, the host outside the cluster.
    """
    from gatewright.lab import client

    # kubectl takes its own options after the pod's name too: everything before the first `--` that is one.
    rest = list(words)
    while rest and rest[0] != "--" and rest[0].startswith("-"):
        option = rest.pop(0)
        if option in ("-n", "--namespace", "-c", "--container") and rest:
            value = rest.pop(0)
            namespace, container = (value, container) if option in ("-n", "--namespace") else (namespace, value)
        elif option in ("-i", "--stdin", "-t", "--tty", "-it", "-ti"):
            stdin = stdin or option not in {"-t", "--tty"}
            tty = tty or option not in ("-i", "--stdin")
        else:
            raise click.UsageError(f"unknown option {option}; put -- before the program")
    if rest and rest[0] == "--":
        rest.pop(0)
    if not rest:
        raise click.UsageError("no program given; gatewright lab exec POD -- PROGRAM [ARGUMENT...]")
    sys.exit(client.execute(name, client.pod_of(name, pod, namespace), rest, container=container, stdin=stdin, tty=tty))


@command.command()
@_name
@_NAMESPACE
@_CONTAINER
@click.option("--tail", type=click.IntRange(0), help="Only the last lines.")
@click.argument("pod")
def logs(name: str, namespace: str, container: str | None, tail: int | None, pod: str) -> None:
    """Print what a container of POD printed (the last megabyte of it)."""
    from gatewright.lab import client

    text = client.logs(name, client.pod_of(name, pod, namespace), container, tail)
    if text:
        click.echo(text)


@command.command()
@_name
@click.option("-n", "--namespace", help="Only what is in this namespace.")
@_OUTPUT
def status(name: str, namespace: str | None, output: str) -> None:
    """Show a lab: its network, pods, Services and policies, and whether the policies are enforced."""
    from gatewright.lab import client
    from gatewright.report.lab import status_text

    state = client.status(name)
    click.echo(json.dumps(state, indent=2) if output == "json" else status_text(name, state, namespace))


@command.command(name="list")
@_OUTPUT
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
@_name
@click.option("--all", "every", is_flag=True, help="Every lab of yours.")
def down(name: str, every: bool) -> None:
    """Stop a lab; nothing of it is left."""
    from gatewright.lab import client

    names = [one.name for one in client.listed()] if every else [name]
    for one in names:
        click.echo(f"lab {one} is down" if client.down(one) else f"lab {one} is not up")


@command.command()
@_name
@click.option("--from", "sources", multiple=True, metavar="POD", help="Only from this pod, or `outside`.")
@click.option("--to", "destinations", multiple=True, metavar="POD", help="Only to this pod.")
@click.option("--port", "ports", multiple=True, metavar="[PROTO/]PORT", help="Also this port, besides the declared.")
@click.option("-n", "--namespace", help="Only pods of this namespace.  [default: all but kube-system]")
@click.option("--family", type=click.Choice(["4", "6", "both"]), default="4", show_default=True, help="Address family.")
@click.option("--addresses", "only", flag_value="addresses", help="Only by pod address.")
@click.option("--services", "only", flag_value="services", help="Only through Services.")
@click.option("--strict", is_flag=True, help="Exit with 1 also for what a flat network does not enforce.")
@click.option(
    "--timeout", type=click.FloatRange(0.05, 30), default=0.4, show_default=True, help="Seconds of one attempt of two."
)
@click.option("-o", "--output", type=click.Choice(["table", "json", "junit"]), default="table", show_default=True)
def probe(
    name: str,
    sources: tuple[str, ...],
    destinations: tuple[str, ...],
    ports: tuple[str, ...],
    namespace: str | None,
    family: str,
    only: str | None,
    strict: bool,
    timeout: float,
    output: str,
) -> None:
    """Open real connections between the pods, and compare each with what the policies say.

    Tries every pair of pods (and from the host outside) on the declared ports, by pod address and through Services.
    Exits with 1 when a packet and a prediction differ; on a flat network, which enforces nothing, only with --strict.
    """
    from gatewright.probe.lab import Question
    from gatewright.probe.lab import probe as run
    from gatewright.probe.matrix import Agreement, parse_port
    from gatewright.report.matrix import MatrixRow, as_json, as_junit, as_table

    try:
        wanted = tuple(parse_port(text) for text in ports)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--port") from error
    families = {"4": (4,), "6": (6,), "both": (4, 6)}[family]
    question = Question(
        sources, destinations, namespace, wanted, families, only != "services", only != "addresses", timeout
    )
    with progress("opening connections"):
        rows, state = run(name, question)
    shown = [
        MatrixRow(
            source=row.connection.source,
            destination=row.connection.destination,
            address=row.connection.address,
            port=f"{row.connection.protocol} {row.connection.port}",
            predicted=row.connection.predicted.value,
            measured=row.result,
            reached=row.reached,
            agrees=None if row.agreement is Agreement.UNKNOWN else row.agreement is Agreement.SAME,
            policies=row.connection.policies,
            detail=row.detail,
        )
        for row in rows
    ]
    if output == "table":
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        text = as_table(shown, enforces=state["enforces"], width=width)
    else:
        text = {"json": as_json, "junit": as_junit}[output](shown, enforces=state["enforces"])
    click.echo(text)
    unexpected = any(row.agrees is False and (state["enforces"] or strict or not row.reached) for row in shown)
    sys.exit(1 if unexpected else 0)


command.add_command(lab_api.command)
