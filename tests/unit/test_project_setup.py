"""scripts/setup: what it takes to be missing, and how it goes on where it may not install."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def setup(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run functions of scripts/setup in a shell that has sourced it, with nothing on standard input."""
    return subprocess.run(
        ["bash", "-c", f"source scripts/setup\n{script}"],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_without_root_and_sudo_the_command_is_printed_and_the_run_goes_on() -> None:
    done = setup("id() { echo 1000; }\nsudo() { return 1; }\nmissing() { printf 'one\\ntwo\\n'; }\nsetup_packages lab")
    assert done.returncode == 0
    assert done.stdout.count("\n") == 1
    assert "run as root: apt-get install --no-install-recommends one two" in done.stdout


def test_nothing_is_said_where_nothing_is_missing() -> None:
    done = setup("missing() { :; }\nsetup_packages lab application")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_failed_installation_shows_why_and_the_run_goes_on() -> None:
    done = setup(
        "id() { echo 0; }\nas_root='echo noise; echo \"E: Unable to locate package $1\"; exit 100'\n"
        "missing() { echo nothing-of-this-name; }\nsetup_packages application"
    )
    assert done.returncode == 0
    assert "  E: Unable to locate package nothing-of-this-name" in done.stdout
    assert "noise" not in done.stdout
    assert "could not install nothing-of-this-name" in done.stdout


def test_a_set_that_does_not_exist_is_refused() -> None:
    done = setup("setup_packages kernel")
    assert done.returncode == 2
    assert "no set of packages is called 'kernel'" in done.stderr


@pytest.mark.parametrize(("version", "accepted"), [((3, 10, 14), False), ((3, 11, 0), True), ((3, 13, 1), True)])
def test_only_a_python_new_enough_is_taken(tmp_path: Path, version: tuple[int, ...], accepted: bool) -> None:
    python = tmp_path / "python3"
    pretend = f"import sys; sys.version_info = {version}; exec(sys.argv[1])"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{pretend}" "$2"\n')
    python.chmod(0o755)
    done = setup(f"PATH={tmp_path}\nfind_python || true")
    assert (str(python) in done.stdout) == accepted
