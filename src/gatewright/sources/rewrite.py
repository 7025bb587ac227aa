"""Writing a manifest back: whole or not at all, with the mode it had."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from gatewright.errors import GatewrightError
from gatewright.sources.render import is_chart


class NotWritable(GatewrightError):
    """A file that could not be written. The text says which, and why."""


def text_of(name: str) -> str | None:
    """The text of a manifest that a person wrote; None for what a program made: a chart, a kustomization, a pipe."""
    path = Path(name)
    if not path.is_file() or _is_template(path.resolve()):
        return None
    try:
        return path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def _is_template(path: Path) -> bool:
    """Whether a file is a template of a chart: what was read is then what helm made of it."""
    return any(is_chart(parent) and path.relative_to(parent).parts[0] == "templates" for parent in path.parents)


def write(name: str, text: str) -> None:
    """Replace a file's text: written beside it, synced, and put in its place in one step. Raises NotWritable.

    A symbolic link stays one: the file that it leads to is replaced.
    """
    path = Path(name).resolve()
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise NotWritable(f"{name}: not written: {(error.strerror or str(error)).lower()}") from error
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(text.encode("utf-8"))
            stream.flush()
            os.fchmod(stream.fileno(), path.stat().st_mode & 0o7777)
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise NotWritable(f"{name}: not written: {(error.strerror or str(error)).lower()}") from error
