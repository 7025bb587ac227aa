"""A cluster is followed over real connections through everything that breaks them, and stopping leaves nothing."""

from __future__ import annotations

import base64
import contextlib
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from gatewright.kubeapi import reflector
from gatewright.sources import kubeconfig as configuration
from gatewright.sources import session, watch
from gatewright.sources.kubeconfig import Where
from gatewright.sources.watch import CONNECTING, NODE_KINDS, ClusterWatch, Delivery
from tests.unit.kubeapi.store import Store
from tests.unit.sources import certificates
from tests.unit.sources.apiserver import kubeconfig
from tests.unit.sources.certificates import Certificates
from tests.unit.sources.following import POD, Following
from tests.unit.sources.test_secure_cluster import credential, login
from tests.unit.sources.watchserver import PODS, WatchServer, watched

POLICIES = "/apis/networking.k8s.io/v1/networkpolicies"
CLUSTER_POLICIES = "/apis/policy.networking.k8s.io/v1alpha2/clusternetworkpolicies"

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")


@pytest.fixture(scope="module")
def pems(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return certificates.make(tmp_path_factory.mktemp("certificates"))


def stocked() -> WatchServer:
    """A server that holds the pods a and b."""
    server = WatchServer({PODS: Store()})
    with server.change() as store:
        store.put("a")
        store.put("b")
    return server


@pytest.fixture
def server(pems: Certificates) -> Iterator[WatchServer]:
    with watched(stocked(), pems.server()) as running:
        yield running


def config(tmp_path: Path, server: WatchServer, pems: Certificates, **more: Any) -> Where:
    data = base64.b64encode(pems.text("ca.crt").encode()).decode()
    path = kubeconfig(tmp_path / "config", server.url, cluster={"certificate-authority-data": data}, **more)
    return Where(str(path))


@pytest.fixture
def where(server: WatchServer, pems: Certificates, tmp_path: Path) -> Where:
    return config(tmp_path, server, pems)


def test_objects_are_followed_and_deliveries_say_when_they_came(server: WatchServer, where: Where) -> None:
    with Following(where) as following:
        following.holds("a", "b")
        before = time.monotonic()
        with server.change() as store:
            store.put("c", metadata={"creationTimestamp": "2026-11-26T10:00:00Z"})
            store.delete("a")
        following.holds("b", "c")
        first, second = following.deliveries
        assert (first.kind, first.complete, len(first.changes.put), first.created) == ("Pod", True, 2, ())
        assert second.created == ((("Pod", "shop", "c"), 1795687200.0),)
        assert before <= second.received <= time.monotonic()
        status = following.status()
        assert (status.complete, status.connected, status.absent, status.objects) == (True, True, False, 2)
        assert (status.resource_version, status.last_error, status.problems) == ("14", "", ())
        assert not status.ended
        assert status.last_event == second.received
    assert server.watches()[0].endswith("sendInitialEvents=true&resourceVersionMatch=NotOlderThan")
    assert server.agents == {f"gatewright/{version('gatewright')}"}
    assert "fieldSelector=status.phase%21%3DSucceeded%2Cstatus.phase%21%3DFailed" in server.watches()[0]


@pytest.mark.parametrize("streams", ["refused", "disabled"])
def test_a_server_without_streaming_lists_is_asked_for_pages(streams: str, server: WatchServer, where: Where) -> None:
    server.stores[PODS].streams = streams
    with Following(where) as following:
        following.holds("a", "b")
        with server.change() as store:
            store.put("c")
        following.holds("a", "b", "c")
    assert len(server.lists()) == 1


def test_pages_alone_where_that_is_wanted(server: WatchServer, where: Where, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reflector, "PAGE", 1)
    with Following(where, options={"streaming": False, "fields": {}}) as following:
        following.holds("a", "b")
        following.until(lambda status: status.connected)
        assert len(following.deliveries) == 1
    assert [one.partition("&")[0] for one in server.lists()] == [f"{PODS}?limit=1", f"{PODS}?limit=1"]
    assert not any("sendInitialEvents" in one for one in server.requests)


@pytest.mark.parametrize("length", [0, 1, 200, 700])
def test_a_watch_that_breaks_in_the_middle_of_an_event(length: int, server: WatchServer, where: Where) -> None:
    with Following(where) as following:
        following.holds("a", "b")
        with server.change():
            server.cut.append(length)
        server.drop()
        following.until(lambda status: status.reconnects)
        with server.change() as store:
            store.put("c")
            store.delete("a")
        following.holds("b", "c")
        status = following.until(lambda status: status.connected)
        assert (status.relists, status.last_error) == (0, "")


def test_410_on_an_open_watch_is_answered_by_a_relist_that_loses_no_deletion(server: WatchServer, where: Where) -> None:
    with Following(where) as following:
        following.holds("a", "b")
        with server.change() as store:
            store.delete("a")
            store.put("c")
            store.compact()
        following.holds("b", "c")
        assert following.status().relists == 1
        assert len(following.deliveries) == 2


def test_a_server_that_leaves_the_connection_open_after_410_is_not_waited_for(
    server: WatchServer, where: Where
) -> None:
    server.lingers = True
    with Following(where) as following:
        following.holds("a", "b")
        with server.change() as store:
            store.delete("a")
            store.compact()
        following.holds("b")


REFUSALS = {
    "busy": (429, {"Retry-After": "1"}, b'{"kind":"Status","message":"too many requests","code":429}', 1.0),
    "broken": (500, {}, b"internal error", 0.0),
    "a proxy": (502, {"Content-Type": "text/html"}, b"<html>bad gateway</html>", 0.0),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals_pass(name: str, server: WatchServer, where: Where) -> None:
    code, headers, body, least = REFUSALS[name]
    server.answers = [(code, headers, body)]
    begin = time.monotonic()
    with Following(where) as following:
        said = following.until(lambda status: status.last_error).last_error
        assert f"({code})" in said
        following.holds("a", "b")
        assert time.monotonic() - begin >= least
        assert following.status().last_error == ""


def test_every_kind_of_a_node_and_kinds_that_are_not_there(server: WatchServer, where: Where) -> None:
    for path in ("/api/v1/nodes", "/api/v1/namespaces", POLICIES):
        server.stores[path] = Store()
    with server.change(POLICIES) as store:
        store.put("p", spec={"podSelector": {}}, status=None)
    with Following(where, kinds=NODE_KINDS) as following:
        following.until(lambda _: all(one.complete for one in following.watch.status()))
        following.holds("a", "b", "p")
        absent = [one.kind for one in following.watch.status() if one.absent]
        assert absent == ["ClusterNetworkPolicy", "AdminNetworkPolicy", "BaselineAdminNetworkPolicy"]
        told = {one.kind for one in following.deliveries if one.complete}
        assert told == {kind for _, kind in NODE_KINDS}


def test_a_custom_resource_that_comes_and_goes(
    server: WatchServer, where: Where, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reflector, "ABSENT_FOR", 0.1)
    monkeypatch.setattr(reflector, "ABSENT_CONFIRMED", 0.5)
    kinds = (("policy.networking.k8s.io", "ClusterNetworkPolicy"),)
    with Following(where, kinds=kinds) as following:
        following.until(lambda status: status.absent)
        with server.change():
            server.stores[CLUSTER_POLICIES] = Store()
        with server.change(CLUSTER_POLICIES) as store:
            store.put("p", "", spec={"tier": "Admin", "priority": 1, "subject": {"namespaces": {}}})
        following.holds("p")
        following.until(lambda status: status.connected)
        with server.change():
            del server.stores[CLUSTER_POLICIES]
        server.drop()
        following.holds()
        assert following.until(lambda status: status.absent).complete


def test_a_policy_that_cannot_be_read_is_said_and_the_last_good_one_stays(server: WatchServer, where: Where) -> None:
    server.stores[POLICIES] = Store()
    with server.change(POLICIES) as store:
        store.put("p", spec={"podSelector": {}, "ingress": [{}]}, status=None)
    with Following(where, kinds=(("networking.k8s.io", "NetworkPolicy"),)) as following:
        following.holds("p")
        good = dict(following.objects)
        with server.change(POLICIES) as store:
            store.put("p", spec={"podSelector": {}, "ingress": 3}, status=None)
        [problem] = following.until(lambda status: status.problems).problems
        assert str(problem).startswith("NetworkPolicy shop/p: json: cannot unmarshal number")
        assert following.objects == good
        with server.change(POLICIES) as store:
            store.delete("p")
        following.holds()
        assert following.status().problems == ()


def test_of_very_many_unreadable_objects_some_are_named_and_the_others_counted(
    server: WatchServer, where: Where, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "MOST_PROBLEMS", 2)
    server.stores[POLICIES] = Store()
    with server.change(POLICIES) as store:
        for number in range(5):
            store.put(f"p{number}", spec={"podSelector": 3}, status=None)
    with Following(where, kinds=(("networking.k8s.io", "NetworkPolicy"),)) as following:
        problems = following.until(lambda status: status.problems).problems
    assert [str(one).partition(": ")[0] for one in problems[:2]] == ["NetworkPolicy shop/p0", "NetworkPolicy shop/p1"]
    assert str(problems[2]) == "NetworkPolicy: 3 more objects cannot be read whole"


# Dead connections.


def test_a_silent_connection_is_opened_again(
    server: WatchServer, where: Where, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reflector, "WATCH_PATIENCE", 0.2)
    with Following(where) as following:
        following.holds("a", "b")
        server.drop()
        status = following.until(lambda status: status.reconnects == 2 and status.last_error)
        assert status.relists == 0
        assert status.last_error.endswith("no answer within 0.2 seconds; is it up, and reachable from here?")
        following.until(lambda status: status.relists)
        with server.change() as store:
            store.put("c")
        following.holds("a", "b", "c")


def test_bookmarks_keep_a_silent_watch_open(server: WatchServer, where: Where, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reflector, "WATCH_PATIENCE", 0.4)
    server.bookmarks = 0.1
    with Following(where) as following:
        following.holds("a", "b")
        server.drop()
        following.until(lambda status: status.reconnects == 1 and status.connected)
        time.sleep(1.0)
        assert (following.status().reconnects, following.status().connected) == (1, True)


def test_a_server_that_goes_away_and_comes_back_elsewhere(
    pems: Certificates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is known stays; the kubeconfig says where it is now."""
    monkeypatch.setattr(session, "READ_AGAIN", 0.0)
    first = stocked()
    with contextlib.ExitStack() as stack:
        with watched(first, pems.server()):
            following = stack.enter_context(Following(config(tmp_path, first, pems)))
            following.holds("a", "b")
        status = following.until(lambda status: "connection refused" in status.last_error)
        assert (status.connected, status.complete, following.names) == (False, True, ["a", "b"])
        assert status.last_error.startswith("cluster test at https://127.0.0.1:")
        second = WatchServer(first.stores)
        with second.change() as store:
            store.delete("a")
        with watched(second, pems.server()):
            config(tmp_path, second, pems)
            following.holds("b")
            assert following.status().relists == 0


# Credentials.


def test_a_token_file_that_is_written_anew_is_read_after_401(
    server: WatchServer, pems: Certificates, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("one\n")
    server.token = "one"
    with Following(config(tmp_path, server, pems, user={"tokenFile": "token"})) as following:
        following.holds("a", "b")
        server.token = "two"
        server.drop()
        status = following.until(lambda status: "Unauthorized" in status.last_error)
        assert (status.connected, following.names) == (False, ["a", "b"])
        (tmp_path / "token").write_text("two\n")
        with server.change() as store:
            store.put("c")
        following.holds("a", "b", "c")


def test_a_token_file_is_read_again_in_time_without_any_401(
    server: WatchServer, pems: Certificates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "READ_AGAIN", 0.0)
    (tmp_path / "token").write_text("one")
    server.token = "one"
    with Following(config(tmp_path, server, pems, user={"tokenFile": "token"})) as following:
        following.holds("a", "b")
        (tmp_path / "token").write_text("two")
        server.token = "two"
        server.drop()
        with server.change() as store:
            store.put("c")
        following.holds("a", "b", "c")
        assert following.status().last_error == ""
        assert following.status().reconnects == 1


def test_the_service_account_of_a_pod(
    server: WatchServer, pems: Certificates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = tmp_path / "account"
    account.mkdir()
    for name, text in (("token", "one"), ("namespace", "shop"), ("ca.crt", pems.text("ca.crt"))):
        (account / name).write_text(text)
    host, _, port = server.url.removeprefix("https://").partition(":")
    monkeypatch.setattr(configuration, "SERVICE_ACCOUNT", account)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", host)
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", port)
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    server.token = "one"
    with Following(Where()) as following:
        following.holds("a", "b")
        server.token = "two"
        (account / "token").write_text("two")
        server.drop()
        with server.change() as store:
            store.put("c")
        following.holds("a", "b", "c")


def test_a_login_program_is_run_again_when_its_token_is_refused(
    server: WatchServer, pems: Certificates, tmp_path: Path
) -> None:
    server.token = "t1"
    count = f"echo run >> {tmp_path}/runs; runs=$(wc -l < {tmp_path}/runs)"
    script = f"""{count}; printf '%s' '{credential(token="T")}' | sed "s/T/t$runs/" """
    with Following(config(tmp_path, server, pems, user=login(tmp_path, script))) as following:
        following.holds("a", "b")
        server.token = "t2"
        server.drop()
        with server.change() as store:
            store.put("c")
        following.holds("a", "b", "c")
    assert (tmp_path / "runs").read_text().count("run") == 2


def test_a_cluster_that_cannot_be_asked_yet_is_asked_when_it_can(
    server: WatchServer, pems: Certificates, tmp_path: Path
) -> None:
    with Following(Where(str(tmp_path / "config"))) as following:
        said = following.until(lambda status: status.last_error).last_error
        assert said.startswith("no kubeconfig at ")
        config(tmp_path, server, pems)
        following.holds("a", "b")


# Stopping.


def test_stopping_a_watch_that_is_open_is_prompt(server: WatchServer, where: Where) -> None:
    with Following(where) as following:
        following.holds("a", "b")
        begin = time.monotonic()
        following.watch.stop()
        assert time.monotonic() - begin < CONNECTING / 2
        with server.change() as store:
            store.put("c")
        time.sleep(0.1)
        assert following.names == ["a", "b"]


def test_stopping_while_it_waits_to_try_again_is_prompt(tmp_path: Path) -> None:
    with Following(Where(str(tmp_path / "none"))) as following:
        following.until(lambda status: status.last_error)
        begin = time.monotonic()
        following.watch.stop()
        assert time.monotonic() - begin < 0.7


def test_stopping_while_a_server_does_not_answer_is_prompt(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        path = kubeconfig(tmp_path / "config", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with Following(Where(str(path))) as following:
            silent.accept()[0].recv(1)
            begin = time.monotonic()
            following.watch.stop()
            assert time.monotonic() - begin < CONNECTING / 2


def test_stopping_before_the_connection_is_there_is_prompt_once_it_is(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        script = f"touch {tmp_path}/begun; sleep 0.3; printf '%s' '{credential(token='t')}'"
        path = kubeconfig(tmp_path / "config", url, user=login(tmp_path, script))
        with Following(Where(str(path))) as following:
            while not (tmp_path / "begun").exists():
                time.sleep(0.01)
            begin = time.monotonic()
            following.watch.stop()
            assert time.monotonic() - begin < CONNECTING / 2


def test_stopping_before_the_start_and_twice(where: Where) -> None:
    watch = ClusterWatch(where, POD, lambda _: None)
    watch.stop()
    watch.start()
    watch.stop()
    watch.stop()
    assert not watch.status()[0].complete


@pytest.mark.parametrize("error", [RuntimeError, OSError, ValueError])
def test_what_the_receiver_raises_is_no_fault_of_the_connection(
    error: type[Exception], server: WatchServer, where: Where, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were it taken for one, the delivery would be lost and nobody would know."""
    raised: list[object] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: raised.append(args.exc_type))

    def deliver(delivery: Delivery) -> None:
        raise error("no room")

    watch = ClusterWatch(where, POD, deliver)
    watch.start()
    end = time.monotonic() + 10
    while not raised and time.monotonic() < end:
        time.sleep(0.01)
    watch.stop()
    [status] = watch.status()
    assert (status.ended, status.last_error) == (True, f"a fault of this program: {error.__name__}: no room")
    assert raised == [error]


def test_the_statuses_are_in_the_order_of_the_kinds(where: Where) -> None:
    watch = ClusterWatch(where, NODE_KINDS, lambda _: None)
    assert [one.kind for one in watch.status()] == [kind for _, kind in NODE_KINDS]
