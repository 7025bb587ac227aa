"""`gatewright lint` as a user meets it: formats, exit codes, selection, fixes."""

from __future__ import annotations

import json
import shutil
import stat
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.golden import assert_golden
from tests.unit.cli import running
from tests.unit.sources.apiserver import ApiServer, kubeconfig, serving

ROOT = Path(__file__).parents[3]
SCENE = "tests/unit/cli/lint.yaml"
SCHEMA = json.loads((ROOT / "docs" / "schemas" / "findings-v1.schema.json").read_text())
SARIF = json.loads((ROOT / "tests" / "schemas" / "sarif-2.1.0.json").read_text())
CLEAN = "{apiVersion: v1, kind: ConfigMap, metadata: {name: c}}\n"
WARNING = (
    "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p}\nspec:\n  podSelector: {}\n"
    "  policyTypes: [Ingress]\n  ingress:\n  - from: [{ipBlock: {cidr: 0.0.0.0/0}}]\n"
)
ERROR = WARNING.replace("policyTypes: [Ingress]", "policyTypes: [Egress]")


@pytest.fixture(autouse=True)
def _at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of `gatewright lint`."""
    return running.run(capsys, "lint", *arguments)


@pytest.mark.parametrize("output", ["table", "wide", "json", "yaml", "csv", "md", "github", "junit"])
def test_formats(capsys: pytest.CaptureFixture[str], output: str) -> None:
    code, out, err = run(capsys, "-f", SCENE, "-o", output)
    assert code == 1
    assert err == "5 findings: 4 errors, 1 warning; 1 suppressed ([*] 2 can be mended with --fix)\n"
    assert_golden(f"cli/lint.{'txt' if output == 'table' else output}", out)


def test_the_document_is_of_its_schema(capsys: pytest.CaptureFixture[str]) -> None:
    document = json.loads(run(capsys, "-f", SCENE, "-o", "json")[1])
    jsonschema.Draft202012Validator(SCHEMA).validate(document)
    assert yaml.safe_load(run(capsys, "-f", SCENE, "-o", "yaml")[1]) == document
    assert document["suppressed"][0]["reason"] == "the shop is open to everybody"


def test_sarif_is_valid(capsys: pytest.CaptureFixture[str]) -> None:
    log = json.loads(run(capsys, "-f", SCENE, "-o", "sarif")[1])
    jsonschema.Draft4Validator(SARIF).validate(log)
    run_, results = log["runs"][0], log["runs"][0]["results"]
    rules = run_["tool"]["driver"]["rules"]
    assert all(rules[one["ruleIndex"]]["id"] == one["ruleId"] for one in results)
    suppressed = [one for one in results if "suppressions" in one]
    assert [one["ruleId"] for one in suppressed] == ["GW403"]
    places = [one["locations"][0]["physicalLocation"] for one in results]
    assert {place["artifactLocation"]["uri"] for place in places} == {SCENE}
    named = next(one for one in results if one["ruleId"] == "GW301")
    assert named["locations"][0]["physicalLocation"]["region"] == {"startLine": 25}
    assert len({one["partialFingerprints"]["gatewright/v1"] for one in results}) == len(results)


def test_sarif_without_findings_is_valid(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "a b.yaml").write_text(CLEAN)
    code, out, _ = run(capsys, "-f", tmp_path / "a b.yaml", "-o", "sarif")
    log = json.loads(out)
    jsonschema.Draft4Validator(SARIF).validate(log)
    assert (code, log["runs"][0]["results"]) == (0, [])


def test_sarif_writes_a_file_as_a_uri(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "a b#1.yaml"
    path.write_text(WARNING)
    log = json.loads(run(capsys, "-f", path, "-o", "sarif")[1])
    artifact = log["runs"][0]["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]
    assert artifact["uri"] == f"file://{tmp_path}/a%20b%231.yaml"


def test_junit_loads(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    root = ET.fromstring(run(capsys, "-f", SCENE, "-o", "junit")[1])
    cases = root.findall("testsuite/testcase")
    assert len(cases) == int(root.attrib["tests"]) == int(root.attrib["failures"]) == 5
    assert all(case.find("failure") is not None and case.attrib["file"] == SCENE for case in cases)
    (tmp_path / "clean.yaml").write_text(CLEAN)
    root = ET.fromstring(run(capsys, "-f", tmp_path / "clean.yaml", "-o", "junit")[1])
    assert (root.attrib["tests"], root.attrib["failures"]) == ("1", "0")


def test_github_shows_file_and_line(capsys: pytest.CaptureFixture[str]) -> None:
    lines = run(capsys, "-f", SCENE, "-o", "github")[1].splitlines()
    assert lines[0].startswith(f"::error file={SCENE},line=25,title=GW301 NetworkPolicy shop/web::spec.ingress[0]")
    assert any("%25en" in line for line in lines), "a per cent sign is escaped"


@pytest.mark.parametrize(("text", "fail_on", "code"), [
    (CLEAN, "warning", 0), (WARNING, "error", 0), (WARNING, "warning", 1), (ERROR, "error", 1), (ERROR, "warning", 1),
    (ERROR, "never", 0), ("kind: [\n", "error", 1), ("kind: [\n", "never", 0),
])  # fmt: skip
def test_exit_codes(capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str, fail_on: str, code: int) -> None:
    (tmp_path / "x.yaml").write_text(text)
    assert run(capsys, "-f", tmp_path, "--fail-on", fail_on)[0] == code


def test_what_could_not_be_opened_is_no_finding_but_an_error(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "x.yaml").write_text(WARNING)
    code, out, err = run(capsys, "-f", tmp_path / "x.yaml", "-f", tmp_path / "y.yaml")
    assert (code, "GW403" in out) == (2, True)
    assert err.startswith(f"gatewright: {tmp_path}/y.yaml: no such file or directory\n")
    assert run(capsys, "-f", tmp_path / "x.yaml", "-f", tmp_path / "y.yaml", "--keep-going")[0] == 0


def test_nothing_read_is_an_error(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    done = run(capsys, "-f", tmp_path / "y.yaml", "--keep-going")
    assert done == (2, "", f"gatewright: {tmp_path}/y.yaml: no such file or directory\n")


@pytest.mark.parametrize("refused", [False, True])
def test_of_a_cluster_read_whole_what_is_absent_does_not_exist(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, refused: bool
) -> None:
    policy = {**yaml.safe_load(WARNING), "metadata": {"name": "p", "namespace": "shop"}}
    held: dict[str, list[Any]] = {"/api/v1/pods": [], "/apis/networking.k8s.io/v1/networkpolicies": [policy]}
    with serving(ApiServer(held, {"/api/v1/nodes": 403} if refused else {})) as server:
        config = kubeconfig(tmp_path / "config", server.url)
        code, out, err = run(capsys, "--kubeconfig", config, "--fail-on", "warning")
    lines = out.splitlines()
    assert lines[-1].startswith("GW403 warning: NetworkPolicy shop/p: spec.ingress[0].from[0]: admits every")
    assert (len(lines), code) == ((1, 2) if refused else (2, 1))
    assert refused == ("nodes: not allowed" in err)
    assert refused or lines[0].startswith("GW101 warning: NetworkPolicy shop/p: spec.podSelector: selects no pod")


@pytest.mark.parametrize(("options", "ids"), [
    ((), ["GW301", "GW503", "GW701", "GW901", "GW001"]),
    (("--select", "GW5"), ["GW503", "GW001", "GW001"]),
    (("--select", "GW5,GW3", "--ignore", "GW301"), ["GW503", "GW001", "GW001"]),
    (("--select", "GW503", "--ignore", "GW5"), ["GW503", "GW001", "GW001"]),
    (("--ignore", "GW3", "--ignore", "gw7"), ["GW503", "GW901", "GW001"]),
    (("--ignore", "ALL", "--extend-select", "GW70"), ["GW701", "GW001", "GW001"]),
])  # fmt: skip
def test_selection(capsys: pytest.CaptureFixture[str], options: tuple[str, ...], ids: list[str]) -> None:
    out = run(capsys, "-f", SCENE, *options)[1]
    found = [line.split(": ")[1].split()[0] for line in out.splitlines()]
    assert sorted(found) == sorted(ids)


def test_an_unknown_rule_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    for option in ("--select", "--ignore", "--extend-select", "--explain"):
        code, out, err = run(capsys, "-f", SCENE, option, "GX1")
        assert (code, out) == (2, "")
        assert err == "gatewright: no rule 'GX1'; write an id (GW101), the beginning of some (GW1) or ALL\n"


def test_explain(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "--explain", "GW202")
    assert (code, out.splitlines()[0]) == (0, "GW202 and-or (error)")
    assert run(capsys, "--explain", "and-or")[1] == out
    listed = run(capsys, "--explain", "all")[1].splitlines()
    assert [line.split()[0] for line in listed] == sorted(line.split()[0] for line in listed)
    assert len(listed) > 35


def test_a_namespace_keeps_its_own_and_what_could_not_be_read(capsys: pytest.CaptureFixture[str]) -> None:
    assert "GW301" in run(capsys, "-f", SCENE, "-n", "shop")[1]
    assert {line.split()[1] for line in run(capsys, "-f", SCENE, "-n", "other")[1].splitlines()} == {"GW001"}


def test_a_namespace_without_policies_is_its_own(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pod = "{apiVersion: v1, kind: Pod, metadata: {name: p, namespace: NS}, spec: {containers: [{name: c, image: i}]}}"
    (tmp_path / "x.yaml").write_text("\n---\n".join(pod.replace("NS", name) for name in ("shop", "other")))
    lines = run(capsys, tmp_path, "-n", "shop")[1].splitlines()
    assert [line.partition("GW603 info: ")[2].partition(":")[0] for line in lines] == ["Namespace shop"]
    assert len(run(capsys, tmp_path, "-n", "shop", "-A")[1].splitlines()) == 2


def test_nothing_to_read_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys)[0] == 2


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    path = tmp_path / "scene.yaml"
    shutil.copy(SCENE, path)
    path.chmod(0o640)
    return path


def test_diff_shows_the_fixes_and_writes_nothing(capsys: pytest.CaptureFixture[str], scene: Path) -> None:
    before = scene.read_text()
    code, out, err = run(capsys, "-f", scene, "--diff")
    assert (code, err) == (1, "Would mend 2 findings.\n")
    assert_golden("cli/lint-diff.txt", out.replace(str(scene), "scene.yaml"))
    assert scene.read_text() == before


def test_fix_writes_them_and_keeps_everything_else(capsys: pytest.CaptureFixture[str], scene: Path) -> None:
    before = scene.read_text()
    code, out, err = run(capsys, "-f", scene, "--fix")
    after = scene.read_text()
    assert "GW503" not in out
    assert "GW901" not in out
    assert (code, err.startswith("2 mended; ")) == (1, True)
    assert "apiVersion: networking.k8s.io/v1 # from the old days" in after
    removed = [line for line in before.splitlines() if line not in after.splitlines()]
    assert removed == ["    - podSelector: # the same", "apiVersion: extensions/v1beta1 # from the old days"]
    assert stat.S_IMODE(scene.stat().st_mode) == 0o640
    assert [path.name for path in scene.parent.iterdir()] == ["scene.yaml"]
    assert run(capsys, "-f", scene, "--diff")[:2] == (0, "")


def test_fixes_keep_to_the_namespace(capsys: pytest.CaptureFixture[str], scene: Path) -> None:
    assert run(capsys, "-f", scene, "--diff", "-n", "other")[:2] == (0, "")
    assert run(capsys, "-f", scene, "--diff", "-n", "shop")[0] == 1


def test_unsafe_fixes_are_asked_for(capsys: pytest.CaptureFixture[str], scene: Path) -> None:
    assert "GW701" in run(capsys, "-f", scene, "--fix")[1]
    assert "GW701" not in run(capsys, "-f", scene, "--unsafe-fixes")[1]
    assert "  - Ingress\n  - Egress\n" in scene.read_text()


def test_what_a_program_made_is_not_written(capsys: pytest.CaptureFixture[str], scene: Path) -> None:
    (scene.parent / "Chart.yaml").write_text("name: chart\n")
    template = scene.parent / "templates" / "scene.yaml"
    template.parent.mkdir()
    shutil.copy(scene, template)
    before = template.read_text()
    _, _, err = run(capsys, "-f", template, "--fix")
    assert f"gatewright: {template}:31: GW503 is not mended: the text was made by a program" in err
    assert template.read_text() == before
    assert run(capsys, scene, "--diff")[0] == 1, "a manifest beside a chart is a person's"


def test_a_file_that_cannot_be_written_stays_as_it_is(
    capsys: pytest.CaptureFixture[str], scene: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    before = scene.read_text()
    monkeypatch.setattr("os.replace", refuse)
    code, _, err = run(capsys, "-f", scene, "--fix")
    assert (code, err) == (2, f"gatewright: {scene}: not written: permission denied\n")
    assert scene.read_text() == before
    assert [path.name for path in scene.parent.iterdir()] == ["scene.yaml"]


def test_a_link_stays_a_link(capsys: pytest.CaptureFixture[str], scene: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.yml"
    link.symlink_to(scene)
    run(capsys, "-f", link, "--fix")
    assert link.is_symlink()
    assert "extensions/v1beta1" not in scene.read_text()
