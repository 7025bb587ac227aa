"""`gatewright lab exec`, `logs` and `probe`: what a lab's pods do."""

from __future__ import annotations

import shutil
import sys

import click

from gatewright.cli.lab_options import CONTAINER, NAMESPACE, lab_name
from gatewright.cli.progress import progress


@click.command(name="exec", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@lab_name
@NAMESPACE
@CONTAINER
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


@click.command()
@lab_name
@NAMESPACE
@CONTAINER
@click.option("--tail", type=click.IntRange(0), help="Only the last lines.")
@click.argument("pod")
def logs(name: str, namespace: str, container: str | None, tail: int | None, pod: str) -> None:
    """Print what a container of POD printed (the last megabyte of it)."""
    from gatewright.lab import client

    text = client.logs(name, client.pod_of(name, pod, namespace), container, tail)
    if text:
        click.echo(text)


@click.command()
@lab_name
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


VERBS = (execute, logs, probe)
