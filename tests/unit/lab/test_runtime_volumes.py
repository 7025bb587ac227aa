"""Volumes of pods: files that change all at once, and names that stay inside."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewright.lab.runtime.model import Mount, Volume, VolumeFile
from gatewright.lab.runtime.volumes import fill, mount, replace


def seen(directory: Path) -> dict[str, bytes]:
    """What a program finds in a volume, names with two dots aside (they are how it is done)."""
    found = {}
    for name in os.listdir(directory):
        if name.startswith(".."):
            continue
        top = directory / name
        for path in top.rglob("*") if top.is_dir() else [top]:
            if path.is_file():
                found[str(path.relative_to(directory))] = path.read_bytes()
    return found


def files(**named: str) -> dict[str, VolumeFile]:
    return {name.replace("__", "/"): VolumeFile(text.encode()) for name, text in named.items()}


def test_files_are_links_through_one_link(tmp_path: Path) -> None:
    fill({"v": Volume(files(a="1", deep__b="2"))}, tmp_path)
    assert seen(tmp_path / "v") == {"a": b"1", "deep/b": b"2"}
    assert os.readlink(tmp_path / "v/a") == "..data/a"
    assert os.readlink(tmp_path / "v/deep") == "..data/deep"


def test_other_files_take_the_place_of_all_that_were_there(tmp_path: Path) -> None:
    fill({"v": Volume(files(a="1", b="2"))}, tmp_path)
    before = os.readlink(tmp_path / "v/..data")
    fill({"v": Volume(files(b="3", c="4"))}, tmp_path)
    assert seen(tmp_path / "v") == {"b": b"3", "c": b"4"}
    assert os.readlink(tmp_path / "v/..data") != before
    assert not (tmp_path / "v" / before).exists()
    assert not os.path.lexists(tmp_path / "v/a")


def test_files_have_their_modes(tmp_path: Path) -> None:
    fill({"v": Volume({"key": VolumeFile(b"\x00\xff", 0o400)})}, tmp_path)
    assert (tmp_path / "v/key").read_bytes() == b"\x00\xff"
    assert (tmp_path / "v/key").stat().st_mode & 0o777 == 0o400


def test_an_empty_directory_is_everybodys_and_keeps_what_is_in_it(tmp_path: Path) -> None:
    fill({"v": Volume()}, tmp_path)
    assert (tmp_path / "v").stat().st_mode & 0o777 == 0o777
    (tmp_path / "v/file").write_text("x")
    fill({"v": Volume()}, tmp_path)
    assert (tmp_path / "v/file").read_text() == "x"


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/x", "..", "", "..data", "..x/y"])
def test_a_path_that_leaves_the_volume_is_refused_and_changes_nothing(tmp_path: Path, name: str) -> None:
    fill({"v": Volume(files(a="1"))}, tmp_path)
    with pytest.raises(OSError, match="leaves the volume"):
        replace(tmp_path / "v", {"a": VolumeFile(b"2"), name: VolumeFile(b"x")})
    assert seen(tmp_path / "v") == {"a": b"1"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["v"]
    assert len([name for name in os.listdir(tmp_path / "v") if name.startswith("..2") or name[2:].isdigit()]) == 1


contents = st.dictionaries(
    st.sampled_from(["a", "b", "c", "d/e", "d/f", "g/h/i"]), st.binary(max_size=3).map(VolumeFile), max_size=5
)


@given(st.lists(contents, min_size=1, max_size=4))
def test_a_volume_is_what_it_was_given_last(
    tmp_path_factory: pytest.TempPathFactory, given_files: list[dict[str, VolumeFile]]
) -> None:
    root = tmp_path_factory.mktemp("volumes")
    for one in given_files:
        fill({"v": Volume(one)}, root)
        assert seen(root / "v") == {name: file.data for name, file in one.items()}
    assert len(list((root / "v").glob("..[0-9]*"))) == 1


@pytest.mark.parametrize("sub_path", ["../../etc", "link/passwd", "link"])
def test_a_sub_path_cannot_leave_its_volume(tmp_path: Path, sub_path: str) -> None:
    (tmp_path / "v").mkdir()
    (tmp_path / "v/link").symlink_to("/etc")
    with pytest.raises(OSError, match="leaves the volume"):
        mount([Mount("v", str(tmp_path / "there"), sub_path)], tmp_path)
    assert not (tmp_path / "there").exists()


def test_a_mount_of_no_volume_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OSError, match='no volume "v" in the pod'):
        mount([Mount("v", str(tmp_path / "there"))], tmp_path)
