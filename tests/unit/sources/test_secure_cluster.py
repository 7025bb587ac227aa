"""A cluster behind TLS and credentials, as real ones are; every way in which that fails is one line and exit code 2."""

from __future__ import annotations

import base64
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gatewright.sources import cluster
from gatewright.sources import kubeconfig as configuration
from gatewright.sources.cluster import ClusterUnavailable, Where, read_cluster
from tests.unit.cli.running import run
from tests.unit.sources import certificates
from tests.unit.sources.apiserver import ApiServer, kubeconfig, serving
from tests.unit.sources.certificates import Certificates
from tests.unit.sources.test_cluster import pod

Json = dict[str, Any]

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")


@pytest.fixture(scope="module")
def pems(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return certificates.make(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def server(pems: Certificates) -> Iterator[ApiServer]:
    with serving(ApiServer({"/api/v1/pods": [pod("web"), pod("db")]}), pems.server()) as running:
        yield running


@pytest.fixture
def mutual(pems: Certificates) -> Iterator[ApiServer]:
    """A server that wants a client certificate."""
    with serving(ApiServer({"/api/v1/pods": [pod("web")]}), pems.server(ask_client=True)) as running:
        yield running


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "TIMEOUT", 5.0)


def data(pems: Certificates, name: str) -> str:
    return base64.b64encode(pems.text(name).encode()).decode()


def trusted(pems: Certificates) -> Json:
    return {"certificate-authority-data": data(pems, "ca.crt")}


def names(path: Path) -> list[str]:
    return [item.name for item in read_cluster(Where(str(path))).require()]


def refusal(capsys: pytest.CaptureFixture[str], path: Path) -> str:
    """The one line that the command line says, with exit code 2 and no answer."""
    code, out, err = run(capsys, "list", "--kubeconfig", path)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("gatewright: ")
    return err.removeprefix("gatewright: ").rstrip()


def login(tmp_path: Path, script: str, version: str = "v1", **more: Any) -> Json:
    """The user of a login program that is a shell script beside the kubeconfig."""
    (tmp_path / "login").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "login").chmod(0o755)
    return {"exec": {"apiVersion": f"client.authentication.k8s.io/{version}", "command": "./login", **more}}


def credential(**status: str) -> str:
    return json.dumps({"kind": "ExecCredential", "apiVersion": "client.authentication.k8s.io/v1", "status": status})


def test_an_authority_as_data_or_as_a_file_beside_the_kubeconfig(
    server: ApiServer, pems: Certificates, tmp_path: Path
) -> None:
    shutil.copy(pems.file("ca.crt"), tmp_path / "ca.crt")
    for given in (trusted(pems), {"certificate-authority": "ca.crt"}, {"insecure-skip-tls-verify": True}):
        assert names(kubeconfig(tmp_path / "config", server.url, cluster=given)) == ["web", "db"]


@pytest.mark.parametrize("as_data", [True, False])
def test_a_client_certificate(mutual: ApiServer, pems: Certificates, tmp_path: Path, as_data: bool) -> None:
    user = {"client-certificate": pems.file("client.crt"), "client-key": pems.file("client.key")}
    if as_data:
        user = {f"{key}-data": data(pems, Path(file).name) for key, file in user.items()}
    assert names(kubeconfig(tmp_path / "config", mutual.url, cluster=trusted(pems), user=user)) == ["web"]


def test_a_token_file_beside_the_kubeconfig(server: ApiServer, pems: Certificates, tmp_path: Path) -> None:
    server.token = "fresh"
    (tmp_path / "token").write_text("fresh\n")
    user = {"tokenFile": "token", "token": "stale"}
    assert names(kubeconfig(tmp_path / "config", server.url, cluster=trusted(pems), user=user)) == ["web", "db"]


@pytest.mark.parametrize("version", ["v1", "v1beta1"])
def test_a_login_program(server: ApiServer, pems: Certificates, tmp_path: Path, version: str) -> None:
    server.token = "from-login"
    script = f"""case "$KUBERNETES_EXEC_INFO" in *{version}\\"*) ;; *) exit 9;; esac
    [ "$1 $REGION" = "token here" ] && echo '{credential(token="from-login")}'"""
    user = login(tmp_path, script, version, args=["token"], env=[{"name": "REGION", "value": "here"}])
    assert names(kubeconfig(tmp_path / "config", server.url, cluster=trusted(pems), user=user)) == ["web", "db"]


