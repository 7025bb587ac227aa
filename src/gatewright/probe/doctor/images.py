"""Names of container images: which repository, and which version its tag certainly means.

A tag that is a moving name (`latest`, `stable`, `v3`) or a digest alone has no version: it is not guessed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase

Version = tuple[int, ...]
"""Numbers of a release, compared from the left; the last is -1 for what came before the release, else 0."""

_RELEASE = re.compile(r"v?(\d+(?:\.\d+){1,3}|\d{8})(?:[-_+](.*))?")
_BEFORE = re.compile(r"(alpha|beta|rc|dev|pre|snapshot|nightly|0\.dev|\d+-g[0-9a-f]{6,})", re.IGNORECASE)
_PRECISION = 4


def path_of(image: str) -> str:
    """The image's repository without registry, tag and digest: `calico/node`."""
    name = image.partition("@")[0]
    first, slash, rest = name.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        name = rest
    head, slash, last = name.rpartition("/")
    path = head + slash + last.partition(":")[0]
    return path.removeprefix("library/")


def version_of(image: str) -> Version | None:
    """The version that the tag says; None where it says none."""
    last = image.partition("@")[0].rpartition("/")[2]
    return parse_version(last.partition(":")[2])


def parse_version(tag: str) -> Version | None:
    """`v1.14.0-eksbuild.3` is (1, 14, 0, 0, 0), `v1.14.0-rc.1` is (1, 14, 0, 0, -1), `latest` is None."""
    found = _RELEASE.fullmatch(tag)
    if found is None:
        return None
    numbers = [int(part) for part in found[1].split(".")]
    padded = (*numbers, *[0] * (_PRECISION - len(numbers)))
    return (*padded, -1 if found[2] and _BEFORE.match(found[2]) else 0)


def is_known(image: str, patterns: Iterable[str]) -> bool:
    """Whether the image is one of a solution's, from whichever registry.

    A pattern of several parts may stand behind the path of a mirror (`mirror/calico/node`); one of a single part is the
    whole path, since a last part alone (`node`, `agent`) is anybody's.
    """
    path = path_of(image)
    return any(
        fnmatchcase(path, pattern) or ("/" in pattern and fnmatchcase(path, f"*/{pattern}")) for pattern in patterns
    )
