"""Reading a positioned tree strictly: a fault is noted with its line and the nearest right word, and reading goes on.

A `Node` is a value of the file together with its place. Its methods return what was found, or an empty answer after
noting what is wrong; so one run tells all faults.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

from gatewright.errors import Problem
from gatewright.intent.comments import Comments
from gatewright.intent.model import Entry
from gatewright.objects.origin import Mapping, Origin, Sequence


def nearest(word: str, words: Collection[str]) -> str:
    """`, did you mean "x"?`, where some word is near; else nothing."""
    found = difflib.get_close_matches(word, list(words), 1, 0.6)
    return f', did you mean "{found[0]}"?' if found else ""


@dataclass(frozen=True, slots=True)
class File:
    """The file that is read, what is wrong with it, and its comments."""

    name: str
    comments: Comments
    problems: list[Problem] = field(default_factory=list)

    def is_sound(self, before: int) -> bool:
        """Whether nothing more is wrong with it than there was before."""
        return len(self.problems) == before


@dataclass(frozen=True, slots=True)
class Node:
    """A value of the file: the line it stands on, and how messages call it (`components.web`)."""

    file: File
    value: Any
    line: int
    path: str

    @property
    def entry(self) -> Entry:
        """Its place and comment."""
        return Entry(Origin(self.file.name, self.line), self.file.comments.above(self.line))

    def fault(self, what: str) -> None:
        """Note what is wrong here."""
        self.file.problems.append(Problem(f"{self.file.name}:{self.line}", f"{self.path}: {what}"))

    def children(self, what: str) -> dict[str, Node]:
        """The values of a mapping by key."""
        if self.value is None:
            return {}
        if not isinstance(self.value, Mapping):
            self.fault(f"must be {what}, not {_shape(self.value)}")
            return {}
        lines = dict(zip(self.value, self.value.lines, strict=False))
        return {
            key: Node(self.file, one, lines.get(key, self.value.line), self.at(key)) for key, one in self.value.items()
        }

    def fields(self, known: Collection[str], what: str) -> dict[str, Node]:
        """The fields of a mapping; one that is not known is a fault. Fields without a value are left out."""
        found = self.children(what)
        for key in [key for key in found if key not in known]:
            found.pop(key).fault(f"unknown field{nearest(key, known) or ' (known: ' + ', '.join(known) + ')'}")
        return {key: node for key, node in found.items() if node.value is not None}

    def items(self, what: str) -> Iterator[Node]:
        """The items of a list."""
        if self.value is None:
            return
        if not isinstance(self.value, Sequence):
            self.fault(f"must be a list of {what}, not {_shape(self.value)}")
            return
        for i, (one, line) in enumerate(zip(self.value, self.value.lines, strict=True)):
            yield Node(self.file, one, line, f"{self.path}[{i}]")

    def text(self, what: str) -> str:
        """A text; a number or boolean is a fault, since YAML made something else of it."""
        if isinstance(self.value, str) and self.value:
            return self.value
        hint = "; put it in quotes" if isinstance(self.value, int | float) else ""
        self.fault(f"must be {what}, not {_shape(self.value)}{hint}")
        return ""

    def flag(self) -> bool | None:
        """A boolean."""
        if isinstance(self.value, bool):
            return self.value
        self.fault(f"must be true or false, not {_shape(self.value)}")
        return None

    def at(self, key: str) -> str:
        """The path of a field."""
        return f"{self.path}.{key}" if self.path else key


def _shape(value: Any) -> str:
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    return "nothing" if value is None or value == "" else repr(value)
