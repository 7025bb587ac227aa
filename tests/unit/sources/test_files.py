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
            "https://example.org/x.yaml: URLs are not read; download it, or pipe it: "
            "curl -sSL https://example.org/x.yaml | gatewright list -f -"
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


def test_links_among_folders_are_no_maze(tmp_path: Path) -> None:
    """A link to a folder is not followed, which two of them in a circle would be for ever; one to a file is."""
    one = write(tmp_path, "here/a.yaml")
    write(tmp_path, "here/below/b.yaml")
    (tmp_path / "here" / "below" / "up").symlink_to("..")
    (tmp_path / "here" / "again").symlink_to(".")
    (tmp_path / "here" / "file.yaml").symlink_to(one)
    (tmp_path / "entry").symlink_to("here")
    assert names(tmp_path / "entry", recursive=True) == ["a", "b"]
    parsed = read([str(tmp_path / "here")], recursive=True)
    what = "a link to a directory, which -R does not follow, as in kubectl; name it with -f to read it"
    assert sorted(map(str, parsed.warnings)) == [
        f"{tmp_path}/here/again: {what}", f"{tmp_path}/here/below/up: {what}"
    ]  # fmt: skip


def test_a_link_to_nowhere_and_to_itself(tmp_path: Path) -> None:
    write(tmp_path, "a.yaml")
    (tmp_path / "b.yaml").symlink_to("nowhere")
    (tmp_path / "c.yaml").symlink_to("c.yaml")
    parsed = read([str(tmp_path)])
    assert [item.name for item in parsed.objects] == ["a"]
    assert list(map(str, parsed.problems)) == [
        f"{tmp_path}/b.yaml: no such file or directory",
        f"{tmp_path}/c.yaml: not readable: too many levels of symbolic links",
    ]


@pytest.mark.parametrize("method", ["iterdir", "is_file"])
def test_a_folder_without_permission_hides_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """A folder may lack the right to list it, or to reach what is in it; root has both, so both are played."""
    write(tmp_path, "a.yaml")
    write(tmp_path, "closed/b.yaml")
    write(tmp_path, "open/c.yaml")
    real = getattr(Path, method)

    def refused(self: Path) -> object:
        if "closed" in self.parts:
            raise PermissionError(13, "Permission denied", str(self))
        return real(self)

    monkeypatch.setattr(Path, method, refused)
    parsed = read([str(tmp_path)], recursive=True)
    assert [item.name for item in parsed.objects] == ["a", "c"]
    assert list(map(str, parsed.problems)) == [f"{tmp_path}/closed: not readable: permission denied"]


def test_a_binary_file_hides_no_other(tmp_path: Path) -> None:
    write(tmp_path, "a.yaml")
    (tmp_path / "b.yaml").write_bytes(b"\x7fELF\x02\x01\x01\x00\xff\xfe")
    (tmp_path / "c.yaml").write_bytes(b"\x00\x01\x02")
    parsed = read([str(tmp_path)])
    assert [item.name for item in parsed.objects] == ["a"]
    assert [str(one)[len(str(tmp_path)) :] for one in parsed.problems] == [
        "/b.yaml:1: not YAML: the text is not UTF-8", "/c.yaml:1: not YAML: control character U+0000 is not allowed"
    ]  # fmt: skip


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_how_editors_and_shells_write_text(tmp_path: Path, encoding: str, end: str) -> None:
    text = NAMESPACE.format("one, annotations: {in: café}") + "---\n" + NAMESPACE.format("two")
    mark = "\ufeff" if encoding.endswith("e") else ""
    (tmp_path / "f.yaml").write_bytes((mark + text.replace("\n", end)).encode(encoding))
    found = read([str(tmp_path / "f.yaml")]).require()
    assert [(item.name, str(item.origin)) for item in found] == [
        ("one", f"{tmp_path}/f.yaml:1"), ("two", f"{tmp_path}/f.yaml:5")
    ]  # fmt: skip


JSON = '{{"apiVersion": "v1", "kind": "Namespace", "metadata": {{"name": "{}"}}}}'


@pytest.mark.parametrize("between", ["\n", "\r\n", "\n\n", " \n  \t\n", "\n  "])
def test_a_stream_of_json_objects(between: str) -> None:
    """What `jq -c '.items[]'` and `kubectl get -o json --watch` print."""
    text = between.join(JSON.format(name) for name in ("one", "two", "three")) + "\n"
    found = read(["-"], stdin=text.encode).require()
    lines = [1 + text[: text.index(JSON.format(item.name))].count("\n") for item in found]
    assert [(item.name, str(item.origin)) for item in found] == [
        (name, f"-:{line}") for name, line in zip(("one", "two", "three"), lines, strict=True)
    ]


def test_braces_in_a_string_of_json_are_no_stream(tmp_path: Path) -> None:
    text = JSON.format("one").replace('"kind"', '"data": {"a": "}\\n{", "b": [{}, {}]},\n"kind"')
    assert names(write(tmp_path, "f.json", text)) == ["one"]


def test_a_list_of_lists_is_one_list(tmp_path: Path) -> None:
    inner = "- {apiVersion: v1, kind: List, items: [{apiVersion: v1, kind: Namespace, metadata: {name: NAME}}]}\n"
    text = "apiVersion: v1\nkind: List\nitems:\n" + inner.replace("NAME", "a") + inner.replace("NAME", "b")
    found = read([str(write(tmp_path, "f.yaml", text))]).require()
    assert [(item.name, str(item.origin).rpartition(":")[2]) for item in found] == [("a", "4"), ("b", "5")]


def test_of_two_declarations_the_later_counts_and_that_is_said(tmp_path: Path) -> None:
    write(tmp_path, "a.yaml", NAMESPACE.format("x"))
    write(tmp_path, "b.yaml", NAMESPACE.format("x"))
    assert read([str(tmp_path)]).warnings == (), "the same twice is no contradiction"
    write(tmp_path, "b.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: x, labels: {later: really}}\n")
    parsed = read([str(tmp_path)])
    assert [item.labels for item in parsed.require()] == [{"later": "really"}]
    assert list(map(str, parsed.warnings)) == [
        f"{tmp_path}/b.yaml:1: Namespace x: replaces another declaration of it at {tmp_path}/a.yaml:1; keep one of them"
    ]


def test_an_empty_path_is_not_this_directory() -> None:
    assert problems("") == ["-f: an empty path names nothing; is a variable of the shell unset?"]


def test_nothing_on_standard_input() -> None:
    [problem] = read(["-"], stdin=lambda: b"\n").problems
    assert str(problem) == "-: nothing on standard input; did the command before the pipe fail?"


def test_a_template_points_at_its_chart(tmp_path: Path) -> None:
    write(tmp_path, "shop/Chart.yaml", "name: shop\n")
    path = write(tmp_path, "shop/templates/sub/web.yaml", "kind: {{ .Values.kind }}\n")
    chart = tmp_path / "shop"
    assert problems(path) == [f"{path}: a template of the Helm chart {chart}; name the chart itself: -f {chart}"]
    assert names(write(tmp_path, "shop/templates/plain.yaml")) == ["plain"]


def test_names_of_files_write_no_second_line_and_move_no_cursor(tmp_path: Path) -> None:
    write(tmp_path, "a\nb\x1b[2J.yaml", "[")
    (tmp_path / os.fsdecode(b"c\xff.yaml")).write_text("[")
    assert [text[len(str(tmp_path)) + 1 :].partition(": ")[0] for text in problems(tmp_path)] == [
        "a\\nb\\x1b[2J.yaml:2", "c\\udcff.yaml:2"
    ]  # fmt: skip
