"""How people start and stop the command: as kubectl's plugin, by the tab key, and with Ctrl-C."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner

from gatewright.cli import main as front_door
from gatewright.cli.kubectl_complete import answer

SHELLS = {
    "bash": "complete -o nosort -F",
    "zsh": "#compdef gatewright",
    "fish": "complete --no-files --command gatewright",
}


def test_ctrl_c_ends_with_one_line_and_130() -> None:
    # Standard input is a pipe that nobody writes to: the command is still at work when the signal comes.
    command = [sys.executable, "-m", "gatewright", "list", "-f", "-"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        time.sleep(2)
        process.send_signal(signal.SIGINT)
        try:
            process.wait(timeout=20)
        finally:
            process.kill()
        assert process.stderr is not None
        lines = [line for line in process.stderr.read().decode().splitlines() if line]
    assert (process.returncode, lines) == (130, ["gatewright: interrupted"])


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/usr/bin/kubectl-gatewright", "kubectl gatewright"),
        ("/usr/bin/gatewright", "gatewright"),
        ("x.py", "gatewright"),
    ],
)
def test_help_names_the_program_as_it_was_called(path: str, name: str) -> None:
    assert front_door.program(path) == name


def test_the_plugin_says_how_kubectl_calls_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["/opt/bin/kubectl-gatewright", "lint", "--help"])
    with pytest.raises(SystemExit) as exited:
        front_door.main()
    assert exited.value.code == 0
    assert capsys.readouterr().out.startswith("Usage: kubectl gatewright lint [OPTIONS]")


@pytest.mark.parametrize("shell", SHELLS)
def test_every_shell_gets_a_script_that_it_can_read(shell: str) -> None:
    result = CliRunner().invoke(front_door.cli, ["completion", shell])
    assert result.exit_code == 0
    assert SHELLS[shell] in result.output
    assert "_GATEWRIGHT_COMPLETE=" in result.output
    if program := shutil.which(shell):
        subprocess.run([program, "-n"], input=result.output, text=True, check=True)


def test_the_tab_key_completes_verbs() -> None:
    words = {"COMP_WORDS": "gatewright li", "COMP_CWORD": "1", "_GATEWRIGHT_COMPLETE": "bash_complete"}
    command = [sys.executable, "-c", "from gatewright.cli.main import main; main()"]
    done = subprocess.run(command, env={**os.environ, **words}, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["plain,list", "plain,lint"]


@pytest.mark.parametrize(
    ("words", "proposals", "directive"),
    [
        (["lin"], ["lint"], ":4"),
        (["lint", "--fail-on", ""], ["error", "warning", "never"], ":4"),
        (["lint", "--fail"], ["--fail-on"], ":4"),
        (["lint", "-f", ""], [], ":0"),
    ],
)
def test_kubectl_is_told_proposals_and_whether_files_fit(
    words: list[str], proposals: list[str], directive: str
) -> None:
    *lines, last = answer(words)
    assert ([line.split("\t")[0] for line in lines], last) == (proposals, directive)


def test_kubectl_is_offered_every_verb() -> None:
    assert {line.split("\t")[0] for line in answer([""])[:-1]} == set(front_door.VERBS)
