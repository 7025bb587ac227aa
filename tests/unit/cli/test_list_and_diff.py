"""`list` and `diff` as a user meets them: every format, every filter, exit codes, schemas."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.golden import assert_golden
from tests.unit.cli.running import run

ROOT = Path(__file__).parents[3]
CORPUS = ROOT.parent / "shared" / "corpus"
SCENE, AFTER, LIVE = (f"tests/unit/cli/{name}.yaml" for name in ("scene", "scene-after", "live"))
FORMATS = {
    "wide": "txt",
    "yaml": "yaml",
    "json": "json",
    "csv": "csv",
    "md": "md",
    "dot": "dot",
    "mermaid": "mmd",
    "svg": "svg",
}
SCHEMAS = {
    name: json.loads((ROOT / "docs" / "schemas" / f"{name}-v1.schema.json").read_text())
    for name in ("connections", "difference", "explanation")
}


@pytest.fixture(autouse=True)
def _at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def check(document: Any) -> None:
    """Validate a document against the schema that it names."""
    name, version = document["schema"].split("/")[1:]
    assert version == "v1"
    jsonschema.Draft202012Validator(SCHEMAS[name]).validate(document)


@pytest.mark.parametrize("output", FORMATS)
def test_list_in_every_format(capsys: pytest.CaptureFixture[str], output: str) -> None:
    code, out, err = run(capsys, "list", "-f", SCENE, "-o", output)
    assert (code, err) == (0, "")
    assert_golden(f"cli/list.{FORMATS[output]}" if output != "wide" else "cli/list-wide.txt", out)


@pytest.mark.parametrize("output", ["table", *FORMATS])
def test_diff_in_every_format(capsys: pytest.CaptureFixture[str], output: str) -> None:
    code, out, err = run(capsys, "diff", SCENE, AFTER, "-o", output)
    assert (code, err) == (1, "")
    names = {"table": "diff.txt", "wide": "diff-wide.txt"}
    assert_golden(f"cli/{names.get(output) or 'diff.' + FORMATS[output]}", out)


FILTERS = {
    "from": ("--from", "api"),
    "to-port": ("--to", "db", "--to", "web", "--port", "80", "--port", "3306"),
    "focus": ("--focus", "ops/probe"),
    "namespace": ("-n", "ops"),
    "labels": ("-l", "app in (db,metrics),!tier"),
    "address": ("--from", "10.9.1.1"),
}


@pytest.mark.parametrize("name", FILTERS)
def test_filters(capsys: pytest.CaptureFixture[str], name: str) -> None:
    code, out, err = run(capsys, "list", "-f", SCENE, *FILTERS[name])
    assert (code, err) == (0, "")
    assert_golden(f"cli/list-filter-{name}.txt", out)


def test_a_filter_that_nothing_passes_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "list", "-f", SCENE, "--to", "sealed") == (0, "", "No connections.\n")


def test_all_namespaces_overrides_the_namespace(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "list", "-f", SCENE, "-A", "-n", "ops") == run(capsys, "list", "-f", SCENE)


@pytest.mark.parametrize("by", ["workload", "pod"])
def test_live_pods(capsys: pytest.CaptureFixture[str], by: str) -> None:
    code, out, err = run(capsys, "list", "-f", LIVE, "--by", by)
    assert (code, err) == (0, "")
    assert_golden(f"cli/list-live-{by}.txt", out)


def test_live_pods_of_an_owner_are_explained_as_one(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, *ANSWERS["explain-live"])
    assert (code, err) == (1, "")
    assert_golden("cli/explain-live.txt", out)


def test_live_pods_in_json_and_a_drawing(capsys: pytest.CaptureFixture[str]) -> None:
    document = json.loads(run(capsys, "list", "-f", LIVE, "-o", "json")[1])
    check(document)
    assert {"namespace": "live", "name": "shop", "kind": "Deployment", "labels": {"track": "canary"}} in [
        one["source"] for one in document["connections"]
    ]
    ET.fromstring(run(capsys, "list", "-f", LIVE, "-o", "svg")[1])


ANSWERS = {
    "list": ("list", "-f", SCENE),
    "list-pod-cidr": ("list", "-f", SCENE, "--pod-cidr", "10.244.0.0/16"),
    "diff": ("diff", SCENE, AFTER),
    "diff-back": ("diff", AFTER, SCENE),
    "no-diff": ("diff", SCENE, SCENE),
    "explain-denied": ("explain", "web", "db", "3306", "-f", SCENE),
    "explain-allowed": ("explain", "api", "db", "3306", "-f", SCENE),
    "explain-depends": ("explain", "web", "metrics", "9090", "-f", SCENE),
    "explain-live": ("explain", "deploy/shop", "sts/ledger", "5432", "-n", "live", "-f", LIVE),
    "explain-icmp": ("explain", "api", "db", "icmp", "-f", SCENE),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_documents_are_what_their_schema_says(capsys: pytest.CaptureFixture[str], name: str) -> None:
    as_json = json.loads(run(capsys, *ANSWERS[name], "-o", "json")[1])
    check(as_json)
    assert yaml.safe_load(run(capsys, *ANSWERS[name], "-o", "yaml")[1]) == as_json


def test_a_schema_refuses_what_it_does_not_describe(capsys: pytest.CaptureFixture[str]) -> None:
    document = json.loads(run(capsys, "diff", SCENE, AFTER, "-o", "json")[1])
    document["changes"][0]["change"] = "removed" if document["changes"][0]["change"] == "added" else "added"
    with pytest.raises(jsonschema.ValidationError):
        check(document)


def test_csv_reads_back(capsys: pytest.CaptureFixture[str]) -> None:
    rows = list(csv.DictReader(io.StringIO(run(capsys, "list", "-f", SCENE, "-o", "csv")[1])))
    lines = run(capsys, "list", "-f", SCENE)[1].splitlines()
    assert [f"{row['source']} => {row['destination']}" for row in rows] == [line.partition(" : ")[0] for line in lines]
    assert {"TCP 9090"} == {row["depends"] for row in rows if row["depends"]}


def test_no_difference_is_silent_and_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "diff", SCENE, SCENE) == (0, "", "")


def test_a_difference_has_no_colour_in_a_pipe(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "\x1b" not in run(capsys, "diff", SCENE, AFTER)[1]
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert run(capsys, "diff", SCENE, AFTER)[1].startswith("\x1b[32m+ default/cache[StatefulSet] is new\x1b[0m\n")
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in run(capsys, "diff", SCENE, AFTER)[1]


def test_a_replica_told_apart_in_one_state_is_told_apart_in_both(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    open_to_all = tmp_path / "open.yaml"
    open_to_all.write_text(Path(LIVE).read_text().replace(", track: canary}}}]", "}}}]"))
    code, out, _ = run(capsys, "diff", LIVE, str(open_to_all))
    assert code == 1
    assert out == ("+ live/shop[Deployment] (labels track=stable) => live/ledger[StatefulSet] : TCP 5432\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("diff", SCENE), "one state; write `gatewright diff OLD NEW` (kustomizations"),
        (("diff", SCENE, AFTER, LIVE), "more than two states; write"),
        (("diff", "-", "-"), "standard input can be one of the two states, not both"),
        (("diff", "HEAD", "HEAD", "--", "x"), "one revision or range before -- and paths behind it"),
        (("diff", "HEAD..HEAD", "--"), "one revision or range before -- and paths behind it"),
        (("diff", SCENE, "nowhere"), "gatewright: nowhere: no such file or directory"),
        (("list", "-f", SCENE, "--to", "nobody"), "'nobody' names no pod or workload; namespace default has"),
        (("list", "-f", SCENE, "--port", "http"), "'http' is not a port"),
        (("list", "-f", SCENE, "-l", "app="), ""),
        (("list", "-f", SCENE, "-l", "=app"), "'=app' is not a label selector: write KEY=VALUE"),
    ],
)
def test_errors_are_one_line_and_exit_2(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: str
) -> None:
    code, out, err = run(capsys, *arguments)
    if not said:
        assert (code, out) == (0, "")
        return
    assert (code, out) == (2, "")
    assert said in err.splitlines()[-1]


def test_one_bad_document_hides_neither_the_rest_nor_itself(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text(Path(AFTER).read_text() + "---\nkind: Pod\n")
    code, out, err = run(capsys, "diff", SCENE, str(bad))
    assert code == 2
    assert "+ default/cache[StatefulSet] is new" in out
    assert "bad.yaml:" in err
    assert run(capsys, "diff", SCENE, str(bad), "--keep-going")[0] == 1


APPLICATIONS = (
    "argo-cd/manifests/install.yaml",
    "kube-prometheus/manifests",
    "online-boutique/release",
    "sock-shop/deploy",
)


@pytest.mark.skipif(not CORPUS.exists(), reason="the published manifests are not beside this checkout")
@pytest.mark.parametrize("application", APPLICATIONS)
def test_real_applications_in_every_format(capsys: pytest.CaptureFixture[str], application: str) -> None:
    path = str(CORPUS / application)
    printed = {output: run(capsys, "list", "-R", "-f", path, "-o", output) for output in FORMATS}
    assert {code for code, _, _ in printed.values()} == {0}
    check(json.loads(printed["json"][1]))
    ET.fromstring(printed["svg"][1])
    assert len({line.count(" | ") for line in printed["md"][1].splitlines()}) == 1
    assert run(capsys, "diff", "-R", path, path)[:2] == (0, "")


def git(folder: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=n", "-c", "user.email=e@example.com")
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, timeout=30)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with the scene on main, what became of it on a branch, and a work tree that is neither."""
    folder = tmp_path / "repository"
    manifests = folder / "manifests"
    manifests.mkdir(parents=True)
    git(folder, "init", "-q", "-b", "main")
    (manifests / "app.yaml").write_text((ROOT / SCENE).read_text())
    git(folder, "add", "manifests")
    git(folder, "commit", "-q", "-m", "before")
    git(folder, "checkout", "-q", "-b", "work")
    (manifests / "app.yaml").write_text((ROOT / AFTER).read_text())
    git(folder, "commit", "-q", "-a", "-m", "after")
    (manifests / "app.yaml").write_text(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: only}\nspec: {containers: [{name: c, image: i}]}\n"
    )
    monkeypatch.chdir(folder)
    return folder


