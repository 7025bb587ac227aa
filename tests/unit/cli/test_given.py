"""What a run makes of several sources, and of those that cannot be read whole."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cli.running import run
from tests.unit.sources.apiserver import ApiServer, kubeconfig, serving

POD = "apiVersion: v1\nkind: Pod\nmetadata: {{name: {0}, labels: {{app: {0}}}}}\nspec: {{containers: [{{image: i}}]}}\n"
DENY = (
    "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p, namespace: NAMESPACE}\n"
    "spec: {podSelector: {matchLabels: {app: db}}}\n"
)


@pytest.fixture
def manifests(tmp_path: Path) -> Path:
    directory = tmp_path / "manifests"
    directory.mkdir()
    for name in ("web", "db"):
        (directory / f"{name}.yaml").write_text(POD.format(name))
    return directory


def test_a_bad_document_hides_no_answer(capsys: pytest.CaptureFixture[str], manifests: Path) -> None:
    bad = manifests / "bad.yaml"
    bad.write_text("kind: [\n")
    for options, code in ((), 2), (("--keep-going",), 0):
        done = run(capsys, "list", "-f", manifests, *options)
        assert (done[0], "default/web[Pod] => default/db[Pod] : All Connections" in done[1]) == (code, True)
        assert done[2] == f"gatewright: {bad}:2: not YAML: did not find expected node content\n"


@pytest.mark.parametrize(("bad", "options", "code"), [
    (False, (), 1), (True, (), 2), (True, ("--keep-going",), 1), (False, ("--keep-going",), 1)
])  # fmt: skip
def test_the_exit_code_is_the_answers_own_only_when_all_was_read(
    capsys: pytest.CaptureFixture[str], manifests: Path, bad: bool, options: tuple[str, ...], code: int
) -> None:
    (manifests / "deny.yaml").write_text(DENY.replace("NAMESPACE", "default") + ("---\n- 1\n" if bad else ""))
    done = run(capsys, "explain", "web", "db", "80", "-f", manifests, *options)
    assert (done[0], done[1].splitlines()[0]) == (code, "DENIED: default/web[Pod] => default/db[Pod] : TCP 80")


@pytest.mark.parametrize("options", [(), ("--keep-going",)])
def test_nothing_to_answer_from_is_an_error(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, options: tuple[str, ...]
) -> None:
    assert run(capsys, "list", "-f", tmp_path / "x", *options) == (
        2, "", f"gatewright: {tmp_path}/x: no such file or directory\n"
    )  # fmt: skip


def test_no_source_at_all(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "list")
    assert (code, out) == (2, "")
    assert "nothing to read: name manifests with -f or -k, or a cluster with --live" in err


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
def test_a_kustomization_beside_files(capsys: pytest.CaptureFixture[str], manifests: Path, tmp_path: Path) -> None:
    overlay = tmp_path / "overlay"
    overlay.mkdir()
    (overlay / "api.yaml").write_text(POD.format("api"))
    (overlay / "kustomization.yaml").write_text("resources: [api.yaml]\n")
    code, out, err = run(capsys, "list", "-k", overlay, "-f", manifests)
    assert (code, err) == (0, "")
    assert "default/api[Pod] => default/db[Pod] : All Connections" in out


def live_pod(name: str) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "shop", "labels": {"app": name}}
    return {"metadata": metadata, "spec": {"containers": [{"image": "i"}]}, "status": {"podIP": "10.0.0.1"}}


@pytest.mark.parametrize("written", [", namespace: shop", ""])
def test_a_cluster_with_a_proposal_over_it(capsys: pytest.CaptureFixture[str], tmp_path: Path, written: str) -> None:
    """What names no namespace is meant for that of the context."""
    proposal = tmp_path / "new.yaml"
    proposal.write_text(DENY.replace(", namespace: NAMESPACE", written))
    with serving(ApiServer({"/api/v1/pods": [live_pod("web"), live_pod("db")]})) as server:
        config = kubeconfig(tmp_path / "config", server.url)
        question = ("explain", "web", "db", "80", "--kubeconfig", config)
        assert run(capsys, *question)[0] == 0
        code, out, _ = run(capsys, *question, "-f", proposal)
        assert (code, out.splitlines()[0]) == (1, "DENIED: shop/web[Pod] => shop/db[Pod] : TCP 80")
        answer = json.loads(run(capsys, "list", "--kubeconfig", config, "--context", "test", "-o", "json")[1])
        assert answer["connections"]


def test_a_cluster_that_shows_a_part_is_said(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    refused = {"/api/v1/nodes": 403, "/api/v1/pods": 403}
    held = {"/api/v1/namespaces/shop/pods": [live_pod("web")]}
    with serving(ApiServer(held, refused)) as server:
        config = kubeconfig(tmp_path / "config", server.url)
        code, out, err = run(capsys, "list", "--kubeconfig", config)
        assert (code, "shop/web[Pod]" in out) == (2, True)
        assert [line[:41] for line in err.splitlines()] == [
            "gatewright: warning: cluster test: pods: ", "gatewright: cluster test: nodes: not allo",
            "gatewright: warning: cluster test may not"
        ]  # fmt: skip
        code, out, err = run(capsys, "list", "-A", "--keep-going", "--kubeconfig", config)
        assert (code, out, len(err.splitlines())) == (2, "", 2)


def test_a_kubeconfig_that_is_missing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    said = f"gatewright: no kubeconfig at {tmp_path}/none; name one with --kubeconfig, or set KUBECONFIG\n"
    assert run(capsys, "list", "--kubeconfig", tmp_path / "none") == (2, "", said)


def test_live_without_lightkube(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lightkube.config.kubeconfig", None)
    code, _, err = run(capsys, "list", "--live")
    assert (code, len(err.splitlines())) == (2, 1)
    assert "pip install 'gatewright[live]'" in err
