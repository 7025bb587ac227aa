"""`plan` and `check` as a user meets them: what they print, where, with which exit code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from referencing import Registry, Resource

from gatewright.objects.read import parse
from tests.golden import assert_golden
from tests.unit.cli.running import run

ROOT = Path(__file__).parents[3]
SCENE = Path("tests/unit/intent/scene")
MODEL, MANIFESTS, POLICIES = (str(SCENE / f"{name}.yaml") for name in ("traffic", "manifests", "policies"))
THREE_TIER = "examples/traffic/three-tier.yaml"
SCHEMAS = {
    name: json.loads((ROOT / "docs" / "schemas" / f"{name}.schema.json").read_text())
    for name in ("check-v1", "plan-v1", "traffic-v1alpha1")
}
REGISTRY: Registry[Any] = Registry().with_resource("check-v1.schema.json", Resource.from_contents(SCHEMAS["check-v1"]))


def validate(name: str, document: Any) -> None:
    jsonschema.Draft202012Validator(SCHEMAS[name], registry=REGISTRY).validate(document)


@pytest.fixture(autouse=True)
def _at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


PLANS: dict[str, tuple[str, ...]] = {
    "three-tier.yaml": (THREE_TIER,),
    "three-tier-table.txt": (THREE_TIER, "-o", "table"),
    "plan.yaml": (MODEL, "-f", MANIFESTS),
    "plan-namespace.yaml": (MODEL, "-f", MANIFESTS, "--style", "namespace"),
    "plan-cluster-tier.yaml": (MODEL, "-f", MANIFESTS, "--cluster-tier"),
    "plan.md": (MODEL, "-f", MANIFESTS, "-o", "md"),
    "plan.txt": (MODEL, "-f", MANIFESTS, "-o", "table"),
    "plan.json": (MODEL, "-f", MANIFESTS, "-o", "json"),
}


@pytest.mark.parametrize("name", PLANS)
def test_plans(capsys: pytest.CaptureFixture[str], name: str) -> None:
    code, out, err = run(capsys, "plan", *PLANS[name])
    assert code == 0
    assert_golden(f"traffic/{name}", out)
    assert "pass, and nothing else.\n" in (out if name.endswith(".txt") else err)
    if name.endswith(".json"):
        validate("plan-v1", json.loads(out))


@pytest.mark.parametrize("name", [name for name in PLANS if name.endswith(".yaml")])
def test_a_plan_is_read_strictly_without_a_problem(capsys: pytest.CaptureFixture[str], name: str) -> None:
    parsed = parse(run(capsys, "plan", *PLANS[name])[1], "plan.yaml")
    assert parsed.problems == ()
    assert len(parsed.objects) == parsed.documents > 2
    for document in yaml.safe_load_all(run(capsys, "plan", *PLANS[name])[1]):
        assert list(document) == ["apiVersion", "kind", "metadata", "spec"]


def test_every_rule_of_a_plan_says_which_flow_it_serves(capsys: pytest.CaptureFixture[str]) -> None:
    out = run(capsys, "plan", MODEL, "-f", MANIFESTS)[1]
    lines = out.splitlines()
    rules = [number for number, line in enumerate(lines) if line.startswith(("  - from:", "  - to:", "  - ports:"))]
    specs = [document["spec"] for document in yaml.safe_load_all(out)]
    assert len(rules) == sum(len(spec.get(side, ())) for spec in specs for side in ("ingress", "egress")) > 10
    for number in rules:
        above = [line for line in lines[max(0, number - 3) : number] if line.startswith("  # ")]
        assert any(" -> " in line for line in above), lines[number]


CHECKS: dict[str, tuple[int, tuple[str, ...]]] = {
    "check.txt": (1, ("-f", POLICIES)),
    "check-exact.txt": (1, ("-f", POLICIES, "--exact")),
    "check.json": (1, ("-f", POLICIES, "-o", "json")),
    "check.md": (1, ("-f", POLICIES, "-o", "md")),
    "check-github.txt": (1, ("-f", POLICIES, "-o", "github")),
    "check-unprotected.txt": (1, ()),
    "check-holds.txt": (0, ("-f", "tests/golden/traffic/plan.yaml", "--exact")),
}


@pytest.mark.parametrize("name", CHECKS)
def test_checks(capsys: pytest.CaptureFixture[str], name: str) -> None:
    expected, options = CHECKS[name]
    code, out, err = run(capsys, "check", MODEL, "-f", MANIFESTS, *options)
    assert (code, err) == (expected, "")
    assert_golden(f"traffic/{name}", out)
    if name.endswith(".json"):
        validate("check-v1", json.loads(out))


def test_a_finding_stands_at_the_policy_at_fault(capsys: pytest.CaptureFixture[str]) -> None:
    out = run(capsys, "check", MODEL, "-f", MANIFESTS, "-f", POLICIES, "-o", "sarif")[1]
    first = json.loads(out)["runs"][0]["results"][0]
    place = first["locations"][0]["physicalLocation"]
    assert first["ruleId"] == "GT001"
    assert (place["artifactLocation"]["uri"], place["region"]["startLine"]) == (POLICIES, 12)


def test_the_patch_of_a_mend_is_one_that_kubectl_takes(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Applied by hand as RFC 6902 has it, it makes the flow pass."""
    checked = json.loads(run(capsys, "check", MODEL, "-f", MANIFESTS, "-f", POLICIES, "-o", "json")[1])
    (edit,) = next(one["mend"] for one in checked["failures"] if one["flow"] == "web -> api : rpc")
    documents = {f"{one['kind']} {one['metadata']['namespace']}/{one['metadata']['name']}": one for one in policies()}
    for operation in edit["patch"]:
        apply(documents[edit["policy"]], operation)
    path = tmp_path / "policies.json"
    assert "web -> api : rpc" in check_text(capsys, path, as_list(policies()))
    assert "web -> api : rpc" not in check_text(capsys, path, as_list(list(documents.values())))


