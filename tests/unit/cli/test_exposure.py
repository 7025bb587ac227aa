"""What can be reached from outside, as a user meets it; the scene holds every way in, and ways that lead nowhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.golden import assert_golden
from tests.unit.cli import running

ROOT = Path(__file__).parents[3]
CORPUS = ROOT.parent / "shared" / "corpus"
SCENE = "tests/unit/cli/exposed.yaml"
SCHEMA = json.loads((ROOT / "docs" / "schemas" / "exposure-v1.schema.json").read_text())
POD = "{apiVersion: v1, kind: Pod, metadata: {name: web, labels: {app: web}}, spec: {containers: [{image: i}]}}\n---\n"
NODE_PORT = (
    "{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {type: NodePort, externalTrafficPolicy: Local,"
    " selector: {app: web}, ports: [{port: 80}]}}\n---\n"
)
INGRESS = (
    "{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: web}, spec: {defaultBackend:"
    " {service: {name: web, port: {number: 80}}}}}\n---\n"
)


@pytest.fixture(autouse=True)
def _at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of `gatewright exposure`."""
    return running.run(capsys, "exposure", *arguments)


ANSWERS: dict[str, tuple[str, ...]] = {
    "exposure": (),
    "exposure-controller": ("--controller", "edge/proxy"),
    "exposure-one-namespace": ("-n", "edge"),
    "exposure-json": ("-n", "shop", "-o", "json"),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_answers(capsys: pytest.CaptureFixture[str], name: str) -> None:
    code, out, err = run(capsys, "-f", SCENE, *ANSWERS[name])
    assert (code, err) == (0, "")
    assert_golden(f"cli/{name}.txt", out)
    if name.endswith("-json"):
        jsonschema.Draft202012Validator(SCHEMA).validate(json.loads(out))


def outcomes(capsys: pytest.CaptureFixture[str], path: Path, text: str, *options: str) -> list[tuple[Any, ...]]:
    """(way, outcome, addresses, endpoints) of each exposure."""
    path.write_text(text)
    document = json.loads(run(capsys, "-f", path, "-o", "json", *options)[1])
    jsonschema.Draft202012Validator(SCHEMA).validate(document)
    return [
        (one["through"], one["outcome"], *(one.get("from", {}).get(key) for key in ("external", "endpoints")))
        for one in document["exposures"]
    ]


def policy(peers: str, name: str = "web") -> str:
    ingress = f"ingress: [{{from: [{peers}]}}]" if peers else "ingress: []"
    return (
        "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: p},"
        f" spec: {{podSelector: {{matchLabels: {{app: {name}}}}}, {ingress}}}}}\n"
    )


EVERY_POD = "{namespaceSelector: {}}"
SOME = "{ipBlock: {cidr: 192.0.2.0/24}}"
EVERY_ADDRESS = "{ipBlock: {cidr: 0.0.0.0/0}}"
RANGE = ["192.0.2.0-192.0.2.255"]


@pytest.mark.parametrize(("text", "node_port", "ingress"), [
    ("", ("allowed", None, None), ("allowed", None, None)),
    (policy(""), ("denied", None, None), ("denied", None, None)),
    (policy(EVERY_ADDRESS), ("allowed", None, None), ("allowed", None, None)),
    (policy(SOME), ("depends", RANGE, []), ("depends", RANGE, [])),
    (policy(EVERY_POD), ("denied", None, None), ("depends", [], ["default/other[Pod]", "default/web[Pod]"])),
])  # fmt: skip
def test_what_policies_let_in(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    text: str,
    node_port: tuple[Any, ...],
    ingress: tuple[Any, ...],
) -> None:
    other = POD.replace("web", "other")
    found = outcomes(capsys, tmp_path / "x.yaml", POD + other + NODE_PORT + INGRESS + text)
    assert found == [("NodePort", *node_port), ("Ingress", *ingress)]


def test_a_pod_need_not_admit_itself(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    deny = (
        "{apiVersion: policy.networking.k8s.io/v1alpha2, kind: ClusterNetworkPolicy, metadata: {name: p}, spec: {"
        "tier: Admin, priority: 1, subject: {namespaces: {}}, ingress: [{action: Deny, from: [PEER]}]}}"
    )
    for app, outcome in (("web", "allowed"), ("other", "depends")):
        peer = f"{{pods: {{namespaceSelector: {{}}, podSelector: {{matchLabels: {{app: {app}}}}}}}}}"
        text = POD + POD.replace("web", "other") + NODE_PORT + INGRESS + deny.replace("PEER", peer)
        assert outcomes(capsys, tmp_path / "x.yaml", text)[1][:2] == ("Ingress", outcome)


def test_the_own_node_may_always(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    here = POD.replace("spec: {", "spec: {nodeName: n1, ")
    proxy = here.replace("web", "proxy").replace("spec: {", "spec: {hostNetwork: true, ")
    elsewhere = proxy.replace("n1", "n2").replace("proxy", "far")
    text = here + proxy + elsewhere + NODE_PORT + INGRESS + policy("")
    found = outcomes(capsys, tmp_path / "x.yaml", text)
    assert found == [("NodePort", "denied", None, None), ("Ingress", "depends", [], ["default/proxy[Pod]"])]


def test_the_egress_of_the_proxy_counts(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    proxy = POD.replace("web", "proxy")
    silent = policy("", "proxy").replace("ingress: []", "policyTypes: [Egress]")
    for text, outcome in ((POD + proxy + INGRESS, "allowed"), (POD + proxy + INGRESS + silent, "denied")):
        service = NODE_PORT.replace("type: NodePort, externalTrafficPolicy: Local,", "")
        found = outcomes(capsys, tmp_path / "x.yaml", service + text, "--controller", "proxy")
        assert found == [("Ingress", outcome, None, None)]
    said = run(capsys, "-f", tmp_path / "x.yaml", "--controller", "proxy")[1]
    assert "isolated by NetworkPolicy default/p" in said, "the side that decides is told"


def test_several_proxies_may_differ(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    text = POD + POD.replace("web", "a") + POD.replace("web", "b") + NODE_PORT + INGRESS
    text += policy("{podSelector: {matchLabels: {app: a}}}")
    found = outcomes(capsys, tmp_path / "x.yaml", text, "--controller", "a", "--controller", "b")
    assert found[1] == ("Ingress", "depends", [], ["default/a[Pod]"])


@pytest.mark.parametrize(("spec", "found"), [
    ("type: LoadBalancer", ["NodePort", "LoadBalancer"]),
    ("type: LoadBalancer, allocateLoadBalancerNodePorts: false", ["LoadBalancer"]),
    ("type: LoadBalancer, allocateLoadBalancerNodePorts: null", ["NodePort", "LoadBalancer"]),
    ("type: NodePort", ["NodePort"]),
    ("type: ClusterIP", []),
    ("clusterIP: None", []),
    ("type: ExternalName, externalName: x.example", []),
    ("externalIPs: [192.0.2.1, 192.0.2.2]", ["external IP", "external IP"]),
])  # fmt: skip
def test_the_ways_through_a_service(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, spec: str, found: list[str]
) -> None:
    service = NODE_PORT.replace("type: NodePort, externalTrafficPolicy: Local", spec)
    assert [one[0] for one in outcomes(capsys, tmp_path / "x.yaml", POD + service)] == found


def test_nothing_is_exposed(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(POD)
    assert run(capsys, "-f", tmp_path / "x.yaml") == (0, "", "Nothing is reachable from outside.\n")


@pytest.mark.skipif(not CORPUS.exists(), reason="the published manifests are not beside this checkout")
@pytest.mark.parametrize(("application", "ways"), [
    ("online-boutique/release", {"frontend": "LoadBalancer"}),
    ("voting-app", {"vote": "NodePort", "result": "NodePort"}),
    ("argo-cd/manifests/install.yaml", {}),
    ("kube-prometheus/manifests", {"node-exporter": "host port"}),
])  # fmt: skip
def test_the_ways_into_published_applications(
    capsys: pytest.CaptureFixture[str], application: str, ways: dict[str, str]
) -> None:
    code, out, _ = run(capsys, "-R", "-f", CORPUS / application, "-o", "json")
    document = json.loads(out)
    jsonschema.Draft202012Validator(SCHEMA).validate(document)
    found = {(one["workload"].rpartition("/")[2].partition("[")[0], one["through"]) for one in document["exposures"]}
    assert (code, set(ways.items()) <= found, bool(found)) == (0, True, bool(ways))
