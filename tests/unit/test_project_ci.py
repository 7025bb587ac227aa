""".ci/run: fails when lint or a test fails, and when the machine could send no packet at all."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A directory of programs that come before the machine's own: a make that only says what it is asked.

    What the lab needs is there too, so that nothing is installed.
    """
    program(tmp_path, "make", 'echo "make $*"')
    for name in ("ip", "nft", "nsenter"):
        program(tmp_path, name, "exit 0")
    return tmp_path


def program(directory: Path, name: str, body: str) -> None:
    """Put a shell script there."""
    (directory / name).write_text(f"#!/bin/sh\n{body}\n")
    (directory / name).chmod(0o755)


def run(programs: Path) -> subprocess.CompletedProcess[str]:
    """Run the checks with these programs in front."""
    environment = os.environ | {"PATH": f"{programs}:{os.environ['PATH']}"}
    return subprocess.run(
        [".ci/run"], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def test_lint_and_tests_are_run(programs: Path) -> None:
    program(programs, "unshare", "exit 0")
    done = run(programs)
    assert (done.returncode, done.stdout) == (0, "make lint\nmake test\nci: everything passed\n")


@pytest.mark.parametrize("step", ["lint", "test"])
def test_a_failed_step_fails_the_run_after_the_other_ran_too(programs: Path, step: str) -> None:
    program(programs, "unshare", "exit 0")
    program(programs, "make", f'echo "make $*"; [ "$1" != {step} ]')
    done = run(programs)
    assert (done.returncode, done.stdout) == (1, "make lint\nmake test\n")


def test_a_machine_that_can_send_no_packet_fails_at_once(programs: Path) -> None:
    program(programs, "unshare", "exit 1")
    done = run(programs)
    assert (done.returncode, done.stdout) == (1, "")
    assert "no packet could be tested" in done.stderr
