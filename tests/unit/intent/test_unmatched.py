"""Peers of policies that nobody is yet: `check --exact` tells what they are let through to."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.cli.running import run

ROOT = Path(__file__).parents[3]
MODEL, MANIFESTS = (str(ROOT / "tests/unit/intent/scene" / f"{name}.yaml") for name in ("traffic", "manifests"))
PLAN = str(ROOT / "tests/golden/traffic/plan.yaml")
POLICY = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {{name: legacy, namespace: shop}}
spec:
  podSelector: {{}}
  policyTypes: [Ingress]
  ingress: [{{from: [{peer}], ports: [{{port: 7777}}]}}]
"""


@pytest.mark.parametrize(
    ("peer", "told"),
    [
        ("{podSelector: {matchLabels: {app: legacy}}}", "a pod with labels app=legacy of shop => "),
        (
            "{podSelector: {matchLabels: {app: legacy}}, namespaceSelector: {matchLabels: {team: old}}}",
            "a pod with labels app=legacy of namespace-of-peer-0 => ",
        ),
        (
            "{podSelector: {matchExpressions: [{key: app, operator: In, values: [blue, green]}]}}",
            "a pod with labels app=blue of",
        ),
    ],
)
def test_a_peer_that_nobody_is_yet_is_beyond(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, peer: str, told: str
) -> None:
    policy = tmp_path / "legacy.yaml"
    policy.write_text(POLICY.format(peer=peer))
    code, out, _ = run(capsys, "check", MODEL, "-f", MANIFESTS, "-f", PLAN, "-f", str(policy), "--exact")
    assert code == 1
    assert told in out


def test_a_peer_that_nobody_can_be_is_none(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    never = "{podSelector: {matchLabels: {app: a}, matchExpressions: [{key: app, operator: DoesNotExist}]}}"
    policy = tmp_path / "legacy.yaml"
    policy.write_text(POLICY.format(peer=never))
    code, out, _ = run(capsys, "check", MODEL, "-f", MANIFESTS, "-f", PLAN, "-f", str(policy), "--exact")
    assert (code, "a pod with labels" in out) == (0, False)
