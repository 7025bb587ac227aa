"""The plain part of YAML, read line by line: what nearly all manifests are written in, several times faster.

Block mappings and sequences, one-line scalars, comments on lines of their own. Everything else (anchors, tags, flow
collections, block scalars, trailing comments, scalars over several lines, and every error) is left to libyaml: `read`
answers None, and the document is read again there. So this reader decides nothing by itself: a document is either
read exactly as libyaml reads it, or not at all. The tests hold the two against each other.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

import msgspec

from gatewright.objects.origin import Mapping, Sequence
from gatewright.objects.scalars import key_text, resolve

_PLAIN = r"(?:[A-Za-z0-9_./+$(~]|-{1,2}[A-Za-z0-9])(?:[^ :#]|:(?! |$)|(?<! )#| (?![ #]|$))*"
_QUOTED = r"\"[^\"\\]*\"|'[^']*'"
_KEY = r"[A-Za-z0-9_./~-]{1,128}"
_AFTER_KEY = rf"(?: +(?:({_PLAIN})|({_QUOTED})|(\{{\}}|\[\])))?"
_LINE = re.compile(rf"( *)((?:- +)*)(?:({_KEY}):{_AFTER_KEY}|({_PLAIN})|({_QUOTED}))")
_BEYOND = re.compile("[\t\r\x85\u2028\u2029\ufeff]|<<:")
_DEEPEST = 100
_LONGEST = 4096
"""Characters of a line that is read here: to match a pattern costs memory for each of them."""


class _Leave(Exception):
    """The document has something that is not read here."""


class _Frame:
    """An open collection and its column; a mapping's key, or a sequence's dash, that waits for its value."""

    __slots__ = ("column", "container", "key", "line", "waits")

    def __init__(self, column: int, container: Mapping | Sequence) -> None:
        self.column = column
        self.container: Any = container
        self.key = ""
        self.line = 0
        self.waits = False

    def put(self, value: Any) -> None:
        """Give the waiting key or dash its value."""
        if self.container.__class__ is Mapping:
            self.container[self.key] = value
            self.container.lines[self.key] = self.line
        else:
            self.container.append(value)
            self.container.lines.append(self.line)
        self.waits = False


def read(text: str, first_line: int) -> Mapping | Sequence | None:
    """The tree of a document whose first line has this number; None where libyaml must read it."""
    if _BEYOND.search(text):
        return None
    try:
        return _Reader().read(text.split("\n"), first_line)
    except _Leave:
        return None


class _Line(msgspec.Struct, frozen=True, gc=False):
    """A line as it reads wherever it stands: its indent and dashes, then a key, its value, or an item."""

    indent: int
    dashes: str
    key: str | None
    value: Any
    has_value: bool


_EMPTY = {"{}": Mapping, "[]": Sequence}


@lru_cache(maxsize=65536)
def _line(text: str) -> _Line | None:
    """The line read (manifests repeat their lines); None where there is nothing on it. Raises _Leave."""
    found = _LINE.fullmatch(text)
    if found is None:
        if text and not text.isspace() and text.lstrip(" ")[0] != "#":
            raise _Leave
        return None
    indent, dashes, key, plain, quoted, empty, item, quoted_item = found.groups()
    plain, quoted = plain or item, quoted or quoted_item
    if key is not None:
        key = key_text(resolve(key))
        if key is None:
            raise _Leave
    elif not dashes:
        raise _Leave
    if plain is not None:
        return _Line(len(indent), dashes, key, resolve(plain), True)
    if quoted is not None:
        return _Line(len(indent), dashes, key, quoted[1:-1], True)
    return _Line(len(indent), dashes, key, _EMPTY[empty] if empty else None, bool(empty))


class _Reader:
    def __init__(self) -> None:
        self.stack: list[_Frame] = []
        self.begun = False

    def read(self, lines: list[str], first: int) -> Mapping | Sequence | None:
        root: Mapping | Sequence | None = None
        stack = self.stack
        for number, text in enumerate(lines, first):
            if len(text) > _LONGEST:
                raise _Leave
            line = _line(text)
            if line is None:
                continue
            column = line.indent
            if line.dashes:
                column = self._dashes(line.dashes, column, number)
            if line.key is not None:
                self._key(line.key, column, number)
            if line.has_value:
                value = line.value
                stack[-1].put(value(number) if value.__class__ is type else value)
            if root is None:
                root = stack[0].container
        self._close(-1, True)
        return root

    def _close(self, column: int, dash: bool) -> None:
        """Close what stands deeper than the column, and at it a sequence that no dash goes on."""
        stack = self.stack
        while stack:
            frame = stack[-1]
            is_sequence = frame.container.__class__ is Sequence
            if frame.column < column or (frame.column == column and (dash or not is_sequence)):
                return
            if frame.waits:
                if is_sequence:
                    raise _Leave
                frame.put(None)
            stack.pop()

    def _dashes(self, dashes: str, column: int, number: int) -> int:
        """Open or go on with a sequence for each dash; the column of what follows the last."""
        self._close(column, True)
        start = column
        for place in re.finditer("-", dashes):
            column = start + place.start()
            top = self.stack[-1] if self.stack else None
            if top is None or top.column != column or top.container.__class__ is not Sequence:
                self._open(column, Sequence(number), top)
            elif top.waits:
                raise _Leave
            top = self.stack[-1]
            top.waits, top.line = True, number
        return start + len(dashes)

    def _key(self, key: str, column: int, number: int) -> None:
        """Make the key wait for its value in the mapping at this column."""
        top = self.stack[-1] if self.stack else None
        if top is not None and top.column >= column and (top.column > column or top.container.__class__ is Sequence):
            self._close(column, False)
            top = self.stack[-1] if self.stack else None
        if top is None or top.column != column or top.container.__class__ is not Mapping:
            self._open(column, Mapping(number), top)
            top = self.stack[-1]
        elif top.waits:
            top.put(None)
        if key in top.container:
            raise _Leave
        top.key, top.line, top.waits = key, number, True

    def _open(self, column: int, container: Mapping | Sequence, top: _Frame | None) -> None:
        """Put a new collection where one is waited for."""
        if top is None:
            if self.begun:
                raise _Leave
            self.begun = True
        else:
            in_mapping = top.container.__class__ is Mapping
            beside = in_mapping and container.__class__ is Sequence and column == top.column
            if not top.waits or not (column > top.column or beside):
                raise _Leave
            line, key = top.line, top.key
            if not in_mapping:
                top.line = container.line
            top.put(container)
            top.line, top.key = line, key
        if len(self.stack) >= _DEEPEST:
            raise _Leave
        self.stack.append(_Frame(column, container))
