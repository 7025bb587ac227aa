"""Manifests of git revisions: paths, names, what is missing, what is refused."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from gatewright.sources import git

POD = "# a pod\napiVersion: v1\nkind: Pod\nmetadata: {name: NAME}\nspec: {containers: [{name: c, image: i}]}\n"


def run(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=n", "-c", "user.email=e@example.com")
    done = subprocess.run(
        ["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True, timeout=30
    )
    return done.stdout.strip()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one commit; the files are then removed, so that only git has them."""
    (tmp_path / "apps" / "deep").mkdir(parents=True)
    for path in ("apps/b.yaml", "apps/a.yml", "apps/deep/c.json", "apps/with blank.yaml", "apps/plain", "top.yaml"):
        text = POD.replace("NAME", Path(path).stem.replace(" ", "-"))
        if path.endswith(".json"):
            text = '{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "c"}, '
            text += '"spec": {"containers": [{"name": "c", "image": "i"}]}}'
        (tmp_path / path).write_text(text)
    (tmp_path / "apps" / "link.yaml").symlink_to("/etc/hostname")
    run(tmp_path, "init", "-q", "-b", "main")
    run(tmp_path, "add", ".")
    run(tmp_path, "commit", "-q", "-m", "one")
    for file in [*tmp_path.rglob("*.y*ml"), *tmp_path.rglob("*.json")]:
        file.unlink()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(revision: git.Revision) -> list[str]:
    return [item.name for item in revision.parsed.objects]


def test_a_directory_is_read_as_on_disk(folder: Path) -> None:
    assert names(git.read("main", ["apps"])) == ["a", "b", "with-blank"]
    assert names(git.read("HEAD", ["apps/"], recursive=True)) == ["a", "b", "c", "with-blank"]
    assert names(git.read("HEAD", ["."])) == ["top"]
    assert names(git.read("HEAD", [".", "apps/deep"])) == ["top", "c"]


def test_a_file_may_have_any_name(folder: Path) -> None:
    assert names(git.read("HEAD", ["apps/plain"])) == ["plain"]


def test_paths_are_those_of_the_current_directory(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder / "apps" / "deep")
    assert names(git.read("HEAD", ["../b.yaml", "../../top.yaml", str(folder / "apps" / "a.yml")])) == ["b", "top", "a"]
    with pytest.raises(git.GitFailed, match="is outside of the repository"):
        git.read("HEAD", ["../../.."])


def test_objects_know_their_revision_and_line(folder: Path) -> None:
    (item,) = git.read("main", ["apps/b.yaml"]).parsed.objects
    assert str(item.origin) == "main:apps/b.yaml:2"


def test_what_is_not_there_is_said(folder: Path) -> None:
    found = git.read("HEAD", ["apps/b.yaml", "nowhere", "app"])
    assert (names(found), found.missing) == (["b"], ("nowhere", "app"))


def test_a_link_is_not_followed(folder: Path) -> None:
    found = git.read("HEAD", ["apps"]).parsed
    assert [str(warning) for warning in found.warnings] == [
        "HEAD:apps/link.yaml: a symbolic link, which is not followed in a git revision"
    ]


def test_too_much_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(git, "LARGEST", 100)
    with pytest.raises(git.GitFailed, match="HEAD: more than 0 MB of manifests; name fewer paths"):
        git.read("HEAD", ["apps"])


@pytest.mark.parametrize("revision", ["nope", "--help", "", "HEAD:apps", "main\n"])
def test_what_is_no_revision(folder: Path, revision: str) -> None:
    with pytest.raises(git.GitFailed, match="is no revision of this repository"):
        git.read(revision, ["apps"])


def test_no_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(git.GitFailed, match="git rev-parse: not a git repository"):
        git.read("HEAD", ["."])


def test_no_git(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(folder))
    with pytest.raises(git.GitFailed, match="git is not installed; name two directories instead"):
        git.read("HEAD", ["."])


def test_ranges(folder: Path) -> None:
    base = run(folder, "rev-parse", "HEAD")
    run(folder, "commit", "-q", "--allow-empty", "-m", "two")
    run(folder, "checkout", "-q", "-b", "work", base)
    run(folder, "commit", "-q", "--allow-empty", "-m", "three")
    assert git.split_range("main") == ("main", None)
    assert git.split_range("main..work") == ("main", "work")
    assert git.split_range("..work") == ("HEAD", "work")
    assert git.split_range("main..") == ("main", "HEAD")
    assert git.split_range("main...work") == (base[:12], "work")
