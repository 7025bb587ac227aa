"""`gatewright completion`: the script by which a shell completes verbs and options.

The script comes from click. Each press of the tab key runs the command again with `_GATEWRIGHT_COMPLETE` set, so that
what is offered is what this version takes; nothing of it is written by hand.
"""

from __future__ import annotations

import click
from click.shell_completion import BashComplete, FishComplete, ShellComplete, ZshComplete

PROGRAM = "gatewright"
VARIABLE = "_GATEWRIGHT_COMPLETE"
SHELLS: dict[str, type[ShellComplete]] = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}


@click.command()
@click.argument("shell", type=click.Choice(list(SHELLS)))
def command(shell: str) -> None:
    """Print the script by which a shell completes this command.

    \b
      source <(gatewright completion bash)
      gatewright completion zsh > "${fpath[1]}/_gatewright"
      gatewright completion fish > ~/.config/fish/completions/gatewright.fish

    kubectl completes its plugin, `kubectl gatewright`, without a script of ours: it asks kubectl_complete-gatewright,
    which is installed beside the command.
    """
    click.echo(script(shell))


def script(shell: str) -> str:
    """The completion script of a shell: bash (4.4 or later), zsh or fish."""
    from gatewright.cli.main import cli

    # ShellComplete.source() would ask a bash on this machine for its version; the script is the same without one.
    completion = SHELLS[shell](cli, {}, PROGRAM, VARIABLE)
    return completion.source_template % completion.source_vars()
