"""Pods that policies wait for and nobody is: what `check --exact` tells of them, and of whom it says nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from gatewright.engine.snapshot import Snapshot
from gatewright.intent.bind import bind
from gatewright.intent.unmatched import awaited
from gatewright.objects.read import parse
from tests.unit.cli.running import run
from tests.unit.intent.test_models import read

ROOT = Path(__file__).parents[3]
MODEL, MANIFESTS = (str(ROOT / "tests/unit/intent/scene" / f"{name}.yaml") for name in ("traffic", "manifests"))
PLAN = str(ROOT / "tests/golden/traffic/plan.yaml")
HEADS = {
    "NetworkPolicy": "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: x, namespace: shop}\n",
    "ClusterNetworkPolicy": "apiVersion: policy.networking.k8s.io/v1alpha2\nkind: ClusterNetworkPolicy\n"
    "metadata: {name: x}\n",
    "AdminNetworkPolicy": "apiVersion: policy.networking.k8s.io/v1alpha1\nkind: AdminNetworkPolicy\n"
    "metadata: {name: x}\n",
    "BaselineAdminNetworkPolicy": "apiVersion: policy.networking.k8s.io/v1alpha1\nkind: BaselineAdminNetworkPolicy\n"
    "metadata: {name: default}\n",
}


def check(capsys: pytest.CaptureFixture[str], tmp_path: Path, kind: str, spec: str) -> tuple[int, str]:
    """The check of the scene's plan with one more policy beside it."""
    policy = tmp_path / "waiting.yaml"
    policy.write_text(f"{HEADS[kind]}spec: {spec}\n")
    code, out, err = run(capsys, "check", MODEL, "-f", MANIFESTS, "-f", PLAN, "-f", str(policy), "--exact")
    assert err == ""
    return code, out


def peer(text: str) -> str:
    return f"{{podSelector: {{}}, policyTypes: [Ingress], ingress: [{{from: [{text}], ports: [{{port: 7777}}]}}]}}"


def tier(rule: str, subject: str = "namespaces: {}") -> str:
    return f"{{tier: Admin, priority: 5, subject: {{{subject}}}, ingress: [{rule}]}}"


WATCH = "namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: watch}}"
CANARY = "podSelector: {matchLabels: {app: web, track: canary}}"
AGENTS = (
    "{priority: 5, subject: {pods: {namespaceSelector: {}, podSelector: {matchLabels: {agent: own}}}}, "
    "egress: [{action: Allow, to: [{networks: [198.51.100.0/24]}]}]}"
)
UNTIERED = (
    "{podSelector: {matchExpressions: [{key: app, operator: In, values: [api]}, {key: tier, operator: DoesNotExist}]}, "
    "ingress: [{ports: [{port: 9}]}]}"
)
HOLES: dict[str, tuple[str, str, str]] = {
    "a peer by labels": (
        "NetworkPolicy",
        peer("{podSelector: {matchLabels: {app: legacy}}}"),
        "a pod with labels app=legacy of shop => shop/web[Deployment] : TCP 7777",
    ),
    "a peer by labels in namespaces by labels": (
        "NetworkPolicy",
        peer("{podSelector: {matchLabels: {app: legacy}}, namespaceSelector: {matchLabels: {team: old}}}"),
        "a pod with labels app=legacy of a namespace with labels team=old => shop/web[Deployment] : TCP 7777",
    ),
    "a peer by one label of several": (
        "NetworkPolicy",
        peer("{podSelector: {matchExpressions: [{key: app, operator: In, values: [blue, green]}]}}"),
        "a pod with labels app=blue of shop => shop/web[Deployment] : TCP 7777",
    ),
    "a peer by namespaces alone": (
        "NetworkPolicy",
        peer("{namespaceSelector: {matchLabels: {team: old}}}"),
        "any pod of a namespace with labels team=old => shop/web[Deployment] : TCP 7777",
    ),
    "a peer by the name of a namespace that is not there": (
        "NetworkPolicy",
        peer(f"{{{WATCH}}}"),
        "any pod of watch => shop/web[Deployment] : TCP 7777",
    ),
    "a subject that would be of a component": (
        "NetworkPolicy",
        f"{{{CANARY}, ingress: [{{ports: [{{port: 9999}}]}}]}}",
        "anywhere => a pod with labels app=web,track=canary of shop : TCP 9999",
    ),
    "a subject by a label that any component may get": (
        "NetworkPolicy",
        '{podSelector: {matchLabels: {debug: "true"}}, egress: [{}], policyTypes: [Egress]}',
        "a pod with labels app=api,debug=true,tier=back of shop => anywhere : All Connections",
    ),
    "a cluster-wide peer": (
        "ClusterNetworkPolicy",
        tier(f"{{action: Accept, from: [{{pods: {{{WATCH}, podSelector: {{matchLabels: {{app: prom}}}}}}}}]}}"),
        "a pod with labels app=prom of watch => shop/web[Deployment] : All Connections",
    ),
    "cluster-wide namespaces": (
        "ClusterNetworkPolicy",
        tier("{action: Accept, from: [{namespaces: {matchLabels: {team: red}}}]}"),
        "any pod of a namespace with labels team=red => shop/web[Deployment] : All Connections",
    ),
    "a cluster-wide subject": (
        "AdminNetworkPolicy",
        AGENTS,
        "a pod with labels agent=own,app=web of shop => 198.51.100.0-198.51.100.255 : All Connections",
    ),
}


@pytest.mark.parametrize("name", HOLES)
def test_a_hole_for_pods_that_are_not_there_is_told(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str
) -> None:
    kind, spec, told = HOLES[name]
    code, out = check(capsys, tmp_path, kind, spec)
    assert code == 1
    assert told in out
    assert "once there are such pods" in out
    assert "mend: " in out


