"""The two states that `diff` compares, in every way of naming them, and the part of a difference that is asked for."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cli.running import run
from tests.unit.sources.apiserver import ApiServer, kubeconfig, serving

ROOT = Path(__file__).parents[3]
POD = "apiVersion: v1\nkind: Pod\nmetadata: {{name: {0}, labels: {{app: {0}}}}}\nspec: {{containers: [{{image: i}}]}}\n"
POLICY = (
    "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: db}\nspec:\n"
    "  podSelector: {matchLabels: {app: db}}\n  ingress:\n"
    "  - from: [{podSelector: {matchLabels: {app: api}}}]\n    ports: [{port: 3306}]\n"
)
CLOSED = [
    "~ default/api[Pod] => default/db[Pod] : All Connections -> TCP 3306",
    "- default/web[Pod] => default/db[Pod] : All Connections",
    "- 0.0.0.0-255.255.255.255[External] => default/db[Pod] : All Connections",
]
"""What the policy changes for the three pods."""

needs_kubectl = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")


def git(*arguments: str) -> None:
    identity = ("-c", "user.name=n", "-c", "user.email=e@example.com")
    subprocess.run(["git", *identity, *arguments], check=True, capture_output=True, timeout=30)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`base` with three pods, an overlay `open` that is the base, and an overlay `closed` that adds the policy."""
    for name in ("web", "api", "db"):
        (tmp_path / "base").mkdir(exist_ok=True)
        (tmp_path / "base" / f"{name}.yaml").write_text(POD.format(name))
    (tmp_path / "base" / "kustomization.yaml").write_text("resources: [web.yaml, api.yaml, db.yaml]\n")
    for name, resources in (("open", "../../base"), ("closed", "../../base, policy.yaml")):
        (tmp_path / "overlays" / name).mkdir(parents=True)
        (tmp_path / "overlays" / name / "kustomization.yaml").write_text(f"resources: [{resources}]\n")
    (tmp_path / "overlays" / "closed" / "policy.yaml").write_text(POLICY)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def lines(capsys: pytest.CaptureFixture[str], *arguments: object) -> list[str]:
    code, out, err = run(capsys, "diff", *arguments)
    assert (code, err) == (1 if out else 0, "")
    return out.splitlines()


