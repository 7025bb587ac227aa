"""A live cluster is read whole or says what is missing, and nothing about it is more than one line of error."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gatewright.objects.core import Pod
from gatewright.sources import cluster
from gatewright.sources.cluster import ClusterUnavailable, Where, read_cluster
from tests.unit.sources.apiserver import ApiServer, kubeconfig, serving

Json = dict[str, Any]
NETPOL = "/apis/networking.k8s.io/v1/networkpolicies"


def pod(name: str, namespace: str = "shop") -> Json:
    return {
        "metadata": {"name": name, "namespace": namespace, "labels": {"app": name}},
        "spec": {"containers": [{"name": "c", "image": "i"}]},
        "status": {"phase": "Running", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}]},
    }


@pytest.fixture
def server() -> Iterator[ApiServer]:
    policy = {"metadata": {"name": "p", "namespace": "shop"}, "spec": {"podSelector": {}, "newer": 1}}
    with serving(ApiServer({"/api/v1/pods": [pod(f"p{n}") for n in range(7)], NETPOL: [policy]})) as running:
        yield running


@pytest.fixture
def where(server: ApiServer, tmp_path: Path) -> Where:
    return Where(kubeconfig=str(kubeconfig(tmp_path / "config", server.url)))


def test_every_page_of_every_kind_that_is_there(
    server: ApiServer, where: Where, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "PAGE", 3)
    parsed = read_cluster(where)
    assert [item.name for item in parsed.require()] == [*(f"p{n}" for n in range(7)), "p"]
    first = parsed.objects[0]
    assert isinstance(first, Pod)
    assert (first.kind, first.api_version, first.origin, first.ips) == ("Pod", "v1", None, ("10.0.0.1",))
    assert [one for one in server.requests if one.startswith("/api/v1/pods")] == [
        "/api/v1/pods?limit=3",
        "/api/v1/pods?limit=3&continue=Mw%3D%3D",
        "/api/v1/pods?limit=3&continue=Ng%3D%3D",
    ]
    [warning] = parsed.warnings
    assert str(warning).startswith("cluster test: NetworkPolicy shop/p: spec.newer is newer than this version")
    assert not any("configmaps" in one for one in server.requests)


def test_a_token_that_expired_starts_the_list_again(
    server: ApiServer, where: Where, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "PAGE", 3)
    server.expired = True
    assert len(read_cluster(where).require()) == 8
    assert [one for one in server.requests if one.startswith("/api/v1/pods")][-1] == "/api/v1/pods"


def test_what_may_not_be_listed_is_one_problem_a_kind(server: ApiServer, where: Where) -> None:
    server.refused = {
        "/api/v1/nodes": 403,
        NETPOL: 403,
        "/apis/networking.k8s.io/v1/namespaces/shop/networkpolicies": 403,
    }
    server.refused["/apis/apps/v1/deployments"] = 500
    parsed = read_cluster(where)
    assert len(parsed.objects) == 7
    assert {problem.where for problem in parsed.problems} == {"cluster test"}
    why = 'is refused: User "u" cannot list it'
    assert [problem.what for problem in parsed.problems] == [
        f"nodes: not allowed: nodes {why}; ask for the right to list them",
        f"deployments: not readable: deployments {why}",
        f"networkpolicies: not allowed: networkpolicies {why}; ask for the right to list them",
    ]


def test_one_namespace_where_the_whole_is_not_allowed(server: ApiServer, where: Where) -> None:
    server.refused = {"/api/v1/pods": 403}
    server.objects["/api/v1/namespaces/shop/pods"] = [pod("mine")]
    parsed = read_cluster(where)
    assert [item.name for item in parsed.require()] == ["mine", "p"]
    assert parsed.warnings[0].what.startswith("pods: only those of namespace shop: pods is refused")
    whole = read_cluster(where, everything=True)
    assert [problem.what[:17] for problem in whole.problems] == ["pods: not allowed"]


def test_credentials(server: ApiServer, tmp_path: Path) -> None:
    server.token = "secret"
    good = kubeconfig(tmp_path / "good", server.url, "secret")
    assert len(read_cluster(Where(str(good))).require()) == 8
    bad = kubeconfig(tmp_path / "bad", server.url, "wrong")
    with pytest.raises(ClusterUnavailable, match=r"credentials: Unauthorized; log in again, or get a new kubeconfig$"):
        read_cluster(Where(str(bad)))


@pytest.mark.parametrize(("body", "said"), [
    (b"no JSON", "pods: not readable: not a list as API servers give it: JSON is malformed"),
    (b" <!DOCTYPE html>", "pods: not readable: an HTML page instead of a list, as proxies and login pages give it"),
    (b'{"items": [], "metadata": {"continue": "same"}}', "pods: not readable: the list does not come to an end"),
    (b"x" * 3000, "pods: not readable: an answer larger than 0 MB"),
])  # fmt: skip
def test_an_answer_that_is_no_list(
    server: ApiServer, where: Where, monkeypatch: pytest.MonkeyPatch, body: bytes, said: str
) -> None:
    monkeypatch.setattr(cluster, "LARGEST_PAGE", 2000)
    server.objects["/api/v1/pods"].clear()
    server.raw = {"/api/v1/pods": body}
    [problem] = read_cluster(where).problems
    assert problem.what.startswith(said)


def test_something_else_than_an_api_server(server: ApiServer, where: Where) -> None:
    server.objects.clear()
    with pytest.raises(ClusterUnavailable, match=r"not a Kubernetes API: it has no pods"):
        read_cluster(where)


def test_nobody_listens(tmp_path: Path) -> None:
    with pytest.raises(ClusterUnavailable, match=r"^cluster test at http://127.0.0.1:1: no connection: ") as error:
        read_cluster(Where(str(kubeconfig(tmp_path / "config", "http://127.0.0.1:1"))))
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(("text", "said"), [
    ("just text", "not a kubeconfig that can be used: "),
    ("{clusters: [], contexts: []}", "no current context; name one with --context"),
    ("{clusters: [], contexts: [], current-context: gone}", "no context 'gone'; it has none"),
    ("{clusters: [{name: c, cluster: {server: 5}}], current-context: x}", "not a kubeconfig that can be used: "),
    (
        "{clusters: [], current-context: x, contexts: [{name: x, context: {cluster: gone}}]}",
        "context 'x' names the cluster 'gone', which is not there",
    ),
])  # fmt: skip
def test_a_kubeconfig_that_cannot_be_used(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "config"
    path.write_text(text)
    with pytest.raises(ClusterUnavailable) as error:
        read_cluster(Where(str(path)))
    assert str(error.value).startswith(f"{path}: {said}")
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(("text", "said"), [
    (b"a: [", ":1: not YAML: expected the node content"),
    (b"a:\n\t- token: secret", ":2: not YAML: "),
    (b"a: \xff", ": not YAML: it is not UTF-8 text"),
    (b"a: \x00", ": not YAML: it is not UTF-8 text"),
])  # fmt: skip
def test_a_kubeconfig_that_is_not_yaml_is_not_shown(tmp_path: Path, text: bytes, said: str) -> None:
    path = tmp_path / "config"
    path.write_bytes(text)
    with pytest.raises(ClusterUnavailable) as error:
        read_cluster(Where(str(path)))
    assert str(error.value).startswith(f"{path}{said}")
    assert "secret" not in str(error.value)


def test_kubeconfig_of_the_environment(server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = kubeconfig(tmp_path / "other", "http://127.0.0.1:1", context="other")
    mine = kubeconfig(tmp_path / "mine", server.url, context="mine")
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path}/missing:{other}:{mine}")
    assert len(read_cluster(Where(context="mine")).require()) == 8
    with pytest.raises(ClusterUnavailable, match=r"cluster other"):
        read_cluster(Where())
    with pytest.raises(ClusterUnavailable, match=r"no context 'x'; it has mine, other"):
        read_cluster(Where(context="x"))
    same = kubeconfig(tmp_path / "same", "http://127.0.0.1:1", context="mine")
    monkeypatch.setenv("KUBECONFIG", f"{mine}:{same}")
    assert len(read_cluster(Where()).require()) == 8, "of two of a name the first counts"
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path}/missing")
    with pytest.raises(ClusterUnavailable, match=r"no kubeconfig at .*missing; name one with --kubeconfig"):
        read_cluster(Where())


def test_a_cluster_costs_nothing_until_one_is_asked_for() -> None:
    code = "import sys, gatewright.sources.cluster, gatewright.cli.options; print('lightkube' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout == "False\n"


def test_without_lightkube_the_pipe_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lightkube.config.kubeconfig", None)
    with pytest.raises(ClusterUnavailable, match=r"needs lightkube: pip install 'gatewright\[live\]', or pipe"):
        read_cluster(Where())
