"""What goes wrong around the endpoint: kills under load, a full disk, watchers that do not read, unreadable state."""

from __future__ import annotations

import http.client
import json
import resource
import socket
import ssl
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from gatewright.lab.api import lifecycle, watching
from gatewright.lab.errors import LabError
from tests.cluster.endpoint import Endpoint, endpoint, process

pytestmark = [pytest.mark.cluster]

CMS = "/api/v1/namespaces/default/configmaps"
WRITERS = 4


@dataclass
class Ledger:
    """What writers were told, by object: the newest acknowledged value. And every revision, with what it stood for."""

    values: dict[str, int] = field(default_factory=dict)
    revisions: dict[int, tuple[str, int]] = field(default_factory=dict)

    def note(self, name: str, value: int, revision: int) -> None:
        assert self.revisions.setdefault(revision, (name, value)) == (name, value), "a revision was repeated"
        self.values[name] = value


def write_until_it_dies(
    api: Endpoint, ledger: Ledger, name: str, first: int, acknowledged: threading.Semaphore
) -> None:
    """Change one object again and again; stops at the first request that finds nobody."""
    value = first
    while True:
        body = {"metadata": {"name": name}, "data": {"n": str(value)}}
        try:
            answer = api.request("PUT" if value else "POST", CMS + (f"/{name}" if value else ""), body)
        except (OSError, http.client.HTTPException):
            return
        if answer.status == 409 and value == 0:
            value += 1  # the object is there though nobody said so: a kill came between the disk and the answer
            continue
        assert answer.status in (200, 201), answer.body
        ledger.note(name, value, int(answer.json()["metadata"]["resourceVersion"]))
        acknowledged.release()
        value += 1


def check(api: Endpoint, ledger: Ledger) -> dict[str, int]:
    """Everything that was acknowledged is there, or something newer. Gives the values that are there."""
    items = api.request("GET", CMS).json()["items"]
    found = {item["metadata"]["name"]: item for item in items}
    for name, value in ledger.values.items():
        item = found[name]
        there, revision = int(item["data"]["n"]), int(item["metadata"]["resourceVersion"])
        assert there >= value, f"{name} is {there}, and {value} was acknowledged"
        ledger.note(name, there, revision)
    return {name: int(item["data"]["n"]) for name, item in found.items() if name.startswith("w")}


def kill_under_load(folder: Path, times: int) -> Ledger:
    ledger = Ledger()
    values: dict[str, int] = {}
    for _ in range(times):
        acknowledged = threading.Semaphore(0)
        with process(folder) as api:
            values = check(api, ledger)
            threads = [
                threading.Thread(
                    target=write_until_it_dies, args=(api, ledger, f"w{n}", values.get(f"w{n}", -1) + 1, acknowledged)
                )
                for n in range(WRITERS)
            ]
            for thread in threads:
                thread.start()
            for _ in range(20):
                assert acknowledged.acquire(timeout=20)
            assert api.process
            api.process.kill()
            for thread in threads:
                thread.join(20)
    with process(folder) as api:
        check(api, ledger)
    return ledger


def test_a_kill_under_load_loses_nothing_acknowledged_and_repeats_no_revision(tmp_path: Path) -> None:
    ledger = kill_under_load(tmp_path, 3)
    assert len(ledger.revisions) >= 60


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_fifty_kills_under_load(tmp_path: Path) -> None:
    ledger = kill_under_load(tmp_path, 50)
    assert len(ledger.revisions) >= 1000


def test_when_the_disk_is_full_writes_fail_and_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    """A limit on the size of files stands for the full disk: SQLite meets the same error."""
    serve = [sys.executable, "-m", "gatewright", "lab", "api", "serve", "--data", str(tmp_path)]
    with process(tmp_path) as api:
        api.request("POST", CMS, {"metadata": {"name": "before"}})

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, 600_000))

    kept = []
    with subprocess.Popen(serve, stdout=subprocess.PIPE, text=True, preexec_fn=limit) as started:  # noqa: PLW1509
        try:
            assert started.stdout
            url = started.stdout.readline().split()[1]
            api = Endpoint(tmp_path / "kubeconfig", url, (tmp_path / "token").read_text(), tmp_path / "ca.crt")
            refused = None
            for number in range(200):
                answer = api.request("POST", CMS, {"metadata": {"name": f"c{number}"}, "data": {"x": "y" * 20_000}})
                if answer.status != 201:
                    refused = answer
                    break
                kept.append(f"c{number}")
            assert refused is not None
            assert (refused.status, refused.json()["reason"]) == (503, "ServiceUnavailable")
            assert "could not be written to disk" in refused.json()["message"]
            assert api.request("GET", f"{CMS}/{kept[-1]}").status == 200
            assert api.request("GET", f"{CMS}/c{len(kept)}").status == 404
        finally:
            started.kill()
    with process(tmp_path) as api:
        names = {item["metadata"]["name"] for item in api.request("GET", CMS).json()["items"]}
        assert names == {"before", *kept}
        assert api.request("POST", CMS, {"metadata": {"name": "after"}}).status == 201


