"""What other programs read of this repository: the GitHub Action, the pre-commit hooks, the container's recipe."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "examples" / "traffic" / "three-tier.yaml"
MANIFESTS = ROOT / "examples" / "three-tier"
BROKEN = """\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: broken, namespace: default}
spec: {podSelector: {}, policyTypes: [Sideways]}
"""
ACTION: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text())
HOOKS: dict[str, dict[str, Any]] = {
    hook["id"]: hook for hook in yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
}
COMMAND = f'#!/bin/sh\nexec "{sys.executable}" -m gatewright "$@"\n'


def installed(folder: Path) -> Path:
    """A folder in which `gatewright` stands, as the Action's first step and pre-commit leave it."""
    program = folder / "gatewright" / "bin" / "gatewright"
    program.parent.mkdir(parents=True)
    program.write_text(COMMAND)
    program.chmod(0o755)
    return program.parent


def act(folder: Path, **inputs: str) -> tuple[int, str, dict[str, Any], str]:
    """Run the Action's own step: exit code, standard output, SARIF and step outputs."""
    installed(folder)
    step = next(one for one in ACTION["runs"]["steps"] if one.get("id") == "gatewright")
    given = {name: str(one["default"]) for name, one in ACTION["inputs"].items()} | inputs
    variables = {
        name: given[re.fullmatch(r"\$\{\{ inputs\.([a-z-]+) \}\}", value)[1]]  # type: ignore[index]
        for name, value in step["env"].items()
    }
    outputs = folder / "outputs"
    outputs.touch()
    surroundings = {**os.environ, **variables, "RUNNER_TEMP": str(folder), "GITHUB_OUTPUT": str(outputs)}
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
        check=False, cwd=folder, env=surroundings, capture_output=True, text=True,
    )  # fmt: skip
    sarif = (folder / "gatewright.sarif").read_text()
    return done.returncode, done.stdout, json.loads(sarif or "{}"), outputs.read_text()


def test_the_action_is_clean_about_a_sound_application(tmp_path: Path) -> None:
    code, _, sarif, outputs = act(tmp_path, paths=str(MANIFESTS), model=str(MODEL))
    assert (code, outputs, sarif["version"]) == (0, "sarif=gatewright.sarif\n", "2.1.0")


@pytest.mark.parametrize("extra", ["", f"\n{MANIFESTS}\n"])
def test_the_action_fails_and_annotates_what_is_wrong(tmp_path: Path, extra: str) -> None:
    (tmp_path / "a b.yaml").write_text(BROKEN)
    code, shown, sarif, _ = act(tmp_path, paths=f"a b.yaml{extra}")
    assert code == 1
    assert "::error file=a b.yaml,line=" in shown
    assert sarif["runs"][0]["results"]


def test_the_action_takes_a_name_for_no_command(tmp_path: Path) -> None:
    code, _, sarif, outputs = act(tmp_path, paths="$(touch hurt); touch hurt")
    assert (code, sarif, outputs) == (2, {}, "")  # nothing was read, so nothing is uploaded as clean
    assert not (tmp_path / "hurt").exists()


def test_no_script_of_the_action_holds_an_expression() -> None:
    assert not [step for step in ACTION["runs"]["steps"] if "${{" in step.get("run", "")]


@pytest.mark.parametrize(
    ("hook", "args", "code"),
    [
        ("gatewright-lint", None, 1),
        ("gatewright-lint", ["-R", "-f", str(MANIFESTS)], 0),
        ("gatewright-check", [str(MODEL), "-R", "-f", str(MANIFESTS)], 0),
        ("gatewright-check", [str(MODEL), "-f", str(MANIFESTS)], 1),
    ],
)
def test_a_hook_runs_as_pre_commit_calls_it(tmp_path: Path, hook: str, args: list[str] | None, code: int) -> None:
    path = f"{installed(tmp_path)}:{os.environ['PATH']}"
    (tmp_path / "broken.yaml").write_text(BROKEN)
    description = HOOKS[hook]
    assert description["language"] == "python"
    assert description["pass_filenames"] is False
    command = [*shlex.split(description["entry"]), *(description.get("args", []) if args is None else args)]
    surroundings = {**os.environ, "PATH": path}
    done = subprocess.run(command, check=False, cwd=tmp_path, env=surroundings, capture_output=True, text=True)
    assert done.returncode == code, done.stdout + done.stderr


def test_the_image_installs_the_lock_and_copies_what_is_there() -> None:
    text = (ROOT / "Containerfile").read_text()
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert "--require-hashes -r requirements/runtime.txt" in text
    assert "pip install --no-cache-dir --no-deps ." in text
    assert all(re.fullmatch(r"python:3\.\d+-slim", base) for base in re.findall(r"^FROM (\S+)", text, re.MULTILINE))
    copied = {name for line in re.findall(r"^COPY (?!--)(.+)", text, re.MULTILINE) for name in line.split()[:-1]}
    assert copied == allowed
    assert all((ROOT / name).exists() for name in copied)
