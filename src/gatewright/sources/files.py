"""Manifests from files, directories and standard input, as kubectl's `-f` means them.

A directory gives its `.yaml`, `.yml` and `.json` files in order of name, with `recursive` those below it too. Whatever
is wrong with one file is a problem of that file: the others are read all the same.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from gatewright.errors import Problem
from gatewright.objects.read import Parsed, parse

SUFFIXES = (".json", ".yaml", ".yml")
LARGEST_FILE = 50 * 1024 * 1024
"""Bytes. A cluster's dump of 50 MB holds tens of thousands of pods; what is larger is not a manifest."""
KUSTOMIZATIONS = ("kustomization.yaml", "kustomization.yml")


def _standard_input() -> bytes:
    return sys.stdin.buffer.read(LARGEST_FILE + 1)


def read(paths: Iterable[str], recursive: bool = False, stdin: Callable[[], bytes] = _standard_input) -> Parsed:
    """Everything that stands at the paths; `-` is standard input."""
    return Parsed.merge(part for path in paths for part in _read_path(path, recursive, stdin))


def _read_path(path: str, recursive: bool, stdin: Callable[[], bytes]) -> Iterator[Parsed]:
    if path == "-":
        yield _named(_parse_bytes(stdin(), "-"), "-")
        return
    if path.startswith(("http://", "https://")):
        yield _problem(path, "URLs are not read; download the file and name it, or pipe it: curl ... | gatewright -f -")
        return
    place = Path(path)
    try:
        if place.is_dir():
            files = sorted(_files_in(place, recursive), key=str)
            if not files:
                hint = "" if recursive else " (-R looks into its folders too)"
                yield _problem(path, f"no .yaml, .yml or .json file in this directory{hint}")
            for file in files:
                yield _read_file(file)
        else:
            yield _named(_read_file(place), path)
    except OSError as error:
        yield _problem(error.filename or path, _reason(error))


def _files_in(directory: Path, recursive: bool) -> Iterator[Path]:
    for entry in directory.iterdir():
        if entry.is_dir():
            if recursive and not entry.name.startswith("."):
                yield from _files_in(entry, recursive)
        elif entry.suffix in SUFFIXES and entry.name not in KUSTOMIZATIONS:
            yield entry


def _read_file(path: Path) -> Parsed:
    name = str(path)
    try:
        if path.exists() and not path.is_file() and not path.is_fifo():
            return _problem(name, "not a regular file")
        with path.open("rb") as stream:
            data = stream.read(LARGEST_FILE + 1)
    except OSError as error:
        return _problem(name, _reason(error))
    return _parse_bytes(data, name)


def _parse_bytes(data: bytes, name: str) -> Parsed:
    if len(data) > LARGEST_FILE:
        limit = LARGEST_FILE // (1024 * 1024)
        return _problem(f"{name}:1", f"larger than {limit} MB, the most that is read of one file; split it")
    if not data.strip():
        return _problem(f"{name}:1", "the file is empty; write an object into it or leave it out")
    return parse(data, name)


def _named(parsed: Parsed, name: str) -> Parsed:
    """A file that the user named must hold something; one met in a directory may hold comments alone."""
    if parsed.documents == 0 and not parsed.problems:
        return _problem(f"{name}:1", "no objects in this file, only comments or empty documents")
    return parsed


def _reason(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file or directory"
    if isinstance(error, PermissionError):
        return "not readable: permission denied"
    return f"not readable: {(error.strerror or str(error)).lower()}"


def _problem(where: str, what: str) -> Parsed:
    return Parsed(problems=(Problem(where, what),))
