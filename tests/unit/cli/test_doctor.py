"""`gatewright doctor`, and the line with which answers about a live cluster open where policies are not enforced."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from gatewright.cli import enforced
from tests.unit.cli.running import run
from tests.unit.probe.doctor_clusters import node, pod_of
from tests.unit.sources.apiserver import ApiServer, kubeconfig, serving

Json = dict[str, Any]


def kindnet(tag: str) -> Json:
    container = {"name": "kindnet-cni", "image": f"registry.example/kindest/kindnetd:{tag}"}
    template = {"metadata": {"labels": {"app": "kindnet"}}, "spec": {"containers": [container]}}
    return {
        "kind": "DaemonSet",
        "metadata": {"name": "kindnet", "namespace": "kube-system", "uid": "ds-1"},
        "spec": {"selector": {"matchLabels": {"app": "kindnet"}}, "template": template},
    }


def cluster_of(tag: str) -> ApiServer:
    """A cluster of one node with kindnet of this version, and one pod."""
    web = {
        "metadata": {"name": "web", "namespace": "shop", "labels": {"app": "web"}},
        "spec": {"containers": [{"name": "c", "image": "i"}]},
        "status": {"podIPs": [{"ip": "10.0.0.1"}]},
    }
    return ApiServer(
        {
            "/api/v1/nodes": [node("n1")],
            "/api/v1/pods": [web],
            "/apis/apps/v1/daemonsets": [kindnet(tag)],
            "/api/v1/namespaces/kube-system/pods": [pod_of(kindnet(tag), "n1")],
        },
        raw={"/apis": b'{"kind": "APIGroupList", "groups": []}'},
    )


@pytest.fixture
def enforcing() -> Iterator[ApiServer]:
    with serving(cluster_of("v20250214-acbabc1a")) as server:
        yield server


@pytest.fixture
def flat() -> Iterator[ApiServer]:
    with serving(cluster_of("v20230511-dc714da8")) as server:
        yield server


def test_the_exit_code_and_the_formats(
    enforcing: ApiServer, flat: ApiServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = kubeconfig(tmp_path / "a", enforcing.url)
    code, out, _ = run(capsys, "doctor", "--kubeconfig", config)
    assert (code, out.splitlines()[0]) == (0, "enforced: yes")
    code, out, _ = run(capsys, "doctor", "--kubeconfig", kubeconfig(tmp_path / "b", flat.url), "-o", "json")
    told = json.loads(out)
    assert (code, told["enforced"], told["found"][0]["id"], told["nodes"][0]["enforced"]) == (1, "no", "kindnet", "no")
    assert {"object": "DaemonSet kube-system/kindnet"}.items() <= told["evidence"][0].items()
    code, out, _ = run(capsys, "doctor", "--kubeconfig", tmp_path / "b", "-o", "yaml")
    assert (code, yaml.safe_load(out)) == (1, told)


def test_a_cluster_that_cannot_be_asked_is_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "doctor", "--kubeconfig", kubeconfig(tmp_path / "a", "http://127.0.0.1:1"))
    assert (code, out) == (2, "")
    assert "connection refused" in err
    with serving(ApiServer({})) as other:
        code, out, err = run(capsys, "doctor", "--kubeconfig", kubeconfig(tmp_path / "b", other.url))
    assert (code, out) == (2, "")
    assert "not a Kubernetes API" in err


def test_a_nodes_files_are_evidence(enforcing: ApiServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = kubeconfig(tmp_path / "a", enforcing.url)
    folder = tmp_path / "etc/cni/net.d"
    folder.mkdir(parents=True)
    (folder / "10-kindnet.conflist").write_text('{"plugins": [{"type": "ptp"}]}')
    assert run(capsys, "doctor", "--kubeconfig", config, "--node-files", tmp_path)[0] == 0
    (folder / "05-cilium.conflist").write_text('{"plugins": [{"type": "cilium-cni"}]}')
    code, out, _ = run(capsys, "doctor", "--kubeconfig", config, "--node-files", tmp_path)
    assert (code, "type cilium-cni" in out) == (1, True)
    code, _, err = run(capsys, "doctor", "--kubeconfig", config, "--node-files", tmp_path / "none")
    assert (code, "name a folder that holds etc/cni/net.d" in err) == (2, True)


MODEL = """\
apiVersion: gatewright/v1alpha1
kind: Traffic
components:
  web: {namespace: shop, labels: {app: web}, ports: [80]}
