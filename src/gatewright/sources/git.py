"""Manifests as they stand in a git revision, read from git's own objects: the work tree is not touched.

Messages name a file as git does, `REVISION:path/from/the/top`, so that `git show` takes the name. A revision is read as
a directory is: charts are rendered, folders are read as `-R` says. For a kustomization everything is taken out of git
that it may build from: its directory, and what lies elsewhere and is named in it, directly or through its bases.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from gatewright.errors import GatewrightError, Problem
from gatewright.objects.meta import Object
from gatewright.objects.read import Parsed
from gatewright.sources import files
from gatewright.sources.progress import Progress, unheard
from gatewright.sources.render import KUSTOMIZATIONS, read_kustomization

SECONDS = 60.0
"""The longest that one git command may take."""
LARGEST = 500 * 1024 * 1024
"""Bytes of manifests that are read of one revision."""
SUFFIXES = (*files.SUFFIXES, ".tpl", ".txt")
"""What is taken out of git: manifests, and what a chart's templates may include."""
REGULAR = ("100644", "100755")
LINK = "120000"
_WORDS = re.compile(r"[^\s'\"\[\]{},=#]+")
"""What may be a path in the YAML of a kustomization: also `file` in `key=file`."""


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


def read(
    revision: str,
    paths: Iterable[str],
    recursive: bool = False,
    kustomizations: Iterable[str] = (),
    progress: Progress = unheard,
) -> Revision:
    """What stands at the paths (relative to the current directory) in a revision, and what its kustomizations build.

    Raises GitFailed.
    """
    progress(f"reading git revision {revision}")
    tree = _Tree(revision, _commit(revision), Path(os.fsdecode(_git("rev-parse", "--show-toplevel").rstrip(b"\n"))))
    plain = {path: _from_top(path, tree.top) for path in paths}
    built = {path: _from_top(path, tree.top) for path in kustomizations}
    named = set(plain.values())
    blobs = {blob.path: blob for blob in tree.below(named) if blob.path in named or blob.path.endswith(SUFFIXES)}
    blobs |= tree.kustomized(set(built.values()))
    with tempfile.TemporaryDirectory(prefix="gatewright-") as folder:
        warnings = tree.write(list(blobs.values()), Path(folder))
        places = [str(Path(folder, place)) for place in plain.values() if _is_among(place, blobs)]
        parts = [files.read(places, recursive, progress=progress)]
        parts += [
            read_kustomization(Path(folder, place), progress) for place in built.values() if _is_among(place, blobs)
        ]
        parsed = _renamed(Parsed.merge(parts), folder, revision)
    missing = tuple(path for path, place in (plain | built).items() if not _is_among(place, blobs))
    return Revision(replace(parsed, warnings=(*warnings, *parsed.warnings)), missing)


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


def _is_among(place: str, paths: Iterable[str]) -> bool:
    return any(not place or path == place or path.startswith(f"{place}/") for path in paths)


@dataclass(frozen=True, slots=True)
class _Tree:
    """The files of a revision."""

    revision: str
    commit: str
    top: Path

    def below(self, places: Iterable[str]) -> Iterator[_Blob]:
        """Every file at the places and below them, with its path from the top."""
        wanted = sorted(places)
        if not wanted:
            return
        chosen = ["--", *wanted] if all(wanted) else []
        listing = _git("ls-tree", "-r", "-z", "-l", "--full-tree", self.commit, *chosen, top=self.top)
        for entry in filter(None, listing.split(b"\0")):
            facts, _, path = entry.partition(b"\t")
            mode, _, name, size = facts.decode().split()
            yield _Blob(mode, name, int(size) if size != "-" else 0, os.fsdecode(path))

    def kustomized(self, places: set[str]) -> dict[str, _Blob]:
        """Every file that the kustomizations may build from, by path."""
        found: dict[str, _Blob] = {}
        waiting = places
        while waiting:
            met = {blob.path: blob for blob in self.below(waiting) if blob.path not in found}
            found |= met
            files = [blob for path, blob in met.items() if path.rpartition("/")[2] in KUSTOMIZATIONS]
            named = {
                place
                for blob, text in self.contents([blob for blob in files if blob.mode in REGULAR])
                for place in _named_elsewhere(blob.path, text)
            }
            waiting = {place for place in named if not _is_among(place, found)}
        return found

    def contents(self, blobs: Sequence[_Blob]) -> Iterator[tuple[_Blob, bytes]]:
        """The files' contents. Raises GitFailed where they are too large together."""
        if sum(blob.size for blob in blobs) > LARGEST:
            limit = LARGEST // (1024 * 1024)
            raise GitFailed(f"{self.revision}: more than {limit} MB of manifests; name fewer paths")
        if not blobs:
            return
        names = "".join(f"{blob.name}\n" for blob in blobs).encode()
        stream = memoryview(_git("cat-file", "--batch", data=names, top=self.top))
        for blob in blobs:
            head = bytes(stream[: len(blob.name) + 40]).index(b"\n") + 1
            yield blob, bytes(stream[head : head + blob.size])
            stream = stream[head + blob.size + 1 :]

    def write(self, blobs: Sequence[_Blob], folder: Path) -> list[Problem]:
        """Write the files below `folder`. Links are not followed: a warning says so."""
        for blob, content in self.contents([blob for blob in blobs if blob.mode in REGULAR]):
            target = folder / blob.path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        what = "a symbolic link, which is not followed in a git revision"
        return [Problem(f"{self.revision}:{blob.path}", what) for blob in blobs if blob.mode == LINK]


def _named_elsewhere(kustomization: str, text: bytes) -> Iterator[str]:
    """What a kustomization file may mean by its words outside of its own directory; it need not be there."""
    directory = os.path.dirname(kustomization)
    for word in set(_WORDS.findall(text.decode("utf-8", "replace"))):
        place = os.path.normpath(os.path.join(directory, word))
        if "/" in word and not os.path.isabs(word) and not place.startswith(".."):
            yield "" if place == "." else place


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
        return msgspec.structs.replace(item, origin=msgspec.structs.replace(origin, file=named(origin.file)))

    return replace(
        parsed,
        objects=tuple(map(placed, parsed.objects)),
        problems=problems(parsed.problems),
        warnings=problems(parsed.warnings),
    )
