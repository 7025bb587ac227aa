"""The command line's front door: a click group that imports a verb only when it is asked for.

Every verb is one module in this room. `main` turns each `GatewrightError` into one line a problem on stderr and exit
code 2, and so a bug; `--debug` shows the traceback instead. Ctrl-C ends with one line and 130, as a shell counts a
SIGINT: 1 would say that there are findings. Called as kubectl's plugin, help and usage say `kubectl gatewright`.
"""

from __future__ import annotations

import gc
import importlib
import itertools
import sys
from pathlib import PurePath
from typing import Any

import click

from gatewright.errors import GatewrightError

VERBS = {
    "list": ("gatewright.cli.list", "Show every connection that the policies allow."),
    "explain": ("gatewright.cli.explain", "Say whether one connection is allowed, and which rule decides."),
    "diff": ("gatewright.cli.diff", "Show the connections that a change of manifests adds, removes and changes."),
    "exposure": ("gatewright.cli.exposure", "Show what can be reached from outside, and whether policies let it."),
    "plan": ("gatewright.cli.plan", "Write the policies that a traffic model needs, and prove them."),
    "check": ("gatewright.cli.check", "Say whether policies keep a traffic model true, and what mends it."),
    "lint": ("gatewright.cli.lint", "Find what is wrong or doubtful about policies, and mend what is certain."),
    "lab": ("gatewright.cli.lab", "Run the pods of manifests on this machine, with policies enforced or not."),
    "doctor": ("gatewright.cli.doctor", "Say whether a cluster enforces its policies, and on which evidence."),
    "probe": ("gatewright.cli.probe", "Open connections in a cluster, and compare each with what policies say."),
    "agent": ("gatewright.cli.agent", "Make this node's kernel enforce the cluster's network policies."),
    "flows": ("gatewright.cli.flows", "Show the connections that the policies of this node denied."),
    "completion": ("gatewright.cli.completion", "Print the script by which a shell completes this command."),
}
"""verb: (module, one-line help). The module's attribute `command` is the click command."""

PLUGIN = "kubectl-gatewright"
"""The name under which kubectl finds its plugin."""

INTERRUPTED = 130
"""128 and the number of SIGINT."""

COLLECT_RARELY = (100_000, 20, 20)
"""Thresholds of Python's collector of cycles. Objects of a cluster live as long as the command and make no cycles, and
the usual thresholds look at all of them again and again: a third of the time of reading a large cluster."""


class LazyGroup(click.Group):
    """A group whose commands are imported when used; the list of them needs no import."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The verbs, in the order people meet them."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the verb's module and return its command."""
        if cmd_name not in VERBS:
            return None
        command: click.Command = importlib.import_module(VERBS[cmd_name][0]).command
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run the verb; Ctrl-C ends it in one line."""
        try:
            return super().invoke(ctx)
        except (KeyboardInterrupt, click.Abort):
            click.echo("gatewright: interrupted", err=True)
            raise click.exceptions.Exit(INTERRUPTED) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the verbs without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(verb, text) for verb, (_, text) in VERBS.items()])


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="gatewright", prog_name="gatewright")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def cli(debug: bool) -> None:
    """Kubernetes network policies: what they allow, made true by a kernel and proved by packets."""


def program(path: str) -> str:
    """What help and usage call the program that was started from this path."""
    return "kubectl gatewright" if PurePath(path).name == PLUGIN else "gatewright"


def main(arguments: list[str] | None = None) -> Any:
    """Run the command line; the entry point of `gatewright` and `kubectl gatewright`."""
    gc.set_threshold(*COLLECT_RARELY)
    arguments = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in itertools.takewhile(lambda argument: argument.startswith("-"), arguments)
    try:
        return cli.main(arguments, prog_name=program(sys.argv[0]), complete_var="_GATEWRIGHT_COMPLETE")
    except GatewrightError as error:
        if debug:
            raise
        lines = str(error).splitlines()
    except Exception as error:
        if debug:
            raise
        what = f"internal error: {type(error).__name__}: {error}".replace("\n", " ")
        lines = [f"{what}; this is a bug, `gatewright --debug ...` shows where"]
    for line in lines:
        click.echo(f"gatewright: {line}", err=True)
    sys.exit(2)
