"""`kubectl_complete-gatewright`: what kubectl runs to complete `kubectl gatewright`.

kubectl hands over the words after the plugin's name, the last one unfinished and perhaps empty, and reads one proposal
a line and at the end a directive, `:` and a number, as spf13/cobra defines it.
"""

from __future__ import annotations

import sys

import click
from click.shell_completion import ShellComplete

from gatewright.cli.completion import PROGRAM, VARIABLE
from gatewright.cli.main import cli

DEFAULT = 0
"""ShellCompDirectiveDefault: the shell offers file names where there is no proposal."""
NO_FILE_COMP = 4
"""ShellCompDirectiveNoFileComp: it does not."""

FILES = ("file", "dir")
"""Kinds of click's proposals that ask the shell for its own file names, and carry none."""


def answer(words: list[str]) -> list[str]:
    """The lines that kubectl reads, for the words after `kubectl gatewright`."""
    *before, unfinished = words or [""]
    items = ShellComplete(cli, {}, PROGRAM, VARIABLE).get_completions(before, unfinished)
    proposals = [f"{item.value}\t{item.help}" if item.help else item.value for item in items if item.type not in FILES]
    return [*proposals, f":{NO_FILE_COMP if proposals else DEFAULT}"]


def main() -> None:
    """Run as kubectl does."""
    click.echo("\n".join(answer(sys.argv[1:])))
