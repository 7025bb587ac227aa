"""`-f` means what it means in kubectl, and a bad file never hides the others."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gatewright.sources import files
from gatewright.sources.files import read

NAMESPACE = "apiVersion: v1\nkind: Namespace\nmetadata: {{name: {}}}\n"


def write(directory: Path, name: str, text: str | None = None) -> Path:
    path = directory / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(NAMESPACE.format(path.stem) if text is None else text)
    return path


def names(*paths: Path | str, recursive: bool = False) -> list[str]:
    return [item.name for item in read([str(path) for path in paths], recursive).require()]


def problems(*paths: Path | str, recursive: bool = False) -> list[str]:
    return [str(problem) for problem in read([str(path) for path in paths], recursive).problems]


def test_a_directory_gives_its_manifests_in_order(tmp_path: Path) -> None:
    for name in ("b.yaml", "a.yml", "c.json", "README.md", "below/d.yaml", ".hidden/e.yaml", "kustomization.yaml"):
        text = '{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "c"}}' if name == "c.json" else None
        write(tmp_path, name, text)
    assert names(tmp_path) == ["a", "b", "c"]
    assert names(tmp_path, recursive=True) == ["a", "b", "d", "c"]


def test_several_paths_and_standard_input(tmp_path: Path) -> None:
    one = write(tmp_path, "one.yaml")
    parsed = read([str(one), "-"], stdin=lambda: NAMESPACE.format("piped").encode())
    assert [(item.name, str(item.origin)) for item in parsed.require()] == [("one", f"{one}:1"), ("piped", "-:1")]


@pytest.mark.parametrize(("text", "said"), [
    ("", "{path}:1: the file is empty; write an object into it or leave it out"),
    (" \n\n", "{path}:1: the file is empty; write an object into it or leave it out"),
    ("# nothing yet\n---\n", "{path}:1: no objects in this file, only comments or empty documents"),
    ("a: [\n", "{path}:2: not YAML: did not find expected node content"),
])  # fmt: skip
def test_files_without_objects(tmp_path: Path, text: str, said: str) -> None:
    path = write(tmp_path, "f.yaml", text)
    assert problems(path) == [said.format(path=path)]


def test_comments_alone_are_no_fault_inside_a_directory(tmp_path: Path) -> None:
    write(tmp_path, "notes.yaml", "# nothing yet\n")
    write(tmp_path, "x.yaml")
    assert names(tmp_path) == ["x"]


def test_paths_that_cannot_be_read(tmp_path: Path) -> None:
    missing, empty, pipe = tmp_path / "missing.yaml", tmp_path / "empty", tmp_path / "socket.yaml"
    empty.mkdir()
    write(empty / "below", "x.yaml")
    os.mkfifo(tmp_path / "fifo")
    pipe.symlink_to("/dev/null")
    assert problems(missing, empty, pipe, "https://example.org/x.yaml") == [
        f"{missing}: no such file or directory",
        f"{empty}: no .yaml, .yml or .json file in this directory (-R looks into its folders too)",
        f"{pipe}: not a regular file",
        (
            "https://example.org/x.yaml: URLs are not read; download the file and name it, or pipe it: "
            "curl ... | gatewright -f -"
        ),
    ]


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_a_file_without_permission(tmp_path: Path) -> None:
    path = write(tmp_path, "secret.yaml")
    path.chmod(0)
    assert problems(path) == [f"{path}: not readable: permission denied"]


def test_every_fault_of_every_file_is_told_in_one_run(tmp_path: Path) -> None:
    write(tmp_path, "a.yaml", "text\n")
    write(tmp_path, "b.yaml", "")
    write(tmp_path, "c.yaml")
    parsed = read([str(tmp_path)])
    assert [item.name for item in parsed.objects] == ["c"]
    assert [problem.where for problem in parsed.problems] == [f"{tmp_path}/a.yaml:1", f"{tmp_path}/b.yaml:1"]


def test_a_file_beyond_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "LARGEST_FILE", 1024 * 1024)
    path = write(tmp_path, "large.yaml", "a" * (1024 * 1024 + 1))
    assert problems(path) == [f"{path}:1: larger than 1 MB, the most that is read of one file; split it"]
