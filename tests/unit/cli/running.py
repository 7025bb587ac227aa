"""Running the command line inside a test."""

from __future__ import annotations

import pytest

from gatewright.cli.main import main


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of a command line."""
    code = 0
    try:
        main([str(one) for one in arguments])
    except SystemExit as stop:
        code = int(stop.code or 0)
    captured = capsys.readouterr()
    return code, captured.out, captured.err
