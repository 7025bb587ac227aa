"""What `check` proposes where a cluster-wide policy is at fault: the change, and that it does what is said of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.cli.running import run
from tests.unit.intent.test_plan_and_check import apply, as_list, validate

ROOT = Path(__file__).parents[3]
MODEL, MANIFESTS = (str(ROOT / "tests/unit/intent/scene" / f"{name}.yaml") for name in ("traffic", "manifests"))
PLAN = str(ROOT / "tests/golden/traffic/plan.yaml")
Json = dict[str, Any]

SHOP = {"namespaces": {"matchLabels": {"kubernetes.io/metadata.name": "shop"}}}
DATA = {"namespaces": {"matchLabels": {"kubernetes.io/metadata.name": "data"}}}
RED = {"namespaces": {"matchLabels": {"team": "ops"}}}
RPC, SSH = ({"tcp": {"destinationPort": {"number": number}}} for number in (5000, 22))


def pods(labels: Json, namespace: str) -> Json:
    selector = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
    return {"pods": {"namespaceSelector": selector, "podSelector": {"matchLabels": labels}}}


API = pods({"app": "api", "tier": "back"}, "shop")


def cluster(subject: Json, *, tier: str = "Admin", priority: int = 10, **sides: list[Json]) -> Json:
    spec = {"tier": tier, "priority": priority, "subject": subject, **sides}
    head = {"apiVersion": "policy.networking.k8s.io/v1alpha2", "kind": "ClusterNetworkPolicy"}
    return {**head, "metadata": {"name": "guard"}, "spec": spec}


def admin(subject: Json, *, priority: int = 10, **sides: list[Json]) -> Json:
    spec = {"priority": priority, "subject": subject, **sides}
    head = {"apiVersion": "policy.networking.k8s.io/v1alpha1", "kind": "AdminNetworkPolicy"}
    return {**head, "metadata": {"name": "guard"}, "spec": spec}


def check(capsys: pytest.CaptureFixture[str], path: Path, policies: list[Json]) -> list[Json]:
    """The failures of the scene's plan with these policies beside it."""
    path.write_text(as_list(policies))
    out = run(capsys, "check", MODEL, "-f", MANIFESTS, "-f", PLAN, "-f", path, "--exact", "-o", "json")[1]
    checked = json.loads(out)
    validate("check-v1", checked)
    failures: list[Json] = checked["failures"]
    return failures


MENDS: dict[str, tuple[Json, str]] = {
    "a port of the rule that denies": (
        cluster(API, ingress=[{"action": "Deny", "from": [SHOP], "protocols": [SSH, RPC]}]),
        "take spec.ingress[0].protocols[1] out of ClusterNetworkPolicy guard",
    ),
    "a peer of the rule that denies": (
        cluster(API, ingress=[{"action": "Deny", "from": [RED, SHOP], "protocols": [RPC]}]),
        "take spec.ingress[0].from[1] out of ClusterNetworkPolicy guard",
    ),
    "a rule before it that leaves the answer to NetworkPolicies": (
        cluster(API, ingress=[{"action": "Deny", "from": [{"namespaces": {}}], "protocols": [RPC]}]),
        "put before spec.ingress[0] of ClusterNetworkPolicy guard",
    ),
    "the same on the way out, in the older version": (
        admin(SHOP, egress=[{"action": "Deny", "to": [SHOP], "ports": [{"portNumber": {"port": 5000}}]}]),
        "put before spec.egress[0] of AdminNetworkPolicy guard",
    ),
    "the word, where it accepts what the model does not": (
        cluster(API, ingress=[{"action": "Accept", "from": [RED]}]),
        "write Pass in place of Accept in spec.ingress[0].action of ClusterNetworkPolicy guard",
    ),
    "the word, in the older version": (
        admin(DATA, egress=[{"action": "Allow", "to": [{"networks": ["198.51.100.0/24"]}]}]),
        "write Pass in place of Allow in spec.egress[0].action of AdminNetworkPolicy guard",
    ),
    "a policy that comes sooner, where the other has no room": (
        admin(API, ingress=[{"action": "Deny", "from": [{"namespaces": {}}]}] * 100),
        "create AdminNetworkPolicy shop-api-ingress",
    ),
    "nothing, where nothing comes sooner and there is no room": (
        admin(API, priority=0, ingress=[{"action": "Deny", "from": [{"namespaces": {}}]}] * 100),
        "",
    ),
}


@pytest.mark.parametrize("name", MENDS)
def test_a_change_of_a_cluster_wide_policy_mends(capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str) -> None:
    policy, expected = MENDS[name]
    path = tmp_path / "guard.json"
    first, *others = check(capsys, path, [policy])
    if not expected:
        assert first["mend"] is None
        return
    (edit,) = first["mend"]
    assert edit["what"] == expected
    mended = [json.loads(json.dumps(policy))]
    for operation in edit.get("patch", ()):
        apply(mended[0], operation)
    mended += [edit["create"]] if "create" in edit else []
    left = check(capsys, path, mended)
    assert [one for one in left if (one["flow"], one["connections"]) not in map(told, others)] == []


def told(failure: Json) -> tuple[str | None, list[Json]]:
    return failure["flow"], failure["connections"]


def test_the_rule_that_is_proposed_leaves_the_answer_to_network_policies(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    policy = MENDS["the same on the way out, in the older version"][0]
    (edit,) = check(capsys, tmp_path / "guard.json", [policy])[0]["mend"]
    assert yaml.safe_load(json.dumps(edit["patch"])) == [
        {
            "op": "add",
            "path": "/spec/egress/0",
            "value": {"action": "Pass", "to": [API], "ports": [{"portNumber": {"protocol": "TCP", "port": 5000}}]},
        }
    ]


def test_what_network_policies_lack_too_is_accepted_in_the_tier(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Pass would leave it to NetworkPolicies, and none of them lets the flow in."""
    documents = list(yaml.safe_load_all(Path(PLAN).read_text()))
    api = next(one for one in documents if one["metadata"]["name"] == "api")
    api["spec"]["ingress"] = [
        one for one in api["spec"]["ingress"] if {"protocol": "TCP", "port": 5000} not in one["ports"]
    ]
    path = tmp_path / "policies.json"
    guard = cluster(API, ingress=[{"action": "Deny", "from": [SHOP], "protocols": [RPC]}])
    path.write_text(as_list([*documents, guard]))
    out = run(capsys, "check", MODEL, "-f", MANIFESTS, "-f", path, "--exact", "-o", "json")[1]
    (edit,) = json.loads(out)["failures"][0]["mend"]
    assert edit["patch"][0]["value"]["action"] == "Accept"


def test_two_rules_for_one_policy_are_both_shown(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    guard = tmp_path / "guard.json"
    guard.write_text(as_list([cluster({"namespaces": {}}, ingress=[{"action": "Deny", "from": [SHOP]}])]))
    out = run(capsys, "check", MODEL, "-f", MANIFESTS, "-f", PLAN, "-f", guard)[1]
    assert out.count("mend: put before spec.ingress[0] of ClusterNetworkPolicy guard") == 4
    assert out.count("- action: Pass") == 4
