"""What can be reached from outside, as a user meets it; the scene holds every way in, and ways that lead nowhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gatewright.cli.main import main
from tests.golden import assert_golden

ROOT = Path(__file__).parents[3]
SCENE = "tests/unit/cli/exposed.yaml"
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
    with pytest.raises(SystemExit) as stop:
        main(["exposure", *(str(one) for one in arguments)])
    captured = capsys.readouterr()
    return int(stop.value.code or 0), captured.out, captured.err


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


def outcomes(capsys: pytest.CaptureFixture[str], path: Path, text: str, *options: str) -> list[tuple[Any, ...]]:
    """(way, outcome, addresses, endpoints) of each exposure."""
    path.write_text(text)
    document = json.loads(run(capsys, "-f", path, "-o", "json", *options)[1])
    assert document["schema"] == "gatewright/exposure/v1"
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


def test_nothing_is_exposed(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(POD)
    assert run(capsys, "-f", tmp_path / "x.yaml") == (0, "", "Nothing is reachable from outside.\n")
