"""Where an object, or a field of it, was written.

A manifest is kept as the positioned tree that the reader built (`Mapping` and `Sequence` know the line of every
entry), and an `Origin` points into it. So every field has its file and line without any object carrying a copy.
"""

from __future__ import annotations

from typing import Any

import msgspec

Path = tuple[str | int, ...]
"""A field path in parts: `("spec", "ingress", 0, "from", 1)` for `spec.ingress[0].from[1]`."""


class Mapping(dict[str, Any]):
    """A YAML mapping that knows the line on which it starts and the line of each of its keys, in order (from 1)."""

    __slots__ = ("line", "lines")

    def __init__(self, line: int) -> None:
        self.line = line
        self.lines: list[int] = []

    def line_of(self, key: str) -> int:
        """The line of a key; that of the mapping for a key that was not written but set afterwards."""
        return dict(zip(self, self.lines, strict=False)).get(key, self.line)


class Sequence(list[Any]):
    """A YAML sequence that knows the line on which it starts and the line of each of its items, in order (from 1)."""

    __slots__ = ("line", "lines")

    def __init__(self, line: int) -> None:
        self.line = line
        self.lines: list[int] = []


def format_path(path: Path) -> str:
    """The path as the API server writes it: `spec.ingress[0].from[1]`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def line_of(tree: Any, path: Path) -> int:
    """The line of the field at `path`, or of its nearest ancestor that the tree has; 0 when the tree knows no lines."""
    line: int = getattr(tree, "line", 0)
    for part in path:
        if isinstance(tree, Mapping) and isinstance(part, str) and part in tree:
            line = tree.line_of(part)
            tree = tree[part]
        elif isinstance(tree, Sequence) and isinstance(part, int) and 0 <= part < len(tree):
            line = tree.lines[part]
            tree = tree[part]
        else:
            break
    return line


class Origin(msgspec.Struct, frozen=True, eq=False):
    """The place of an object or field: file as the user named it (`-` is standard input), line from 1, document from 0.

    `tree` is the object's positioned tree where it was kept (policies keep it), so that `at` can find its fields.
    `homeless` says that the object names no namespace, hence is in `default`; beside a cluster it may belong elsewhere.
    """

    file: str
    line: int
    document: int = 0
    tree: Any = None
    homeless: bool = False

    def at(self, path: Path) -> Origin:
        """The origin of one field of this object; the nearest known ancestor where the field is not written out."""
        if self.tree is None:
            return self
        return Origin(self.file, line_of(self.tree, path), self.document)

    def __eq__(self, that: object) -> bool:
        if not isinstance(that, Origin):
            return NotImplemented
        return (self.file, self.line, self.document) == (that.file, that.line, that.document)

    def __hash__(self) -> int:
        return hash((self.file, self.line, self.document))

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"

    def __repr__(self) -> str:
        return f"Origin({str(self)!r})"