def test_a_watcher_that_does_not_read_is_cut_with_410(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "MOST_WAITING_BYTES", 1_000_000)
    with endpoint(tmp_path) as api:
        address = urlsplit(api.url)
        context = ssl.create_default_context(cafile=str(api.authority))
        with (
            socket.create_connection((address.hostname, address.port), 20) as plain,
            context.wrap_socket(plain, server_hostname=address.hostname) as watcher,
        ):
            head = (
                f"GET {CMS}?watch=1&timeoutSeconds=60 HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {api.token}\r\n\r\n"
            )
            watcher.sendall(head.encode())
            assert b"200 OK" in watcher.recv(12 + 3)
            for number in range(200):
                body = {"metadata": {"name": f"c{number}"}, "data": {"x": "y" * 100_000}}
                assert api.request("POST", CMS, body).status == 201
            read = bytearray()
            while b'"ERROR"' not in read:
                piece = watcher.recv(1 << 20)
                assert piece, "the watch ended without saying why"
                read += piece
            last = bytes(read).rpartition(b'{"type":"ERROR"')[2]
            assert b'"reason":"Expired"' in last
            assert bytes(read).count(b'"ADDED"') < 200


def test_state_that_cannot_be_read_is_an_error_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "state.db").write_bytes(b"this is no database" * 1000)
    with pytest.raises(LabError, match="cannot read the endpoint's state"), endpoint(tmp_path):
        pass


def test_a_port_that_is_taken_is_an_error_in_one_line(tmp_path: Path) -> None:
    with endpoint(tmp_path / "one") as api:
        port = urlsplit(api.url).port
        with pytest.raises(LabError, match="Address already in use"), endpoint(tmp_path / "two", port=port):
            pass


def test_the_newest_format_is_not_read_by_this_version(tmp_path: Path) -> None:
    import sqlite3

    with sqlite3.connect(tmp_path / "state.db") as connection:
        connection.execute("PRAGMA user_version=99")
    with pytest.raises(LabError, match="newer version of gatewright"), endpoint(tmp_path):
        pass


def test_a_jump_of_the_clock_loses_and_reorders_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with endpoint(tmp_path) as api:
        begin = api.request("GET", CMS).json()["metadata"]["resourceVersion"]
        for name, time_ in (
            ("a", "2100-01-01T00:00:00Z"),
            ("b", "1999-01-01T00:00:00Z"),
            ("c", "2050-01-01T00:00:00Z"),
        ):
            monkeypatch.setattr(lifecycle, "now", lambda time_=time_: time_)
            assert api.request("POST", CMS, {"metadata": {"name": name}}).status == 201
        lines = api.request("GET", f"{CMS}?watch=1&resourceVersion={begin}&timeoutSeconds=1").body.splitlines()
        metadata = [json.loads(line)["object"]["metadata"] for line in lines]
        assert [one["name"] for one in metadata] == ["a", "b", "c"]
        revisions = [int(one["resourceVersion"]) for one in metadata]
        assert revisions == sorted(set(revisions))
        table = "application/json;as=Table;v=v1;g=meta.k8s.io"
        rows = api.request("GET", CMS, Accept=table).json()["rows"]
        assert (rows[0]["cells"][0], rows[0]["cells"][2]) == ("a", "0s")


def test_an_endpoint_that_stops_ends_its_watches_at_once(tmp_path: Path) -> None:
    with process(tmp_path) as api:
        assert api.process
        address = urlsplit(api.url)
        context = ssl.create_default_context(cafile=str(api.authority))
        with (
            socket.create_connection((address.hostname, address.port), 20) as plain,
            context.wrap_socket(plain, server_hostname=address.hostname) as watcher,
        ):
            head = f"GET {CMS}?watch=1 HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {api.token}\r\n\r\n"
            watcher.sendall(head.encode())
            assert b"200 OK" in watcher.recv(4096)
            begun = time.monotonic()
            api.process.terminate()
            while watcher.recv(4096):
                pass
        assert api.process.wait(10) == 0
        assert time.monotonic() - begun < 1.5


def test_a_folder_that_cannot_be_used_is_an_error_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    command = [sys.executable, "-m", "gatewright", "lab", "api", "serve", "--data", str(tmp_path / "file" / "data")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert "cannot keep the endpoint's state in" in done.stderr


def test_the_command_says_how_to_use_it_and_ends_on_a_signal(tmp_path: Path) -> None:
    with process(tmp_path) as api:
        assert api.process
        assert api.process.stdout
        assert api.process.stdout.readline() == f"export KUBECONFIG={tmp_path / 'kubeconfig'}\n"
        assert json.loads((tmp_path / "kubeconfig").read_text())["current-context"] == "gatewright-lab"
        api.process.terminate()
        assert api.process.wait(10) == 0