@needs_kubectl
def test_two_kustomizations(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    assert lines(capsys, "-k", "overlays/open", "-k", "overlays/closed") == CLOSED
    assert lines(capsys, "-k", "overlays/open", "-k", "base") == []


@needs_kubectl
def test_the_first_on_the_command_line_is_old(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    (folder / "base" / "kustomization.yaml").rename(folder / "kept.yaml")
    plain = folder / "base"
    (folder / "overlay").mkdir()
    shutil.copytree(plain, folder / "overlay" / "base")
    (folder / "overlay" / "kustomization.yaml").write_text(
        "resources: [base/web.yaml, base/api.yaml, base/db.yaml, p.yaml]\n"
    )
    (folder / "overlay" / "p.yaml").write_text(POLICY)
    assert lines(capsys, "-f", plain, "-k", "overlay") == CLOSED
    assert {line[0] for line in lines(capsys, "-k", "overlay", "-f", plain)} == {"+", "~"}


def test_paths_by_option_are_paths(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    (folder / "base" / "kustomization.yaml").unlink()
    shutil.copytree(folder / "base", folder / "after")
    (folder / "after" / "policy.yaml").write_text(POLICY)
    assert lines(capsys, "-f", "base", "-f", "after") == lines(capsys, "base", "after") == CLOSED


@needs_kubectl
def test_a_kustomization_in_two_revisions(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    """The overlay is unchanged between them: what it is built from, outside of it, is not."""
    git("init", "-q", "-b", "main")
    (folder / "base" / "generated.env").write_text("A=1\n")
    with (folder / "base" / "kustomization.yaml").open("a") as stream:
        stream.write("configMapGenerator: [{name: c, envs: [generated.env]}]\n")
    git("add", ".")
    git("commit", "-q", "-m", "one")
    (folder / "base" / "policy.yaml").write_text(POLICY)
    with (folder / "base" / "kustomization.yaml").open("a") as stream:
        stream.write("components: [../parts/policy]\n")
    part = folder / "parts" / "policy"
    part.mkdir(parents=True)
    (part / "kustomization.yaml").write_text(
        "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nresources: [p.yaml]\n"
    )
    (part / "p.yaml").write_text(POLICY)
    (folder / "base" / "policy.yaml").unlink()
    git("add", ".")
    git("commit", "-q", "-m", "two")
    shutil.rmtree(folder / "parts")
    shutil.rmtree(folder / "base")
    assert lines(capsys, "HEAD~1..HEAD", "-k", "overlays/open") == CLOSED
    code, out, err = run(capsys, "diff", "HEAD", "-k", "overlays/open")
    assert (code, out) == (2, "")
    assert err.startswith("gatewright: overlays/open: kubectl says: accumulating resources")
    assert run(capsys, "diff", "HEAD..HEAD", "-k", "nowhere")[2].startswith("gatewright: neither HEAD nor HEAD has now")


@needs_kubectl
def test_what_a_revision_cannot_build_is_named_after_it(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    git("init", "-q", "-b", "main")
    (folder / "overlays" / "open" / "kustomization.yaml").write_text("resources: [../../gone]\n")
    git("add", ".")
    git("commit", "-q", "-m", "one")
    _, _, err = run(capsys, "diff", "main..main", "-k", "overlays/open")
    assert err.startswith("gatewright: main:overlays/open: kubectl says: accumulating resources")
    assert "/tmp" not in err


def live_pod(name: str, address: int) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "namespace": "default", "labels": {"app": name}},
        "spec": {"containers": [{"image": "i"}]},
        "status": {"podIP": f"10.0.0.{address}", "podIPs": [{"ip": f"10.0.0.{address}"}]},
    }


@pytest.fixture
def config(folder: Path) -> Iterator[Path]:
    """The kubeconfig of a cluster with the three pods."""
    pods = [live_pod(name, number) for number, name in enumerate(("web", "api", "db"), 1)]
    with serving(ApiServer({"/api/v1/pods": pods})) as server:
        yield kubeconfig(folder / "config", server.url, namespace="default")


def test_a_cluster_under_what_is_proposed(capsys: pytest.CaptureFixture[str], folder: Path, config: Path) -> None:
    proposed = folder / "overlays" / "closed" / "policy.yaml"
    found = lines(capsys, "--kubeconfig", config, "-f", proposed)
    assert found[:2] == CLOSED[:2]
    assert all(line.endswith("[External] => default/db[Pod] : All Connections") for line in found[2:])
    assert lines(capsys, "--kubeconfig", config, "--context", "test", "-f", proposed, "--from", "web") == CLOSED[1:2]
    assert lines(capsys, "--kubeconfig", config, "-f", folder / "base" / "web.yaml") == []


FILTERS = {
    "from": (("--from", "web"), CLOSED[1:2]),
    "to": (("--to", "db", "--from", "app in (api,web)"), CLOSED[:2]),
    "focus": (("--focus", "api"), CLOSED[:1]),
    "address": (("--from", "203.0.113.7"), CLOSED[2:]),
    "port that stays": (("--port", "3306", "--focus", "api"), []),
    "port that goes": (
        ("--port", "22", "--focus", "api"), ["- default/api[Pod] => default/db[Pod] : TCP 22"]
    ),
    "namespace": (("-n", "elsewhere"), []),
    "every namespace": (("-A", "-n", "elsewhere"), CLOSED),
    "labels": (("-l", "app=web"), CLOSED[1:2]),
}  # fmt: skip


@pytest.mark.parametrize("name", FILTERS)
def test_filters(capsys: pytest.CaptureFixture[str], folder: Path, name: str) -> None:
    (folder / "base" / "kustomization.yaml").unlink()
    shutil.copytree(folder / "base", folder / "after")
    (folder / "after" / "policy.yaml").write_text(POLICY)
    options, wanted = FILTERS[name]
    assert lines(capsys, "base", "after", *options) == wanted


def test_what_is_in_one_state_alone_can_be_named(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    (folder / "base" / "kustomization.yaml").unlink()
    shutil.copytree(folder / "base", folder / "after")
    (folder / "after" / "api.yaml").rename(folder / "after" / "new.yaml")
    (folder / "after" / "new.yaml").write_text(POD.format("new"))
    assert lines(capsys, "base", "after", "--from", "new", "--to", "web") == [
        "+ default/new[Pod] is new",
        "+ default/new[Pod] => default/web[Pod] : All Connections (default/new[Pod] is new)",
    ]
    assert lines(capsys, "base", "after", "--from", "api", "--to", "web") == [
        "- default/api[Pod] is gone",
        "- default/api[Pod] => default/web[Pod] : All Connections (default/api[Pod] is gone)",
    ]
    assert lines(capsys, "base", "after", "--from", "db", "--to", "web") == []
    assert lines(capsys, "base", "after", "--from", "web", "--port", "80") == [
        "+ default/new[Pod] is new",
        "- default/api[Pod] is gone",
        "- default/web[Pod] => default/api[Pod] : TCP 80 (default/api[Pod] is gone)",
        "+ default/web[Pod] => default/new[Pod] : TCP 80 (default/new[Pod] is new)",
    ]
    code, _, err = run(capsys, "diff", "base", "after", "--from", "nobody")
    assert (code, err.startswith("gatewright: 'nobody' names no pod or workload")) == (2, True)


def test_a_label_that_changes_is_no_new_connection(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    """`-l` goes by what a workload was or is: one that lost the label did not lose its connections with it."""
    (folder / "base" / "kustomization.yaml").unlink()
    shutil.copytree(folder / "base", folder / "after")
    (folder / "after" / "web.yaml").write_text(POD.format("web").replace("app: web", "app: shop"))
    (folder / "after" / "policy.yaml").write_text(POLICY)
    for label in ("app=web", "app=shop"):
        assert lines(capsys, "base", "after", "-l", label) == CLOSED[1:2]


@pytest.mark.parametrize("output", ["json", "md", "svg"])
def test_the_formats_show_the_part_alone(capsys: pytest.CaptureFixture[str], folder: Path, output: str) -> None:
    (folder / "base" / "kustomization.yaml").unlink()
    shutil.copytree(folder / "base", folder / "after")
    (folder / "after" / "policy.yaml").write_text(POLICY)
    code, out, _ = run(capsys, "diff", "base", "after", "--from", "web", "-o", output)
    assert (code, "web" in out, "api" in out) == (1, True, False)
    if output == "json":
        assert len(json.loads(out)["changes"]) == 1


WRONG = {
    "nothing": ((), "nothing to compare; write `gatewright diff OLD NEW`"),
    "one": (("-k", "base"), "one state; write"),
    "three": (("base", "base", "-k", "base"), "more than two states; write"),
    "standard input twice": (("-f", "-", "-f", "-"), "standard input can be one of the two states, not both"),
    "a cluster alone": (("--live",), "a cluster alone is one state: name what goes over it with -f or -k; write"),
    "a cluster and a state": (("--live", "base", "-f", "base"), "a cluster is compared with itself under what -f and"),
    "a cluster and paths": (("--live", "-f", "base", "--", "x"), "a cluster is compared with itself under what -f and"),
    "a path and a kustomization": (("base", "-k", "base"), "base is no revision but a path, and so is the other state"),
    "revision and input": (("HEAD", "-f", "-"), "standard input is no part of a revision"),
    "no revision": (("nope", "-k", "base"), "'nope' is no revision of this repository"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_not_two_states(capsys: pytest.CaptureFixture[str], folder: Path, name: str) -> None:
    git("init", "-q", "-b", "main")
    arguments, said = WRONG[name]
    code, out, err = run(capsys, "diff", *arguments)
    assert (code, out) == (2, "")
    assert said in err.splitlines()[-1]


def test_two_charts(capsys: pytest.CaptureFixture[str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program of helm's name renders a chart as what lies in its folder; findings name the chart's own template."""
    helm = folder / "programs" / "helm"
    helm.parent.mkdir()
    helm.write_text('#!/bin/sh\n[ "$1" = template ] && cat "$2"/rendered\n')
    helm.chmod(0o755)
    monkeypatch.setenv("PATH", f"{helm.parent}:/usr/bin:/bin")
    pods = "---\n".join(POD.format(name) for name in ("web", "api", "db"))
    for name, rendered in (("old", pods), ("new", f"{pods}---\n# Source: shop/templates/policy.yaml\n{POLICY}")):
        (folder / name).mkdir()
        (folder / name / "Chart.yaml").write_text("name: shop\n")
        (folder / name / "rendered").write_text(rendered)
    assert lines(capsys, "old", "new") == CLOSED
    _, out, _ = run(capsys, "explain", "web", "db", "3306", "-f", "new")
    assert "NetworkPolicy default/db (new/templates/policy.yaml:1)" in out