NO_HOLES: dict[str, tuple[str, str]] = {
    "a peer that nobody can be": (
        "NetworkPolicy",
        peer("{podSelector: {matchLabels: {app: a}, matchExpressions: [{key: app, operator: DoesNotExist}]}}"),
    ),
    "a subject that no component can have": (
        "NetworkPolicy",
        "{podSelector: {matchLabels: {app: legacy}}, ingress: [{}]}",
    ),
    "a subject without a label that its component has": (
        "NetworkPolicy",
        UNTIERED,
    ),
    "a peer of a component whose own policies bind it": (
        "NetworkPolicy",
        peer("{podSelector: {matchLabels: {app: web, track: canary}}}"),
    ),
    "a peer that an earlier rule passes on": (
        "ClusterNetworkPolicy",
        tier(
            "{action: Pass, from: [{namespaces: {matchLabels: {team: red}}}]}, "
            "{action: Accept, from: [{namespaces: {matchLabels: {team: red}}}]}"
        ),
    ),
    "a subject that is denied everything": (
        "NetworkPolicy",
        f"{{{CANARY}, policyTypes: [Ingress, Egress]}}",
    ),
    "a subject that gets what its component has": (
        "NetworkPolicy",
        f"{{{CANARY}, ingress: [{{ports: [{{port: http}}]}}]}}",
    ),
    "a peer that is denied": (
        "ClusterNetworkPolicy",
        tier("{action: Deny, from: [{namespaces: {matchLabels: {team: red}}}]}"),
    ),
    "what NetworkPolicies answer already": (
        "BaselineAdminNetworkPolicy",
        "{subject: {namespaces: {}}, ingress: [{action: Allow, from: [{namespaces: {matchLabels: {team: red}}}]}]}",
    ),
    "an operator that no server can apply": (
        "ClusterNetworkPolicy",
        tier("{action: Accept, from: [{namespaces: {matchExpressions: [{key: a, operator: Near, values: [b]}]}}]}"),
    ),
}


@pytest.mark.parametrize("name", NO_HOLES)
def test_what_opens_nothing_is_no_hole(capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str) -> None:
    code, out = check(capsys, tmp_path, *NO_HOLES[name])
    assert (code, out) == (0, f"{MODEL} holds: 7 flows allowed, 3 kept from happening, nothing beyond the model.\n")


def test_pods_that_are_not_there_need_no_flow(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The canary of web is not selected by the policies of web: nothing lets its flows pass, and nothing has to."""
    plan = tmp_path / "plan.yaml"
    plan.write_text(
        Path(PLAN)
        .read_text()
        .replace("      app: web\n  policyTypes", "      app: web\n      track: stable\n  policyTypes")
    )
    manifests = tmp_path / "manifests.yaml"
    manifests.write_text(
        Path(MANIFESTS).read_text().replace("{labels: {app: web}}", "{labels: {app: web, track: stable}}")
    )
    waiting = tmp_path / "waiting.yaml"
    spec = f"{{{CANARY}, policyTypes: [Ingress, Egress], ingress: [{{ports: [{{port: http}}]}}]}}"
    waiting.write_text(f"{HEADS['NetworkPolicy']}spec: {spec}\n")
    code, out, _ = run(capsys, "check", MODEL, "-f", manifests, "-f", plan, "-f", waiting, "--exact")
    assert (code, " holds: " in out) == (0, True), out


def test_what_is_planned_beside_policies_that_wait_is_for_pods_that_are_there(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    waiting = tmp_path / "waiting.yaml"
    waiting.write_text(f"{HEADS['NetworkPolicy']}spec: {{{CANARY}, ingress: [{{}}]}}\n")
    code, out, err = run(capsys, "plan", MODEL, "-f", MANIFESTS, "-f", PLAN, "-f", waiting, "--existing")
    assert code == 1
    assert "kind:" not in out
    assert "a pod with labels app=web,track=canary of shop" in err


def test_a_pod_that_two_components_would_have_is_not_waited_for() -> None:
    model = "components: {a: {labels: {x: a}}, b: {labels: {y: b}}}"
    kind = "---\napiVersion: v1\nkind: Pod\n"
    spec = "spec: {containers: [{name: c, image: i}]}\n"
    pods = (("a", "x: a"), ("b", "y: b"))
    manifests = "".join(f"{kind}metadata: {{name: {name}, labels: {{{one}}}}}\n{spec}" for name, one in pods)
    policy = "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p}\n"
    selectors = {"{x: a, y: b}": [], "{x: a, z: c}": [{"x": "a", "z": "c"}]}
    for selector, expected in selectors.items():
        text = f"{manifests}{policy}spec: {{podSelector: {{matchLabels: {selector}}}, ingress: [{{}}]}}\n"
        snapshot = Snapshot.of(parse(text, "m.yaml").objects)
        found = awaited(snapshot, bind(read({"t.yaml": model}), snapshot).components)
        assert [one.labels for one in found] == expected


def test_the_labels_of_somebody_outside_open_nothing_elsewhere(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The cluster's DNS is meant, and whoever calls a pod like it is let out to it."""
    lines = Path(PLAN).read_text().splitlines()
    kept = [line for line in lines if "metadata.name: kube-system" not in line]
    by_name, every = "- namespaceSelector:\n        matchLabels:\n      pod", "- namespaceSelector: {}\n      pod"
    everywhere = "\n".join(kept).replace(by_name, every)
    plan = tmp_path / "plan.yaml"
    plan.write_text(everywhere)
    code, out, _ = run(capsys, "check", MODEL, "-f", MANIFESTS, "-f", plan, "--exact")
    assert code == 1
    assert "shop/web[Deployment] => a pod of another namespace with the labels of cluster DNS : TCP 53; UDP 53" in out