def test_revisions(capsys: pytest.CaptureFixture[str], repository: Path) -> None:
    files = (str(ROOT / SCENE), str(ROOT / AFTER))
    wanted = run(capsys, "diff", *files)
    assert run(capsys, "diff", "main..work", "--", "manifests") == wanted
    assert run(capsys, "diff", "main..", "--", "manifests/app.yaml") == wanted
    assert run(capsys, "diff", "main...work", "--", "manifests/") == wanted
    now = run(capsys, "diff", "work", "--", "manifests")
    assert now == run(capsys, "diff", files[1], "manifests")
    assert now[1].startswith("+ default/only[Pod] is new\n")
    assert (repository / "manifests" / "app.yaml").read_text().endswith("image: i}]}\n")


def test_what_stands_in_a_revision_is_named_after_it(capsys: pytest.CaptureFixture[str], repository: Path) -> None:
    (repository / "manifests" / "bad.yaml").write_text("kind: Pod\n")
    git(repository, "add", "manifests/bad.yaml")
    git(repository, "commit", "-q", "-m", "bad", "manifests/bad.yaml")
    code, _, err = run(capsys, "diff", "main..work", "--", "manifests")
    assert code == 2
    assert err.startswith("gatewright: work:manifests/bad.yaml:1: Pod: ")


def test_the_page_shows_what_diff_prints_and_the_drawing_of_list(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page's repository: the example on main, and its policies added on HEAD."""
    drawn = run(capsys, "list", "-f", "examples/three-tier", "-R", "-o", "svg")[1]
    assert drawn == (ROOT / "docs" / "images" / "three-tier-connections.svg").read_text()
    page = (ROOT / "docs" / "analysing.md").read_text()
    (shown,) = re.findall(r"\$ gatewright (diff .*)\n((?:[+~-] .*\n)+)", page)
    example, manifests = ROOT / "examples" / "three-tier", tmp_path / "manifests"
    shutil.copytree(example, manifests, ignore=shutil.ignore_patterns("policies", "images"))
    git(tmp_path, "init", "-q", "-b", "main")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "pods")
    git(tmp_path, "checkout", "-q", "-b", "work")
    shutil.copytree(example / "policies", manifests / "policies")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "policies")
    monkeypatch.chdir(tmp_path)
    assert run(capsys, *shown[0].split()) == (1, shown[1], "")
