"""Manifests from files, directories and standard input, as kubectl's `-f` means them.

A directory gives its `.yaml`, `.yml` and `.json` files in order of name, with `recursive` those below it too, but for
hidden folders and links to folders. Whatever is wrong with one file or folder is a problem of it alone: the others are
read all the same. A Helm chart is no folder of manifests: wherever it is met, it is rendered. A kustomization met here
is not built, since only `-k` asks for that: its files are read as they stand, and a warning says so.
"""

from __future__ import annotations

import codecs
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from gatewright.errors import Problem
from gatewright.objects.read import Parsed, parse
from gatewright.sources.progress import Progress, unheard
from gatewright.sources.render import (
    KUSTOMIZATIONS,
    has_sources,
    is_chart,
    kustomization_of,
    parse_helm_output,
    read_chart,
)

SUFFIXES = (".json", ".yaml", ".yml")
LARGEST_FILE = 50 * 1024 * 1024
"""Bytes. A cluster's dump of 50 MB holds tens of thousands of pods; what is larger is not a manifest."""

_JSON_STREAM = re.compile(rb"(?<=\})\s*\n\s*(?=\{)")
"""Between two objects of a JSON stream (`jq -c '.items[]'`): where YAML wants `---`. No other JSON has it."""


def _standard_input() -> bytes:
    return sys.stdin.buffer.read(LARGEST_FILE + 1)


def read(
    paths: Iterable[str],
    recursive: bool = False,
    stdin: Callable[[], bytes] = _standard_input,
    progress: Progress = unheard,
) -> Parsed:
    """Everything that stands at the paths; `-` is standard input."""
    return Parsed.merge(part for path in paths for part in _read_path(path, recursive, stdin, progress))


def _read_path(path: str, recursive: bool, stdin: Callable[[], bytes], progress: Progress) -> Iterator[Parsed]:
    if path == "-":
        progress("reading standard input")
        yield _named(_parse_input(stdin()), "-")
        return
    if not path:
        yield _problem("-f", "an empty path names nothing; is a variable of the shell unset?")
        return
    if path.startswith(("http://", "https://")):
        yield _problem(path, f"URLs are not read; download it, or pipe it: curl -sSL {path} | gatewright list -f -")
        return
    place = Path(path)
    try:
        if place.is_dir():
            yield from _read_directory(place, recursive, progress)
        else:
            progress(f"reading {path}")
            yield _named(_read_file(place), path)
    except OSError as error:
        yield _problem(error.filename or path, _reason(error))


def _read_directory(directory: Path, recursive: bool, progress: Progress) -> Iterator[Parsed]:
    found = _files_in(directory, recursive)
    yield Parsed(problems=tuple(found.problems), warnings=tuple(found.warnings))
    entries = sorted(found.files, key=str)
    files = [entry for entry in entries if entry.name not in KUSTOMIZATIONS]
    built = [entry.parent for entry in entries if entry.name in KUSTOMIZATIONS]
    if built and not files:
        yield _problem(str(built[0]), f"a kustomization without manifests beside it; -k {built[0]} builds it")
        return
    if built:
        more = f" (the first of {len(built)} here)" if len(built) > 1 else ""
        what = f"a kustomization{more}; its files are read as they stand, and -k {built[0]} builds it"
        yield Parsed(warnings=(Problem(str(built[0]), what),))
    if not files and not found.problems:
        hint = "" if recursive else " (-R looks into its folders too)"
        yield _problem(str(directory), f"no .yaml, .yml or .json file in this directory{hint}")
    for number, entry in enumerate(files, 1):
        if is_chart(entry):
            yield read_chart(entry, progress)
        else:
            progress(f"reading {entry} ({number} of {len(files)})")
            yield _read_file(entry)


@dataclass(frozen=True, slots=True)
class _Found:
    """The manifests, kustomization files and chart directories below a directory, and what could not be looked into."""

    files: list[Path]
    problems: list[Problem]
    warnings: list[Problem]


def _files_in(top: Path, recursive: bool) -> _Found:
    found = _Found([], [], [])
    waiting = [top]
    while waiting:
        directory = waiting.pop()
        try:
            if is_chart(directory):
                found.files.append(directory)
                continue
            entries = sorted(directory.iterdir())
            folders = {entry for entry in entries if entry.is_dir()}
            kustomization = kustomization_of(directory)
        except OSError as error:
            found.problems.append(Problem(str(directory), _reason(error)))
            continue
        if kustomization is not None:
            found.files.append(kustomization)
        for entry in entries:
            if entry not in folders:
                if entry.suffix in SUFFIXES and entry.name not in KUSTOMIZATIONS:
                    found.files.append(entry)
            elif recursive and not entry.name.startswith("."):
                if entry.is_symlink():
                    what = "a link to a directory, which -R does not follow, as in kubectl; name it with -f to read it"
                    found.warnings.append(Problem(str(entry), what))
                else:
                    waiting.append(entry)
    return found


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


def _parse_input(data: bytes) -> Parsed:
    """Standard input, which may be what `helm template` printed."""
    if not data.strip():
        return _problem("-", "nothing on standard input; did the command before the pipe fail?")
    if len(data) <= LARGEST_FILE and has_sources(data):
        return parse_helm_output(data, "-")
    return _parse_bytes(data, "-")


def _parse_bytes(data: bytes, name: str) -> Parsed:
    if len(data) > LARGEST_FILE:
        limit = LARGEST_FILE // (1024 * 1024)
        return _problem(f"{name}:1", f"larger than {limit} MB, the most that is read of one file; split it")
    if not data.strip():
        return _problem(f"{name}:1", "the file is empty; write an object into it or leave it out")
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):  # what PowerShell's `>` writes
        data = data.decode("utf-16", "replace").encode()
    if data[:1024].lstrip().startswith(b"{"):
        data = _JSON_STREAM.sub(lambda gap: b"\n" * gap[0].count(b"\n") + b"--- ", data)
    if b"{{" in data and (chart := _chart_of(Path(name))):
        return _problem(name, f"a template of the Helm chart {chart}; name the chart itself: -f {chart}")
    return parse(data, name)


def _chart_of(path: Path) -> Path | None:
    """The chart that a path is a template of."""
    above = (place.parent for place in path.parents if place.name == "templates")
    return next((place for place in above if is_chart(place)), None)


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
