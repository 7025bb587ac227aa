"""YAML to positioned trees: every key and item knows its line, every document stands alone.

The text is cut into documents the way kubectl cuts it, before any of them is parsed, so that a broken document hides
no other. Plain ones are read line by line (`block_yaml`), all others from libyaml's events by a builder of our own,
because no stock loader keeps the line of every key, reads scalars as kubectl does, refuses duplicate keys, and bounds
what hostile input can cost: nesting depth, and the size to which aliases expand.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml
from yaml._yaml import CParser

from gatewright.errors import Problem
from gatewright.objects import block_yaml
from gatewright.objects.origin import Mapping, Sequence
from gatewright.objects.scalars import key_text, resolve

DEEPEST = 200
"""Levels of nesting; the deepest published custom resource definition has less than half."""
MOST_EXPANDED = 2_000_000
"""Nodes a document may hold when its aliases are written out."""
MOST_PROBLEMS = 20
"""Duplicate keys reported for one document."""

_SEPARATOR = re.compile(r"\n---[ \t]*(?:#.*)?\r?$", re.MULTILINE)
"""From the end of the line before, since a pattern that begins with fixed text is found several times faster."""
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff\ufeff]")
_TAG = "tag:yaml.org,2002:"
_TAGGED: dict[str, tuple[type, ...]] = {"int": (int,), "bool": (bool,), "float": (int, float), "null": (type(None),)}


@dataclass(frozen=True, slots=True)
class Document:
    """One document: the tree of its top node (None when it is empty), its first line, and what is wrong with it."""

    tree: Any
    line: int
    index: int
    problems: tuple[Problem, ...] = ()


def documents(text: str, file: str) -> Iterator[Document]:
    """The documents of a file, in order. Broken ones come with problems and no tree; empty ones are left out."""
    index = 0
    for start, line in _pieces(text):
        for document in _build(start, line, index, file):
            index += 1
            yield document


def _pieces(text: str) -> Iterator[tuple[str, int]]:
    """(text, first line) of each document as kubectl separates them."""
    text = "\n" + text.removeprefix("\ufeff")
    begin, line = 1, 1
    for match in _SEPARATOR.finditer(text):
        yield text[begin : match.start() + 1], line
        line += text.count("\n", begin, match.end())
        begin = match.end()
    yield text[begin:], line


def _build(text: str, line: int, index: int, file: str) -> list[Document]:
    plain = block_yaml.read(text, line)
    if plain is not None:
        return [Document(plain, plain.line, index)]
    return _build_by_events(text, line, index, file)


def _build_by_events(text: str, line: int, index: int, file: str) -> list[Document]:
    """The documents of a piece of text, by libyaml."""
    bad = _UNPRINTABLE.search(text)
    if bad:
        where = f"{file}:{line + text.count(chr(10), 0, bad.start())}"
        problem = Problem(where, f"not YAML: control character U+{ord(bad[0]):04X} is not allowed")
        return [Document(None, line, index, (problem,))]
    builder = _Builder(text, line - 1, file)
    trees: list[Document] = []
    try:
        for tree, start in builder.trees():
            problems = tuple(builder.problems)
            builder.problems.clear()
            if tree is not None or problems:
                trees.append(Document(tree, start, index + len(trees), problems))
    except _Refused as refused:
        trees.append(Document(None, line, index + len(trees), (refused.problem,)))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        at = line + (mark.line if mark else 0)
        said = getattr(error, "problem", None) or getattr(error, "context", None) or str(error).splitlines()[0]
        trees.append(Document(None, line, index + len(trees), (Problem(f"{file}:{at}", f"not YAML: {_hint(said)}"),)))
    return trees


def _hint(said: str) -> str:
    if "cannot start any token" in said:
        return f"{said} (a tab? YAML is indented with spaces)"
    return said


class _Refused(Exception):
    def __init__(self, where: str, what: str) -> None:
        self.problem = Problem(where, what)


class _Frame:
    """A collection that is still open: its key in waiting (mappings), its anchor, and the size when it was opened."""

    __slots__ = ("anchor", "container", "key", "size")

    def __init__(self, container: Mapping | Sequence, anchor: str | None, size: int) -> None:
        self.container = container
        self.anchor = anchor
        self.size = size
        self.key: tuple[str | None, int] | None = None


class _Builder:
    """Builds trees from events, iteratively: a stack of open collections instead of recursion."""

    def __init__(self, text: str, offset: int, file: str) -> None:
        self.parser = CParser(text)
        self.offset = offset + 1
        self.file = file
        self.problems: list[Problem] = []

    def trees(self) -> Iterator[tuple[Any, int]]:
        """Each document's (tree, line)."""
        while True:
            event = self.parser.get_event()
            if isinstance(event, yaml.StreamEndEvent):
                return
            if isinstance(event, yaml.DocumentStartEvent):
                yield self._document()

    def _document(self) -> tuple[Any, int]:
        """The top node of the document whose start was just read, and the node's line."""
        self.stack: list[_Frame] = []
        self.anchors: dict[str, tuple[Any, int]] = {}
        self.size = 0
        get_event, offset = self.parser.get_event, self.offset
        while True:
            event: Any = get_event()
            kind = event.__class__
            line = event.start_mark.line + offset
            self.size += 1
            if kind is yaml.ScalarEvent:
                value = self._scalar(event, line)
                if event.anchor:
                    self.anchors[event.anchor] = (value, 1)
            elif kind is yaml.MappingStartEvent or kind is yaml.SequenceStartEvent:
                self._open(Mapping(line) if kind is yaml.MappingStartEvent else Sequence(line), event.anchor)
                continue
            elif kind is yaml.AliasEvent:
                value = self._alias(event.anchor, line)
            else:  # the end of a mapping or sequence: libyaml guarantees that they nest
                value = self._close()
                line = value.line
            if not self.stack:
                self.parser.get_event()  # the document's end
                return value, line
            self._place(value, line)

    def _open(self, container: Mapping | Sequence, anchor: str | None) -> None:
        if len(self.stack) >= DEEPEST:
            raise _Refused(f"{self.file}:{container.line}", f"nested deeper than {DEEPEST} levels")
        self.stack.append(_Frame(container, anchor, self.size))

    def _close(self) -> Mapping | Sequence:
        frame = self.stack.pop()
        container = frame.container
        if isinstance(container, Mapping):
            _merge(container)
        if frame.anchor:
            self.anchors[frame.anchor] = (container, self.size - frame.size)
        return container

    def _place(self, value: Any, line: int) -> None:
        """Put a finished node into the collection that is open."""
        frame = self.stack[-1]
        container: Any = frame.container
        if container.__class__ is Sequence:
            container.append(value)
            container.lines.append(line)
        elif frame.key is None:
            frame.key = self._key(value, line, container)
        else:
            key, key_line = frame.key
            if key is not None and key not in container:
                container[key] = value
                container.lines.append(key_line)
            frame.key = None

    def _alias(self, anchor: str, line: int) -> Any:
        if anchor not in self.anchors:
            raise _Refused(f"{self.file}:{line}", f"not YAML: unknown or unfinished anchor &{anchor}")
        value, weight = self.anchors[anchor]
        self.size += weight
        if self.size > MOST_EXPANDED:
            raise _Refused(f"{self.file}:{line}", f"aliases expand to more than {MOST_EXPANDED} values")
        return value

    def _key(self, value: Any, line: int, container: Any) -> tuple[str | None, int]:
        """(key, line); the key is None where it cannot be used, so that its value is read and dropped."""
        text = key_text(value) if not isinstance(value, dict | list) else None
        if text is None:
            self._problem(line, "a mapping key must be text")
        elif text in container:
            self._problem(line, f'key "{text}" already set in map')
        return text, line

    def _problem(self, line: int, what: str) -> None:
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append(Problem(f"{self.file}:{line}", what))

    def _scalar(self, event: yaml.ScalarEvent, line: int) -> Any:
        tag = event.tag
        if tag is None or tag == "!":
            return resolve(event.value) if event.implicit[0] else event.value
        name = tag.removeprefix(_TAG)
        if name in ("str", "binary"):
            return event.value
        value = resolve(event.value)
        if name in _TAGGED and not isinstance(value, _TAGGED[name]):
            raise _Refused(f"{self.file}:{line}", f"not YAML: {event.value!r:.60} is not a {name}")
        return value


def _merge(mapping: Mapping) -> None:
    """Apply a YAML 1.1 merge key: `<<: *base` gives the keys that the mapping does not set itself."""
    if "<<" not in mapping:
        return
    source = mapping["<<"]
    bases = source if isinstance(source, Sequence) else [source]
    if not all(isinstance(base, Mapping) for base in bases):
        return
    del mapping.lines[list(mapping).index("<<")], mapping["<<"]
    for base in bases:
        for (key, value), line in zip(base.items(), base.lines, strict=True):
            if key not in mapping:
                mapping[key] = value
                mapping.lines.append(line)