def as_list(items: list[dict[str, Any]]) -> str:
    return json.dumps({"kind": "List", "apiVersion": "v1", "items": items})


def policies() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((ROOT / POLICIES).read_text()))


def apply(document: dict[str, Any], operation: dict[str, Any]) -> None:
    """One operation of a JSON patch on a document."""
    *way, last = operation["path"].removeprefix("/").split("/")
    holder: Any = document
    for part in way:
        holder = holder[int(part) if isinstance(holder, list) else part]
    if operation["op"] == "remove":
        del holder[int(last) if isinstance(holder, list) else last]
    elif isinstance(holder, list):
        holder.insert(len(holder) if last == "-" else int(last), operation["value"])
    else:
        holder[last] = operation["value"]


def check_text(capsys: pytest.CaptureFixture[str], path: Path, text: str) -> str:
    path.write_text(text)
    return run(capsys, "check", MODEL, "-f", MANIFESTS, "-f", path)[1]


def test_beside_what_is_there_only_the_rest_is_planned(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "plan", MODEL, "-f", MANIFESTS, "-f", POLICIES, "--existing")
    assert code == 1
    assert_golden("traffic/plan-existing.yaml", out)
    assert_golden("traffic/plan-existing.err", err)


def test_beside_itself_nothing_is_planned(capsys: pytest.CaptureFixture[str]) -> None:
    golden = "tests/golden/traffic/plan.yaml"
    code, out, err = run(capsys, "plan", MODEL, "-f", MANIFESTS, "-f", golden, "--existing")
    assert (code, out) == (0, f"# Made by gatewright plan from {MODEL}: change that file, not this one.\n")
    assert err == f"Proved: with 0 policies the 7 flows of {MODEL} pass, and nothing else.\n"


def test_errors(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    bad = tmp_path / "t.yaml"
    bad.write_text("apiVersion: gatewright/v1alpha1\nkind: Traffic\nflows:\n- a -> b\n")
    for verb in (("plan",), ("check", "-f", MANIFESTS)):
        code, out, err = run(capsys, verb[0], bad, *verb[1:])
        assert (code, out) == (2, "")
        assert err.splitlines() == [
            f"gatewright: {bad}:4: a -> b: there is no component or outside party {name!r} (there are: none)"
            for name in ("a", "b")
        ]
    assert run(capsys, "plan", tmp_path / "none.yaml")[::2] == (
        2,
        f"gatewright: {tmp_path / 'none.yaml'}: no such file or directory\n",
    )
    assert run(capsys, "plan", MODEL, "--existing")[0] == 2
    assert run(capsys, "check", MODEL)[0] == 2


def test_faults_of_the_model_and_of_the_manifests_are_told_together(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "t.yaml").write_text("apiVersion: gatewright/v1alpha1\nkind: Traffic\nflow: []\n")
    (tmp_path / "m.yaml").write_text("a: [}\n")
    for verb in ("plan", "check"):
        code, out, err = run(capsys, verb, tmp_path / "t.yaml", "-f", tmp_path / "m.yaml")
        assert (code, out) == (2, "")
        assert [line.split(": ")[1] for line in err.splitlines()] == [f"{tmp_path}/t.yaml:3", f"{tmp_path}/m.yaml:1"]


@pytest.mark.parametrize(
    "path", [MODEL, THREE_TIER, "examples/traffic/voting-app.yaml", "examples/traffic/online-boutique.yaml"]
)
def test_models_follow_their_schema(path: str) -> None:
    validate("traffic-v1alpha1", yaml.safe_load((ROOT / path).read_text()))


def test_the_schema_refuses_what_is_refused() -> None:
    refused = yaml.safe_load((ROOT / "tests/unit/intent/refused.yaml").read_text())
    text = refused["unknown fields, with the nearest"]["model"]
    document = yaml.safe_load(f"apiVersion: gatewright/v1alpha1\nkind: Traffic\n{text}")
    with pytest.raises(jsonschema.ValidationError):
        validate("traffic-v1alpha1", document)


def test_the_three_tier_model_is_short() -> None:
    assert len((ROOT / THREE_TIER).read_text().splitlines()) <= 15
