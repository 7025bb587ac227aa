"""Show the three-tier application on a cluster of three nodes: four states, each predicted and measured with packets.

Everything is done with the command lines of gatewright and kubectl, as a user would type it, and shown as typed. Exits
with 1 if a prediction differs from a packet or the application does not answer as it should, and always takes the lab
down. The user's own kubeconfig stays as it is.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click

ROOT = Path(__file__).parents[1]
PROGRAMS = Path(sys.executable).parent
"""Where gatewright and kubectl are."""
LAB = "demo"
"""The demo's own lab, named once for all commands; another lab of the user is left alone."""
APPLICATION = "examples/three-tier"
POLICIES = f"{APPLICATION}/policies"
NEEDED = {"nginx": "nginx", "mariadbd": "MariaDB", "my_print_defaults": "MariaDB's tools", "curl": "curl"}
WIDTH = 98
"""Columns of the narration; fits a terminal of 100."""
ROW = '"name": "lamp"'
"""Stands in the API's answer when it was read from the database, and nowhere else."""
NODE_PORT = 30080


class Failure(Exception):
    """The demo cannot go on."""


@dataclass(frozen=True, slots=True)
class Command:
    """A command line, and the exit codes with which it says what it should."""

    text: str
    codes: tuple[int, ...] = (0,)


@dataclass(frozen=True, slots=True)
class State:
    """One state of the application: what it is called, what to look at, and the commands that bring it about.

    `differs` says that the packets are expected to differ from what the policies say.
    """

    title: str
    text: str
    commands: tuple[Command, ...]
    probe: str = "gatewright lab probe"
    differs: bool = False


FROM_WEB = "kubectl exec deploy/web -- curl -sS -m 1 telnet://db:3306"
TIMED_OUT = (28,)
"""What curl exits with when nobody answers, and also when somebody does who waits for it to speak."""

STATES = (
    State(
        "No policy",
        "Three nodes, a pod on each, a Service for each pod, on a network that allows everything. Each line is a "
        "connection: what the engine predicts, and what a packet did.",
        (Command(f"gatewright lab up --nodes 3 -f {APPLICATION}"), Command("kubectl get pods -o wide")),
    ),
    State(
        "A policy for the database",
        "db-policy lets only the API in, and only on 3306. The web tier and users lose their way to the database; the "
        "application does not notice.",
        (
            Command(f"kubectl create -f {POLICIES}/db-policy.yaml"),
            Command("gatewright lab wait"),
            Command(FROM_WEB, TIMED_OUT),
        ),
    ),
    State(
        "A policy for each component",
        "Least privilege: users to web, web to API, API to database, and the cluster's names. A port that no policy "
        "lists, 8080, is denied in both directions between any two. The database may open no connection, yet its rows "
        "arrive: replies need no rule of their own.",
        (
            Command(f"kubectl create -f {POLICIES}/api-policy.yaml -f {POLICIES}/web-policy.yaml"),
            Command(f"kubectl create -f {POLICIES}/db-egress-policy.yaml"),
            Command("gatewright lab wait"),
        ),
        "gatewright lab probe --port 8080",
    ),
    State(
        "The same policies on a network that does not enforce them",
        "A flat network, as Flannel's: the policies are accepted and nothing comes of it. Kubernetes stays silent "
        "there; the lab says so, `gatewright doctor` finds it on any cluster, and packets prove it.",
        (
            Command("gatewright lab down"),
            Command(f"gatewright lab up --nodes 3 -f {APPLICATION} -R --network flat"),
            Command("gatewright doctor", (1,)),
        ),
        "gatewright lab probe --strict",
        differs=True,
    ),
)


def missing_programs() -> Iterator[str]:
    """The application's programs that this machine lacks, as people call them."""
    path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
    for program, product in NEEDED.items():
        if shutil.which(program, path=path) is None:
            yield product
    if subprocess.run(["/usr/bin/python3", "-c", "import pymysql"], check=False, capture_output=True).returncode:
        yield "PyMySQL"


def show(command: str) -> None:
    """Show a command as a user types it."""
    click.secho(f"$ {command}", bold=True)


def words(command: str) -> list[str]:
    """The command as the words that a shell would make of it."""
    program, *rest = shlex.split(command)
    return [str(PROGRAMS / program), *rest]


def quietly(command: str) -> None:
    """Run a command of which nobody needs to hear."""
    subprocess.run(words(command), cwd=ROOT, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def run(command: Command) -> int:
    """Show a command and run it; its exit code, which is one of its own."""
    show(command.text)
    code = subprocess.run(words(command.text), cwd=ROOT, check=False).returncode
    if code not in command.codes:
        raise Failure(f"{command.text} failed with exit code {code}")
    return code


def node_address() -> str:
    """The address of a node, under which users reach the node ports."""
    answer = subprocess.run(words("gatewright lab status -o json"), cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout
    address: str = json.loads(answer)["nodes"][0]["addresses"][0]
    return address


def ask(url: str, real: bool) -> bool:
    """A user asks for the products; whether the answer is what it should be."""
    command = f"gatewright lab exec outside -- curl -sS -m 5 {url}"
    show(command)
    answer = subprocess.run(words(command), cwd=ROOT, check=False, stdout=subprocess.PIPE, text=True)
    click.echo(textwrap.fill(answer.stdout, WIDTH))
    if not real or (answer.returncode == 0 and ROW in answer.stdout):
        return True
    click.secho("The application did not answer with the rows of its database.", fg="red")
    return False


def demonstrate(real: bool) -> int:
    """Go through the states; how many things were not as they should be."""
    failures = 0
    for number, state in enumerate(STATES, 1):
        click.secho(f"\n{number}. {state.title}", fg="cyan", bold=True)
        click.echo(textwrap.fill(state.text, WIDTH) + "\n")
        for command in state.commands:
            run(command)
        failures += run(Command(state.probe, (0, 1))) != state.differs
        failures += not ask(f"http://{node_address()}:{NODE_PORT}/api", real)
    return failures


def main() -> int:
    """Run the demo."""
    with tempfile.TemporaryDirectory(prefix="gatewright-demo-") as folder:
        return show_all(Path(folder) / "kubeconfig")


def show_all(kubeconfig: Path) -> int:
    """Show everything, with the lab's context in this kubeconfig."""
    os.environ |= {"GATEWRIGHT_LAB": LAB, "KUBECONFIG": str(kubeconfig)}
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    missing = list(missing_programs())
    if missing:
        text = "The lab's stand-in listeners take the place of what is missing, and no row is read from a database."
        click.echo(textwrap.fill(f"Not installed here: {', '.join(missing)}. {text}", WIDTH))
    click.secho(f"$ export GATEWRIGHT_LAB={LAB} KUBECONFIG={kubeconfig}", bold=True)
    started = time.monotonic()
    quietly("gatewright lab down")
    try:
        failures = demonstrate(not missing)
    except Failure as failure:
        click.secho(f"\n{failure}", fg="red")
        return 1
    finally:
        quietly("gatewright lab down")
    took = f"{len(STATES)} states in {time.monotonic() - started:.1f} s, the lab is gone."
    if failures:
        click.secho(f"\n{failures} of the above is not as it should be. {took}", fg="red", bold=True)
        return 1
    click.secho(f"\nPackets did as predicted; the flat network enforced nothing. {took}", fg="green", bold=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
