"""Charts and kustomizations become objects that know their templates; a program that misbehaves is one error."""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path

import pytest

from gatewright.sources.files import read
from gatewright.sources.programs import ProgramFailed, complaint, run
from gatewright.sources.render import parse_helm_output, read_chart, read_kustomization

CORPUS = Path(__file__).parents[4] / "shared" / "corpus" / "online-boutique"
POLICY = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p}\nspec:\n  podSelector: {}\n"
RENDERED = f"""---
# Source: shop/templates/policy.yaml
{POLICY}  ingres: []
---
# Source: shop/charts/db/templates/all.yaml
apiVersion: v1
kind: Namespace
metadata: {{name: one}}
---
# Source: shop/charts/db/templates/all.yaml
apiVersion: v1
kind: Namespace
metadata: {{name: two}}
"""


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all the PATH there is, besides the shell's."""
    folder = tmp_path / "programs"
    folder.mkdir()
    for name in ("sh", "sleep", "cat", "yes", "head"):
        (folder / name).symlink_to(shutil.which(name) or "/bin/false")
    monkeypatch.setenv("PATH", str(folder))
    return folder


def program(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def chart(tmp_path: Path) -> Path:
    directory = tmp_path / "my-chart"
    directory.mkdir()
    (directory / "Chart.yaml").write_text("apiVersion: v2\nname: shop\nversion: 1.0.0\n")
    return directory


def test_what_stands_in_a_chart_is_named_by_its_template(tmp_path: Path, programs: Path) -> None:
    directory = chart(tmp_path)
    (tmp_path / "rendered").write_text(RENDERED)
    program(programs, "helm", f'[ "$1 $2" = "template {directory}" ] && cat {tmp_path}/rendered')
    parsed = read([str(directory)])
    assert [str(item.origin) for item in parsed.objects] == [f"{directory}/charts/db/templates/all.yaml:1"] * 2
    assert [item.name for item in parsed.objects] == ["one", "two"]
    assert [str(problem) for problem in parsed.problems] == [
        f'{directory}/templates/policy.yaml:6: NetworkPolicy p: unknown field "spec.ingres"'
    ]


def test_a_piped_chart_keeps_its_templates() -> None:
    parsed = read(["-"], stdin=RENDERED.encode)
    assert [str(problem.where) for problem in parsed.problems] == ["shop/templates/policy.yaml:6"]
    assert [item.name for item in parsed.objects] == ["one", "two"]


def test_a_mark_in_the_text_of_an_object_is_no_template() -> None:
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata:\n  a: |\n    ---\n    # Source: x/y\n"
    [item] = parse_helm_output(text.encode(), "-").require()
    assert str(item.origin) == "-:1"


def test_a_chart_among_folders_is_rendered_as_one(tmp_path: Path, programs: Path) -> None:
    directory = chart(tmp_path)
    (directory / "templates").mkdir()
    (directory / "templates" / "broken.yaml").write_text("{{ template }}: [\n")
    program(programs, "helm", "echo '{apiVersion: v1, kind: Namespace, metadata: {name: x}}'")
    parsed = read([str(tmp_path)], recursive=True)
    assert [(item.name, str(item.origin)) for item in parsed.require()] == [("x", f"{directory} (helm):1")]


def test_without_the_program_the_pipe_is_named(tmp_path: Path, programs: Path) -> None:
    directory = chart(tmp_path)
    (directory / "kustomization.yaml").touch()
    [chart_problem], [kustomization_problem] = read_chart(directory).problems, read_kustomization(directory).problems
    end = f"{directory} | gatewright list -f -"
    wanted = f"a Helm chart, and helm is not installed here; pipe it: helm template {end}"
    assert str(chart_problem) == f"{directory}: {wanted}"
    assert kustomization_problem.what == (
        f"neither kubectl nor kustomize is installed here; pipe it: kubectl kustomize {end}"
    )


@pytest.mark.parametrize(("script", "said"), [
    ("echo warning >&2; echo 'Error: no values' >&2; echo usage >&2; exit 1", "helm says: Error: no values"),
    ("exit 3", "helm says: nothing"),
    ("printf ' \\n'", "helm makes no objects of it"),
])  # fmt: skip
def test_a_program_that_fails(tmp_path: Path, programs: Path, script: str, said: str) -> None:
    directory = chart(tmp_path)
    program(programs, "helm", script)
    assert [str(problem) for problem in read_chart(directory).problems] == [f"{directory}: {said}"]


@pytest.mark.parametrize(("script", "said"), [
    ("sleep 30 & sleep 30", "slow did not end within 0.3 seconds"),
    ("exec >&- 2>&-; sleep 30", "slow did not end within 0.3 seconds"),
    ("yes", "slow writes more than 1 MB"),
])  # fmt: skip
def test_a_program_without_end_is_ended(programs: Path, script: str, said: str) -> None:
    program(programs, "slow", script)
    begin = time.monotonic()
    with pytest.raises(ProgramFailed) as failed:
        run(["slow"], 1024 * 1024, seconds=0.3 if "yes" not in script else 20)
    assert (str(failed.value), time.monotonic() - begin < 10) == (said, True)


def test_much_complaint_does_not_block_or_pile_up(programs: Path) -> None:
    program(programs, "loud", "head -c 300000 /dev/zero >&2; echo x")
    assert run(["loud"], 100, seconds=30) == b"x\n"


def test_a_program_that_is_missing() -> None:
    with pytest.raises(ProgramFailed, match="no-such-program does not start: No such file or directory"):
        run(["no-such-program"], 1)


def test_complaints_are_one_printable_line() -> None:
    assert complaint(b"\x1b[31mfirst\nerror: \x1b[0mbad\n") == "[0mbad"
    assert len(complaint(b"x" * 5000)) == 503
    assert complaint(b'E1123 06:58:45.012830    8277 run.go:72] "command failed" err="it is bad"\n') == "it is bad"


def test_a_kustomization_beside_manifests_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("{apiVersion: v1, kind: Namespace, metadata: {name: a}}\n")
    (tmp_path / "kustomization.yaml").write_text("resources: [a.yaml]\n")
    parsed = read([str(tmp_path)])
    assert [item.name for item in parsed.require()] == ["a"]
    assert [str(warning) for warning in parsed.warnings] == [
        f"{tmp_path}: a kustomization; its files are read as they stand, and -k {tmp_path} builds it"
    ]
    (tmp_path / "a.yaml").unlink()
    assert [problem.what for problem in read([str(tmp_path)]).problems] == [
        f"a kustomization without manifests beside it; -k {tmp_path} builds it"
    ]


def test_kubectl_builds_a_kustomization(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    (tmp_path / "p.yaml").write_text(POLICY + "  ingress:\n  - from: [{}]\n")
    (tmp_path / "kustomization.yaml").write_text("namespace: shop\nnamePrefix: my-\nresources: [p.yaml]\n")
    [problem] = read_kustomization(tmp_path).problems
    assert problem.what.startswith("NetworkPolicy my-p: spec.ingress[0].from[0]: Required value")
    assert problem.where.startswith(f"{tmp_path} (kustomize):")
    (tmp_path / "kustomization.yaml").write_text("resources: [missing.yaml]\n")
    [problem] = read_kustomization(tmp_path).problems
    assert problem.what.startswith("kubectl says: accumulating resources")


def test_a_directory_without_kustomization(tmp_path: Path) -> None:
    said = [read_kustomization(place).problems[0].what for place in (tmp_path, tmp_path / "x", Path(__file__))]
    assert said == [
        "no kustomization.yaml in this directory; -f reads plain manifests",
        "no such directory; -k names the directory of a kustomization",
        "not a directory; -k names the directory of a kustomization",
    ]


@pytest.mark.skipif(not CORPUS.exists(), reason="the published manifests are not beside this checkout")
@pytest.mark.skipif(shutil.which("helm") is None, reason="helm is not installed")
def test_helm_renders_a_published_chart() -> None:
    parsed = read([str(CORPUS / "helm-chart")])
    assert len(parsed.require()) > 20
    for item in parsed.objects:
        assert item.origin is not None
        assert Path(item.origin.file).is_file(), "every object points at a template that is there"


@pytest.mark.skipif(not CORPUS.exists(), reason="the published manifests are not beside this checkout")
@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
def test_kubectl_builds_a_published_kustomization() -> None:
    assert len(read_kustomization(CORPUS / "kustomize").require()) == 24
