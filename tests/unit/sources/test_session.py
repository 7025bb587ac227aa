"""Credentials are read again in time, when they end and when they are refused; half-written files change nothing."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from lightkube.config.kubeconfig import KubeConfig

from gatewright.sources.kubeconfig import ClusterUnavailable, Where, configuration
from gatewright.sources.session import READ_AGAIN, Session
from tests.unit.sources.apiserver import kubeconfig
from tests.unit.sources.test_secure_cluster import login


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def of_token_file(tmp_path: Path, clock: Clock, token: str = "one") -> Session:
    (tmp_path / "token").write_text(f"{token}\n")
    path = kubeconfig(tmp_path / "config", "https://127.0.0.1:1", user={"tokenFile": "token"})
    return Session(Where(str(path)), clock)


def of_program(tmp_path: Path, clock: Clock, expires: datetime | None = None) -> Session:
    """A login program that gives the number of its runs as the token."""
    status = {"token": "T", **({"expirationTimestamp": expires.isoformat()} if expires else {})}
    made = {"kind": "ExecCredential", "apiVersion": "client.authentication.k8s.io/v1", "status": status}
    count = f"echo run >> {tmp_path}/runs; runs=$(wc -l < {tmp_path}/runs)"
    script = f"""{count}; printf '%s' '{json.dumps(made)}' | sed "s/\\"T\\"/\\"$runs\\"/" """
    path = kubeconfig(tmp_path / "config", "https://127.0.0.1:1", user=login(tmp_path, script))
    return Session(Where(str(path)), clock)


def test_nothing_different_is_the_same_access(tmp_path: Path, clock: Clock) -> None:
    session = of_token_file(tmp_path, clock)
    first = session.access()
    assert (first.user.token, first.user.token_file) == ("one", None)
    clock.now += READ_AGAIN
    assert session.access() is first
    session.refused(first)
    assert session.access() is first


def test_a_new_token_counts_within_a_minute_and_at_once_when_the_old_one_is_refused(
    tmp_path: Path, clock: Clock
) -> None:
    session = of_token_file(tmp_path, clock)
    first = session.access()
    (tmp_path / "token").write_text("two")
    assert session.access() is first
    clock.now += READ_AGAIN
    second = session.access()
    assert second.user.token == "two"
    (tmp_path / "token").write_text("three")
    session.refused(first)
    assert session.access() is second
    session.refused(second)
    assert session.access().user.token == "three"


def test_a_kubeconfig_that_is_replaced_counts_as_well(tmp_path: Path, clock: Clock) -> None:
    session = of_token_file(tmp_path, clock)
    session.access()
    kubeconfig(tmp_path / "config", "https://127.0.0.1:2", token="other")
    clock.now += READ_AGAIN
    access = session.access()
    assert (access.config.single.cluster.server, access.user.token) == ("https://127.0.0.1:2", "other")


@pytest.mark.parametrize("name", ["token", "config"])
def test_a_file_that_is_being_replaced_leaves_the_old_access_in_use(name: str, tmp_path: Path, clock: Clock) -> None:
    session = of_token_file(tmp_path, clock)
    first = session.access()
    (tmp_path / name).unlink()
    clock.now += READ_AGAIN
    assert session.access() is first
    session.refused(first)
    with pytest.raises(ClusterUnavailable, match=name):
        session.access()


def test_without_anything_to_begin_with_it_says_what_is_missing(tmp_path: Path, clock: Clock) -> None:
    session = Session(Where(str(tmp_path / "config")), clock)
    for _ in range(2):
        with pytest.raises(ClusterUnavailable, match="no kubeconfig at"):
            session.access()
    kubeconfig(tmp_path / "config", "https://127.0.0.1:2", token="t")
    assert session.access().user.token == "t"


def test_a_login_program_runs_again_only_when_its_token_ends_or_is_refused(tmp_path: Path, clock: Clock) -> None:
    session = of_program(tmp_path, clock, datetime.now(UTC) + timedelta(hours=1))
    first = session.access()
    clock.now += READ_AGAIN
    assert session.access() is first
    assert first.user.token == "1"
    session.refused(first)
    second = session.access()
    session.refused(first)
    assert (session.access(), second.user.token) == (second, "2")


@pytest.mark.parametrize("zone", [UTC, None])
def test_a_token_that_ends_soon_is_replaced_before(zone: object, tmp_path: Path, clock: Clock) -> None:
    ends = datetime.now(UTC) + timedelta(seconds=5)
    session = of_program(tmp_path, clock, ends if zone else ends.replace(tzinfo=None))
    assert session.access().user.token == "1"
    assert session.access().user.token == "2"


def test_one_kubeconfig_is_read_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its types are worked out at their first use, without a lock: two threads at once would end the process."""
    where = Where(str(kubeconfig(tmp_path / "config", "https://127.0.0.1:1")))
    read, inside = KubeConfig.from_dict, threading.Lock()
    alone: list[bool] = []

    def slow(conf: Any) -> KubeConfig:
        alone.append(inside.acquire(blocking=False))
        time.sleep(0.02)
        if alone[-1]:
            inside.release()
        return read(conf)

    monkeypatch.setattr(KubeConfig, "from_dict", slow)
    threads = [threading.Thread(target=configuration, args=(where,)) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert alone == [True] * 5
