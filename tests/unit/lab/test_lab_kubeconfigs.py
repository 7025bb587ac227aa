"""The lab's context in the user's kubeconfig: there while the lab is up, and nothing else of the file changes."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest
import yaml

from gatewright.lab import kubeconfigs
from gatewright.lab.errors import LabError

LAB = """
apiVersion: v1
kind: Config
current-context: gatewright-demo
clusters: [{name: gatewright-demo, cluster: {server: "https://127.0.0.1:1"}}]
users: [{name: gatewright-demo, user: {token: secret}}]
contexts: [{name: gatewright-demo, context: {cluster: gatewright-demo, user: gatewright-demo, namespace: default}}]
"""
OTHER = """
apiVersion: v1
kind: Config
preferences: {colors: true}
current-context: work
clusters: [{name: work, cluster: {server: "https://work"}}]
users: [{name: me, user: {token: mine}}]
contexts: [{name: work, context: {cluster: work, user: me}}]
"""


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    path = tmp_path / "lab"
    path.write_text(LAB)
    return path


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "home" / ".kube" / "config"
    path.parent.mkdir(parents=True)
    path.write_text(OTHER)
    return path


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def test_merged_and_removed_again(lab: Path, mine: Path) -> None:
    assert kubeconfigs.merge(lab, mine) == "gatewright-demo"
    config = load(mine)
    assert config["current-context"] == "gatewright-demo"
    assert [one["name"] for one in config["contexts"]] == ["work", "gatewright-demo"]
    assert config["preferences"] == {"colors": True}
    assert kubeconfigs.remove("gatewright-demo", mine)
    assert load(mine) == yaml.safe_load(OTHER)
    assert not kubeconfigs.remove("gatewright-demo", mine)


def test_merging_twice_keeps_one_and_remembers_the_first_context(lab: Path, mine: Path) -> None:
    kubeconfigs.merge(lab, mine)
    kubeconfigs.merge(lab, mine)
    assert [one["name"] for one in load(mine)["clusters"]] == ["work", "gatewright-demo"]
    kubeconfigs.remove("gatewright-demo", mine)
    assert load(mine) == yaml.safe_load(OTHER)


def test_a_context_that_the_user_chose_meanwhile_stays(lab: Path, mine: Path) -> None:
    kubeconfigs.merge(lab, mine)
    mine.write_text(mine.read_text().replace("current-context: gatewright-demo", "current-context: work"))
    kubeconfigs.remove("gatewright-demo", mine)
    assert load(mine)["current-context"] == "work"


def test_a_file_that_is_not_there_is_made_for_its_owner_alone(lab: Path, tmp_path: Path) -> None:
    target = tmp_path / "new" / "config"
    kubeconfigs.merge(lab, target)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert not list(target.parent.glob("*.lock"))
    kubeconfigs.remove("gatewright-demo", target)
    assert load(target)["current-context"] == ""


def test_a_link_stays_a_link(lab: Path, mine: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(mine)
    kubeconfigs.merge(lab, link)
    assert link.is_symlink()
    assert load(mine)["current-context"] == "gatewright-demo"


@pytest.mark.parametrize("text", ["[", "- a", "clusters: 5", "contexts: [a]"])
def test_a_broken_file_is_left_as_it_is(lab: Path, mine: Path, text: str) -> None:
    mine.write_text(text)
    with pytest.raises(LabError, match=str(mine)):
        kubeconfigs.merge(lab, mine)
    assert mine.read_text() == text


def test_a_locked_file_is_left_as_it_is(lab: Path, mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubeconfigs, "_LOCKED_WITHIN", 0.1)
    lock = mine.with_name("config.lock")
    lock.touch()
    with pytest.raises(LabError, match=r"locked by another program.*config\.lock"):
        kubeconfigs.merge(lab, mine)
    assert mine.read_text() == OTHER
    assert lock.exists()


def test_the_file_is_the_one_that_kubectl_takes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path}/a:{tmp_path}/b")
    assert kubeconfigs.user_file() == tmp_path / "a"
    monkeypatch.delenv("KUBECONFIG")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert kubeconfigs.user_file() == tmp_path / ".kube/config"
