"""The Python API and the pytest plugin, as a user of either meets them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import gatewright
from gatewright.engine.verdict import Outcome

pytest_plugins = ["pytester"]

EXAMPLE = Path(__file__).parents[2] / "examples" / "three-tier"


@pytest.fixture(scope="module")
def example() -> gatewright.Policies:
    return gatewright.load(EXAMPLE)


def test_the_example_is_what_its_page_says(example: gatewright.Policies) -> None:
    assert example.allows("web", "svc/api", 5000)
    assert example.allows("203.0.113.7", "web", 80)
    assert example.denies("web", "svc/db", "tcp/3306")
    assert example.denies("db", "api", 5000)
    rows = {(str(row.source), str(row.destination), str(row.access.ports)) for row in example.connections()}
    assert ("default/api[Deployment]", "default/db[Deployment]", "TCP 3306") in rows


def test_an_explanation_names_file_and_line(example: gatewright.Policies) -> None:
    text = example.explain("web", "db", 3306)
    assert text.startswith("DENIED: default/web[Deployment] => default/db[Deployment] : TCP 3306")
    assert f"{EXAMPLE}/policies/db-policy.yaml:" in text


def test_without_the_policies_everything_is_allowed() -> None:
    assert gatewright.load(EXAMPLE, recursive=False).allows("web", "db", 3306)


POD = {"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [{"name": "c", "image": "i"}]}}
DENY = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "NetworkPolicy",
    "metadata": {"name": "deny", "namespace": "shop"},
    "spec": {"podSelector": {}, "ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}]},
}


def pod(name: str) -> dict[str, Any]:
    return {**POD, "metadata": {"name": name, "namespace": "shop"}}


def test_objects_of_a_client_and_a_namespace_for_bare_names() -> None:
    asked: list[dict[str, Any]] = [
        pod("a"),
        pod("b"),
        DENY,
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}},
    ]
    policies = gatewright.from_objects(asked, namespace="shop")
    assert [verdict.outcome for verdict in policies.verdicts("a", "b", 80)] == [Outcome.DEPENDS]
    assert not policies.allows("a", "b", 80)
    assert not policies.denies("a", "b", 80)
    assert gatewright.from_objects(asked, namespace="shop", pod_cidrs=["10.1.0.0/16"]).allows("a", "b", 80)


def test_a_change_gives_other_policies_and_leaves_the_first(example: gatewright.Policies) -> None:
    gone = example.changed(gone=[("NetworkPolicy", "default", "db-policy")])
    assert example.denies("web", "db", 3306)
    assert "db-policy" not in gone.explain("web", "db", 3306)
    pod: dict[str, Any] = {"metadata": {"name": "late", "namespace": "default", "labels": {"name": "api-pod"}}}
    pod["spec"] = {"containers": [{"name": "main", "image": "app"}]}
    later = gone.changed(put=[{"apiVersion": "v1", "kind": "Pod", **pod}])
    assert later.allows("late", "web", 81) is False
    assert later.explain("late", "db", 3306) != ""
    with pytest.raises(gatewright.GatewrightError, match="late"):
        gone.explain("late", "db", 3306)
    with pytest.raises(gatewright.InvalidInput, match="spce"):
        example.changed(put=[{"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "spce": {}}])


def test_text_and_its_faults() -> None:
    assert gatewright.loads("apiVersion: v1\nkind: Namespace\nmetadata: {name: x}\n").connections() == []
    with pytest.raises(gatewright.InvalidInput, match=r"<text>:1: not a Kubernetes object"):
        gatewright.loads("text")
    with pytest.raises(gatewright.GatewrightError, match="no such file"):
        gatewright.load("/nowhere")


def test_importing_the_package_imports_nothing_else() -> None:
    code = "import sys, gatewright; print([name for name in sys.modules if name.startswith('gatewright.')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.strip() == "[]"
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = gatewright.nothing


TESTS = """
def test_allowed(assert_allowed):
    assert_allowed("web", "svc/api", 5000)

def test_denied(assert_denied):
    assert_denied("web", "svc/db", 3306)

def test_wrong(assert_allowed):
    assert_allowed("web", "svc/db", 3306)

def test_wrong_too(assert_denied):
    assert_denied("web", "svc/api", 5000)

def test_policies(network_policies):
    assert network_policies.allows("api", "db", 3306)
"""


def test_policies_as_tests(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(TESTS)
    pytester.makeini(f"[pytest]\ngatewright_manifests = {EXAMPLE}\n")
    result = pytester.runpytest("-p", "no:cacheprovider")
    result.assert_outcomes(passed=3, failed=2)
    result.stdout.fnmatch_lines(
        ["*expected allowed", "*DENIED: default/web*", "*expected denied", "*ALLOWED: default/web*"]
    )


def test_the_manifests_can_be_named_on_the_command_line(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_it(assert_denied): assert_denied('web', 'db', 3306)")
    pytester.runpytest("-p", "no:cacheprovider", f"--gatewright-manifests={EXAMPLE}").assert_outcomes(passed=1)
    missing = pytester.runpytest("-p", "no:cacheprovider")
    missing.assert_outcomes(errors=1)
    missing.stdout.fnmatch_lines(["*no manifests: set gatewright_manifests*"])
