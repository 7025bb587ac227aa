"""What `gatewright plan` writes goes into a cluster as it is, by `kubectl create -f`; `check` reads it from there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.endpoint import kubectl

pytestmark = pytest.mark.cluster
EXAMPLES = Path(__file__).parents[2] / "examples"
MODEL = EXAMPLES / "traffic" / "three-tier.yaml"
APPLICATION = EXAMPLES / "three-tier"
_RUN = "from gatewright.cli.main import main; main()"


def gatewright(*words: str | Path, expected: int = 0) -> str:
    done = subprocess.run([sys.executable, "-c", _RUN, *map(str, words)], capture_output=True, text=True, check=False)
    assert done.returncode == expected, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("style", ["namespace", "component"])
def test_planned_policies_are_created_unchanged_and_check_clean_in_the_cluster(
    kubeconfig: Path, tmp_path: Path, style: str
) -> None:
    application = [word for name in ("web", "api", "db") for word in ("-f", str(APPLICATION / f"{name}.yaml"))]
    planned = tmp_path / "policies.yaml"
    planned.write_text(gatewright("plan", MODEL, *application, "--style", style))
    said = kubectl(kubeconfig, "create", "-f", str(planned))
    created = [line for line in said.splitlines() if line.startswith("networkpolicy.") and line.endswith(" created")]
    assert len(created) == len(said.splitlines()) > 0
    kubectl(kubeconfig, "create", *application)
    try:
        gatewright("check", MODEL, "--kubeconfig", kubeconfig, "--exact")
    finally:
        kubectl(kubeconfig, "delete", "-f", str(planned))
        kubectl(kubeconfig, "delete", *application, "--wait=false")