def test_with_a_token_no_login_program_runs(server: ApiServer, pems: Certificates, tmp_path: Path) -> None:
    """As in client-go, whose plugin leaves a request alone that has credentials."""
    server.token = "given"
    user = {"token": "given", **login(tmp_path, "exit 1")}
    assert names(kubeconfig(tmp_path / "config", server.url, cluster=trusted(pems), user=user)) == ["web", "db"]


def test_a_login_program_that_gives_a_certificate(mutual: ApiServer, pems: Certificates, tmp_path: Path) -> None:
    given = credential(clientCertificateData=pems.text("client.crt"), clientKeyData=pems.text("client.key"))
    (tmp_path / "given").write_text(given)
    user = login(tmp_path, f"cat {tmp_path}/given")
    assert names(kubeconfig(tmp_path / "config", mutual.url, cluster=trusted(pems), user=user)) == ["web"]


@pytest.mark.parametrize(("script", "more", "said"), [
    ("echo oops >&2; exit 3", {}, "cluster test: the login program {login} says: oops; kubectl may know better, pipe"),
    ("echo no-json", {}, "cluster test: the login program {login} prints no ExecCredential: JSON is malformed"),
    ("echo '{}'", {}, "prints no ExecCredential: Object missing required field `status`"),
    ("echo '{\"status\": {}}'", {}, "gives neither a token nor a client certificate with its key; log in with it"),
    ("", {"command": "no-such-login", "installHint": "get it\nhere"},
     "the login program no-such-login does not start: No such file or directory; get it here; kubectl may"),
    ("", {"apiVersion": "client.authentication.k8s.io/v9"}, "the login program speaks client.authentication.k8s.io/v9"),
])  # fmt: skip
def test_a_login_program_that_fails(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, script: str, more: Json, said: str
) -> None:
    user = login(tmp_path, script)
    user["exec"] |= more
    line = refusal(capsys, kubeconfig(tmp_path / "config", "https://127.0.0.1:1", user=user))
    assert said.format(login=tmp_path / "login") in line


def test_an_authority_that_did_not_sign(
    capsys: pytest.CaptureFixture[str], server: ApiServer, pems: Certificates, tmp_path: Path
) -> None:
    for given in ({"certificate-authority": pems.file("stranger.crt")}, {}):
        assert refusal(capsys, kubeconfig(tmp_path / "config", server.url, cluster=given)) == (
            f"cluster test at {server.url}: its certificate is not trusted: unable to get local issuer certificate;"
            " certificate-authority has to be that of its issuer"
        )


def test_a_certificate_for_another_name(capsys: pytest.CaptureFixture[str], pems: Certificates, tmp_path: Path) -> None:
    with serving(ApiServer({"/api/v1/pods": [pod("web")]}), pems.server(name="elsewhere")) as server:
        line = refusal(capsys, kubeconfig(tmp_path / "config", server.url, cluster=trusted(pems)))
        assert "its certificate is not trusted: IP address mismatch, certificate is not valid for '127.0.0.1'" in line
        named = {**trusted(pems), "tls-server-name": "api.test"}
        assert names(kubeconfig(tmp_path / "config", server.url, cluster=named)) == ["web"]


def test_a_server_that_wants_a_client_certificate(
    capsys: pytest.CaptureFixture[str], mutual: ApiServer, pems: Certificates, tmp_path: Path
) -> None:
    line = refusal(capsys, kubeconfig(tmp_path / "config", mutual.url, cluster=trusted(pems)))
    assert line.endswith("; is `server` right, and does the user need a client certificate?")
    assert line.startswith(f"cluster test at {mutual.url}: no TLS connection: ")


