"""Manifests as they stand in a git revision, read from git's own objects: the work tree is not touched.

Messages name a file as git does, `REVISION:path/from/the/top`, so that `git show` takes the name. A revision is read as
a directory is: charts are rendered, folders are read as `-R` says.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from gatewright.errors import GatewrightError, Problem
from gatewright.objects.meta import Object
from gatewright.objects.origin import Origin
from gatewright.objects.read import Parsed
from gatewright.sources import files

SECONDS = 60.0
"""The longest that one git command may take."""
LARGEST = 500 * 1024 * 1024
"""Bytes of manifests that are read of one revision."""
SUFFIXES = (*files.SUFFIXES, ".tpl", ".txt")
"""What is taken out of git: manifests, and what a chart's templates may include."""
REGULAR = ("100644", "100755")
LINK = "120000"


class GitFailed(GatewrightError):
    """Git is missing, this is no repository, or it has no such revision."""


@dataclass(frozen=True, slots=True)
class Revision:
    """What a revision holds. `missing` are those of the paths that it does not have, as the user named them."""

    parsed: Parsed
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Blob:
    """A file of a revision: its object, and its path from the top of the repository."""

    mode: str
    name: str
    size: int
    path: str


def split_range(text: str) -> tuple[str, str | None]:
    """The revisions of `OLD..NEW`, or of `REVISION` and the work tree (None), as git reads them.

    `OLD...NEW` starts where NEW left OLD: at their merge base. Raises GitFailed.
    """
    for dots in ("...", ".."):
        old, found, new = text.partition(dots)
        if found:
            old, new = old or "HEAD", new or "HEAD"
            base = _git("merge-base", _commit(old), _commit(new)).decode().strip() if dots == "..." else old
            return base[:12] if dots == "..." else base, new
    return text, None


def read(revision: str, paths: Iterable[str], recursive: bool = False) -> Revision:
    """What stands at the paths (relative to the current directory) in a revision. Raises GitFailed."""
    commit, top = _commit(revision), Path(os.fsdecode(_git("rev-parse", "--show-toplevel").rstrip(b"\n")))
    wanted = {path: _from_top(path, top) for path in paths}
    blobs = [blob for place in dict.fromkeys(wanted.values()) for blob in _listed(commit, place, top)]
    present = {path: place for path, place in wanted.items() if any(_is_at(blob.path, place) for blob in blobs)}
    with tempfile.TemporaryDirectory(prefix="gatewright-") as folder:
        warnings = _write(revision, blobs, Path(folder), top, set(wanted.values()))
        places = [str(Path(folder, place)) for place in present.values()]
        parsed = _renamed(files.read(places, recursive), folder, revision)
    parsed = replace(parsed, warnings=(*warnings, *parsed.warnings))
    return Revision(parsed, tuple(path for path in wanted if path not in present))


def _git(*arguments: str, data: bytes = b"", top: Path | None = None) -> bytes:
    command = ["git", "--no-optional-locks", "--literal-pathspecs", *arguments]
    try:
        done = subprocess.run(command, input=data, capture_output=True, check=False, timeout=SECONDS, cwd=top)
    except FileNotFoundError as error:
        raise GitFailed("git is not installed; name two directories instead: gatewright diff OLD NEW") from error
    except subprocess.TimeoutExpired as error:
        raise GitFailed(f"git {arguments[0]} did not end within {SECONDS:g} seconds") from error
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines() or ["it says nothing"]
        raise GitFailed(f"git {arguments[0]}: {said[0].removeprefix('fatal: ')}")
    return done.stdout


def _commit(revision: str) -> str:
    _git("rev-parse", "--git-dir")
    try:
        return _git("rev-parse", "--verify", "--end-of-options", f"{revision}^{{commit}}").decode().strip()
    except GitFailed as error:
        raise GitFailed(f"{revision!r} is no revision of this repository; `git log --oneline` lists some") from error


def _from_top(path: str, top: Path) -> str:
    """The path as git writes it; empty for the whole tree."""
    place = os.path.relpath(os.path.normpath(Path.cwd().resolve() / path), top)
    if place.startswith(".."):
        raise GitFailed(f"{path} is outside of the repository {top}")
    return "" if place == "." else place


def _is_at(path: str, place: str) -> bool:
    return not place or path == place or path.startswith(f"{place}/")


def _listed(commit: str, place: str, top: Path) -> Iterator[_Blob]:
    listing = _git("ls-tree", "-r", "-z", "-l", "--full-tree", commit, *(["--", place] if place else []), top=top)
    for entry in filter(None, listing.split(b"\0")):
        facts, _, path = entry.partition(b"\t")
        mode, _, name, size = facts.decode().split()
        yield _Blob(mode, name, int(size) if size != "-" else 0, os.fsdecode(path))


def _write(revision: str, blobs: Sequence[_Blob], folder: Path, top: Path, named: set[str]) -> list[Problem]:
    """Write the manifests among the files below `folder`. Links are not followed: a warning says so."""
    found = {blob.path: blob for blob in blobs if blob.path in named or blob.path.endswith(SUFFIXES)}
    regular = [blob for blob in found.values() if blob.mode in REGULAR]
    if sum(blob.size for blob in regular) > LARGEST:
        limit = LARGEST // (1024 * 1024)
        raise GitFailed(f"{revision}: more than {limit} MB of manifests; name fewer paths")
    if regular:
        names = "".join(f"{blob.name}\n" for blob in regular).encode()
        stream = memoryview(_git("cat-file", "--batch", data=names, top=top))
        for blob in regular:
            head = bytes(stream[: len(blob.name) + 40]).index(b"\n") + 1
            target = folder / blob.path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(stream[head : head + blob.size])
            stream = stream[head + blob.size + 1 :]
    what = "a symbolic link, which is not followed in a git revision"
    return [Problem(f"{revision}:{blob.path}", what) for blob in found.values() if blob.mode == LINK]


def _renamed(parsed: Parsed, folder: str, revision: str) -> Parsed:
    """The same with every file named by its revision instead of the folder it was written to."""

    def named(text: str) -> str:
        return text.replace(f"{folder}/", f"{revision}:").replace(folder, f"{revision}:")

    def problems(found: Iterable[Problem]) -> tuple[Problem, ...]:
        return tuple(Problem(named(one.where), named(one.what)) for one in found)

    def placed(item: Object) -> Object:
        origin = item.origin
        if origin is None:
            return item
        moved = Origin(named(origin.file), origin.line, origin.document, origin.tree)
        return msgspec.structs.replace(item, origin=moved)

    return replace(
        parsed,
        objects=tuple(map(placed, parsed.objects)),
        problems=problems(parsed.problems),
        warnings=problems(parsed.warnings),
    )
