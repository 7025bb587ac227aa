"""The edges of a lab: its directory, its socket's messages, and the words for pods that users type."""

from __future__ import annotations

import os
import socket
import struct
from pathlib import Path

import pytest

from gatewright.lab import client, directory
from gatewright.lab.directory import LabDirectory, lab_directory, start_time, starting
from gatewright.lab.errors import LabError
from gatewright.lab.supervisor import wire


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(directory, "base_directory", lambda: tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".", "A", "-a", "x" * 41, "a\n"])
def test_a_lab_name_is_a_label(name: str, home: Path) -> None:
    with pytest.raises(LabError, match="lab name"):
        lab_directory(name)


def test_a_lab_is_alive_while_its_very_process_is(home: Path) -> None:
    lab = lab_directory("one")
    lab.prepare()
    assert lab.process() is None
    start = start_time(os.getpid())
    lab.pid_file.write_text(f"{os.getpid()} {start}\n")
    assert lab.process() == os.getpid()
    lab.pid_file.write_text(f"{os.getpid()} {(start or 0) + 1}\n")
    assert lab.process() is None
    lab.pid_file.write_text("nonsense")
    assert lab.process() is None


def test_only_one_may_start_a_lab(home: Path) -> None:
    lab = lab_directory("one")
    with starting(lab), pytest.raises(LabError, match="another process"), starting(lab):
        pass
    with starting(lab):
        pass
    assert list(home.iterdir()) == []


def test_a_directory_that_others_may_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: os.stat(tmp_path).st_uid or 12345)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    (tmp_path / "gatewright/lab").mkdir(parents=True, mode=0o755)
    with pytest.raises(LabError, match="mode 0700"):
        directory.base_directory()


def test_a_path_that_is_too_long_for_a_socket_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory, "base_directory", lambda: tmp_path / ("x" * 100))
    with pytest.raises(LabError, match="too long"):
        lab_directory("one")


def test_asking_a_lab_that_is_not_there_says_what_to_do(home: Path) -> None:
    with pytest.raises(LabError, match="is not up; start it with"):
        client.status("one")
    LabDirectory("one", home / "one").prepare()
    with pytest.raises(LabError, match="was killed; start it again with"):
        client.status("one")


def test_messages_are_bounded_and_may_come_in_pieces() -> None:
    data = wire.pack({"op": "x"})
    assert wire.unpack(data[:2]) is None
    assert wire.unpack(data[:-1]) is None
    assert wire.unpack(data) == {"op": "x"}
    with pytest.raises(LabError, match="too large"):
        wire.unpack(struct.pack("!I", wire.LIMIT + 1))
    with pytest.raises(LabError, match="not JSON"):
        wire.unpack(struct.pack("!I", 2) + b"{x")


def test_a_lab_that_ends_before_it_answers_is_an_error() -> None:
    near, far = socket.socketpair()
    far.close()
    with near, pytest.raises(LabError, match="ended before it answered"):
        wire.ask(near, {"op": "x"})


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("web", "shop/web"),
        ("pod/web", "shop/web"),
        ("other/web", "other/web"),
        ("outside", "outside"),
        ("deploy/web", "shop/web-1"),
        ("sts/db", "shop/db-0"),
    ],
)
def test_pods_by_the_names_that_users_type(text: str, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pods = [
        {"namespace": "other", "name": "web-0", "owner": "Deployment/web", "isReady": True},
        {"namespace": "shop", "name": "web-0", "owner": "Deployment/web", "isReady": False},
        {"namespace": "shop", "name": "web-1", "owner": "Deployment/web", "isReady": True},
        {"namespace": "shop", "name": "db-0", "owner": "StatefulSet/db", "isReady": True},
    ]
    pods = [one | {"status": "Running"} for one in pods]
    monkeypatch.setattr(client, "status", lambda _: {"pods": pods})
    assert client.pod_of("one", text, "shop") == key