def test_a_server_without_tls(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with serving(ApiServer()) as server:
        url = server.url.replace("http:", "https:")
        line = refusal(capsys, kubeconfig(tmp_path / "config", url))
    assert line.startswith(f"cluster test at {url}: no TLS connection: ")


@pytest.mark.parametrize(("fields", "said"), [
    ({"certificate-authority": "gone.crt"}, "certificate-authority {folder}/gone.crt: no such file or directory; mend"),
    ({"certificate-authority": "text"}, "certificate-authority: not what OpenSSL can read as PEM: "),
    ({"certificate-authority-data": "%%"}, "certificate-authority-data: not base64: "),
    ({"client-certificate": "gone.crt", "client-key": "k"}, "client-certificate {folder}/gone.crt: no such file or"),
    ({"client-certificate": "text", "client-key": "text"}, "client-certificate or client-key: not what OpenSSL can"),
    ({"client-certificate": "text"}, "a client certificate needs both client-certificate and client-key"),
    ({"client-key-data": "!"}, "client-key-data: not base64: "),
    ({"tokenFile": "gone"}, "tokenFile {folder}/gone: no such file or directory; mend the path or the file"),
    ({"auth-provider": {"name": "gcp"}}, "auth-provider is a way to log in that kubectl has given up too; use an exec"),
])  # fmt: skip
def test_what_is_wrong_in_a_kubeconfig_is_named_by_its_field(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, fields: Json, said: str
) -> None:
    (tmp_path / "text").write_text("no certificate\n")
    cluster = {key: value for key, value in fields.items() if "authority" in key}
    user = {key: value for key, value in fields.items() if "authority" not in key}
    path = kubeconfig(tmp_path / "config", "https://127.0.0.1:1", cluster=cluster, user=user)
    assert refusal(capsys, path).startswith(f"{path}: {said.format(folder=tmp_path)}")


@pytest.mark.parametrize(("fields", "said"), [
    ({"proxy-url": "http://u:secret@127.0.0.1:1"}, " at https://127.0.0.1:1 through proxy http://127.0.0.1:1: no conn"),
    ({"proxy-url": "nonsense"}, " at https://127.0.0.1:1 through proxy nonsense: no connection: Unknown scheme for"),
    ({"server": "nonsense"}, " at nonsense: no connection: Request URL is missing an 'http://' or 'https://' protocol"),
    ({"server": "https://no-such-host.invalid"}, " at https://no-such-host.invalid: its name does not resolve: "),
])  # fmt: skip
def test_addresses_that_lead_nowhere(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, fields: Json, said: str
) -> None:
    path = kubeconfig(tmp_path / "config", "https://127.0.0.1:1", cluster=fields)
    assert refusal(capsys, path).startswith(f"cluster test{said}")


def test_a_proxy_of_another_kind_names_what_it_needs(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "socksio", None)
    path = kubeconfig(tmp_path / "config", "https://127.0.0.1:1", cluster={"proxy-url": "socks5://127.0.0.1:1"})
    assert refusal(capsys, path).startswith("cluster test: proxy-url socks5://127.0.0.1:1 needs the package socksio: ")


def test_a_proxy_is_asked(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The proxy sees the whole URL of a server that no name leads to."""
    with serving(ApiServer()) as proxy:
        path = kubeconfig(tmp_path / "config", "http://api.invalid", cluster={"proxy-url": proxy.url})
        refusal(capsys, path)
    assert proxy.requests[0].startswith("http://api.invalid/api/v1/")


def test_an_expired_token(
    capsys: pytest.CaptureFixture[str], server: ApiServer, pems: Certificates, tmp_path: Path
) -> None:
    server.token = "fresh"
    path = kubeconfig(tmp_path / "config", server.url, "expired", cluster=trusted(pems))
    assert refusal(capsys, path) == (
        "cluster test does not accept the credentials: Unauthorized; log in again, or get a new kubeconfig"
    )


HTML = b"<html><body>Sign in</body></html>"


@pytest.mark.parametrize(("answer", "said"), [
    ((500, b"oops"), "no Kubernetes API answers: the server answers 500; look at `server`"),
    ((502, HTML), "no Kubernetes API answers: the server answers 502; look at `server`"),
    ((302, b""), "no Kubernetes API answers: the server answers 302; look at `server`"),
    ((200, HTML), "no Kubernetes API answers: an HTML page instead of a list, as proxies and login pages give it;"),
    ((200, b"\x00\xff"), "no Kubernetes API answers: not a list as API servers give it: "),
    ((404, b""), "not a Kubernetes API: it has no pods; look at `server`"),
])  # fmt: skip
def test_something_else_answers(
    capsys: pytest.CaptureFixture[str],
    server: ApiServer,
    pems: Certificates,
    tmp_path: Path,
    answer: tuple[int, bytes],
    said: str,
) -> None:
    server.everywhere = answer
    line = refusal(capsys, kubeconfig(tmp_path / "config", server.url, cluster=trusted(pems)))
    assert line.startswith(f"cluster test at {server.url}: {said}")


def test_a_user_who_may_list_nothing(
    capsys: pytest.CaptureFixture[str], server: ApiServer, pems: Certificates, tmp_path: Path
) -> None:
    server.everywhere = (403, json.dumps({"message": 'forbidden: User "u" cannot list'}).encode())
    assert refusal(capsys, kubeconfig(tmp_path / "config", server.url, cluster=trusted(pems))) == (
        'cluster test: nothing may be listed: forbidden: User "u" cannot list; ask for a role that reads, such as view'
    )


def test_a_server_that_is_slow(
    capsys: pytest.CaptureFixture[str],
    server: ApiServer,
    pems: Certificates,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cluster, "TIMEOUT", 0.2)
    server.delay = 0.6
    line = refusal(capsys, kubeconfig(tmp_path / "config", server.url, cluster=trusted(pems)))
    assert line == f"cluster test at {server.url}: no answer within 0.2 seconds; is it up, and reachable from here?"


def test_a_connection_that_is_cut(
    capsys: pytest.CaptureFixture[str], server: ApiServer, pems: Certificates, tmp_path: Path
) -> None:
    server.cut = True
    line = refusal(capsys, kubeconfig(tmp_path / "config", server.url, cluster=trusted(pems)))
    assert line.startswith(f"cluster test at {server.url}: no connection: peer closed connection")


def test_a_busy_server_is_asked_again(server: ApiServer, pems: Certificates, tmp_path: Path) -> None:
    path = kubeconfig(tmp_path / "config", server.url, cluster=trusted(pems))
    server.busy, server.headers = 2, {"Retry-After": "0"}
    assert names(path) == ["web", "db"]
    server.busy = cluster.RETRIES + 1
    assert [problem.what for problem in read_cluster(Where(str(path))).problems] == [
        "namespaces: not readable: too many requests"
    ]


@pytest.fixture
def in_a_pod(server: ApiServer, pems: Certificates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the service account of the pod that the test seems to run in."""
    account = tmp_path / "serviceaccount"
    account.mkdir()
    (account / "token").write_text("of-the-pod\n")
    (account / "namespace").write_text("shop\n")
    shutil.copy(pems.file("ca.crt"), account / "ca.crt")
    host, _, port = server.url.removeprefix("https://").partition(":")
    monkeypatch.setattr(configuration, "SERVICE_ACCOUNT", account)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", host)
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", port)
    server.token = "of-the-pod"
    return account


def test_inside_a_cluster(server: ApiServer, in_a_pod: Path) -> None:
    assert [item.name for item in read_cluster(Where()).require()] == ["web", "db"]
    server.refused = {"/api/v1/pods": 403}
    server.objects["/api/v1/namespaces/shop/pods"] = [pod("mine")]
    assert [item.name for item in read_cluster(Where()).require()] == ["mine"]


def test_inside_a_cluster_a_kubeconfig_that_is_named_counts(in_a_pod: Path) -> None:
    with pytest.raises(ClusterUnavailable, match=r"^no kubeconfig at .*none; name one"):
        read_cluster(Where(context="other"))


def test_a_service_account_without_its_authority(in_a_pod: Path) -> None:
    (in_a_pod / "ca.crt").unlink()
    with pytest.raises(ClusterUnavailable, match=r"^service account .*: certificate-authority .*ca.crt: no such file"):
        read_cluster(Where())


def test_contexts_span_the_files_of_kubeconfig(
    server: ApiServer, pems: Certificates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The context in one file, its cluster with a file beside it in another: as kubectl merges them."""
    folder = tmp_path / "clusters"
    folder.mkdir()
    shutil.copy(pems.file("ca.crt"), folder / "ca.crt")
    whole = json.loads(kubeconfig(tmp_path / "c", server.url, cluster={"certificate-authority": "ca.crt"}).read_text())
    (tmp_path / "contexts").write_text(json.dumps({**whole, "clusters": []}))
    (folder / "config").write_text(json.dumps({"clusters": whole["clusters"]}))
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path}/contexts:{folder}/config")
    assert len(read_cluster(Where()).require()) == 2