outside:
  users: anywhere
flows:
- users -> web
"""


@pytest.mark.parametrize("verb", [("list",), ("explain", "web", "10.0.0.9", "80"), ("check", "MODEL")])
def test_answers_about_a_cluster_that_does_not_enforce_open_with_one_line(
    verb: tuple[str, ...],
    flat: ApiServer,
    enforcing: ApiServer,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "model.yaml").write_text(MODEL)
    words = [str(tmp_path / "model.yaml") if word == "MODEL" else word for word in verb]
    config = kubeconfig(tmp_path / "flat", flat.url)
    code, out, err = run(capsys, *words, "--kubeconfig", config, "-o", "json")
    assert code == 0
    json.loads(out)
    why = "cluster test does NOT enforce network policies: kindnetd of this version enforces no policies"
    assert err.splitlines() == [f"gatewright: warning: {why}; see: gatewright doctor"]
    code, _, err = run(capsys, *words, "--kubeconfig", config, "--require-enforced")
    assert (code, len(err.splitlines())) == (1, 1)
    config = kubeconfig(tmp_path / "enforcing", enforcing.url)
    assert run(capsys, *words, "--kubeconfig", config, "--require-enforced")[::2] == (0, "")


def test_what_cannot_be_told_is_no_reason_not_to_answer(
    flat: ApiServer, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    flat.refused["/apis/apps/v1/daemonsets"] = 403
    config = kubeconfig(tmp_path / "a", flat.url)
    code, out, err = run(capsys, "list", "--kubeconfig", config)
    assert (code, "shop/web[Pod]" in out) == (0, True)
    assert "it cannot be told: not allowed to list daemonsets.apps" in err
    monkeypatch.setattr(enforced, "PATIENCE", 0.0)
    code, out, err = run(capsys, "list", "--kubeconfig", config, "--require-enforced")
    assert (code, "shop/web[Pod]" in out) == (1, True)
    assert "seconds were over" in err


def test_manifests_enforce_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "shop.yaml").write_text("apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n")
    code, _, err = run(capsys, "list", "-f", tmp_path, "--require-enforced")
    assert (code, "name one with --live" in err) == (2, True)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("doctor", "--yes"), "are for --verify"),
        (("doctor", "--image", "i"), "are for --verify"),
        (("probe", "--through", "inside"), "no lab of this machine"),
        (("probe", "--port", "http"), "is no port"),
    ],
)
def test_options_that_do_not_go_together(
    words: tuple[str, ...], says: str, enforcing: ApiServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, *words, "--kubeconfig", kubeconfig(tmp_path / "a", enforcing.url))
    assert (code, out) == (2, "")
    assert says in err


def test_a_cluster_in_which_nothing_may_be_created_is_2(
    enforcing: ApiServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = kubeconfig(tmp_path / "a", enforcing.url)
    enforcing.refused["/api/v1/namespaces"] = 403
    code, out, err = run(capsys, "doctor", "--verify", "--yes", "--kubeconfig", config)
    assert (code, out) == (2, "")
    assert "namespaces cannot be listed" in err
    assert "ask for the right to list, create and delete them" in err
    del enforcing.refused["/api/v1/namespaces"]
    enforcing.objects["/api/v1/namespaces"] = []
    code, out, err = run(capsys, "doctor", "--verify", "--yes", "--kubeconfig", config)
    assert (code, out) == (2, "")
    assert "POST /api/v1/namespaces: " in err


def test_a_cluster_without_a_node_to_measure_on_is_2(
    enforcing: ApiServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    windows = node("n2")
    windows["status"]["nodeInfo"]["operatingSystem"] = "windows"
    enforcing.objects["/api/v1/nodes"] = [node("n1", ready=False), windows]
    config = kubeconfig(tmp_path / "a", enforcing.url)
    code, out, err = run(capsys, "doctor", "--verify", "--yes", "--kubeconfig", config)
    assert (code, out) == (2, "")
    assert "there is no node to measure on: not measured: the node is not ready, not measured: its operating" in err
