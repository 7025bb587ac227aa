"""The plain part of YAML, read line by line: what nearly all manifests are written in, several times faster.

Block mappings and sequences, one-line scalars, comments. Everything else (anchors, tags, flow collections, block
scalars, scalars over several lines, and every error) is left to libyaml: `read` answers None, and the document is read
again there. So this reader decides nothing by itself: a document is either read exactly as libyaml reads it, or not at
all. The tests hold the two against each other.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, NamedTuple

from gatewright.objects.origin import Mapping, Sequence
from gatewright.objects.scalars import key_text, resolve

_KEY = r"[A-Za-z0-9_./~-]{1,128}"
_PLAIN = r"(?:[A-Za-z0-9_./+$(~]|-{1,2}[A-Za-z0-9])(?:[^ :#]|:(?! |$)|(?<! )#| (?![ #]|$))*+"
_QUOTED = r"\"[^\"\\]*\"|'[^']*'"
_VALUE = rf"({_PLAIN})|({_QUOTED})|(\{{\}}|\[\])"
_LINE = re.compile(rf"( *+)((?:- ++)*+)(?:({_KEY}):(?: ++|$))?(?:{_VALUE})? *+(?:#.*)?")
_EMPTY: dict[str | None, type[Mapping] | type[Sequence]] = {"{}": Mapping, "[]": Sequence}
_DEEPEST = 100
_LONGEST = 4096
"""Characters of a line that is read here: to match a pattern costs memory for each of them."""


class _Leave(Exception):
    """The document has something that is not read here."""


class _Line(NamedTuple):
    """A line as it reads wherever it stands: its dashes, then a key, an item, or a key and its value."""

    dashes: tuple[int, ...]
    """The column of each dash."""
    column: int
    """Where the key stands."""
    key: str | None
    """None before an item."""
    value: Any
    empty: type[Mapping] | type[Sequence] | None
    """What the value is when it is an empty collection, which each place needs its own of."""
    waits: bool
    """The value may follow on the next lines."""


def read(text: str, first_line: int) -> Mapping | Sequence | None:
    """The tree of a document whose first line has this number; None where libyaml must read it."""
    try:
        return _tree(text.split("\n"), first_line)
    except _Leave:
        return None


@lru_cache(maxsize=65536)
def _line(text: str) -> _Line | None:
    """The line read (manifests repeat their lines); None where there is nothing on it. Raises _Leave."""
    found = _LINE.fullmatch(text) if len(text) <= _LONGEST and text.isprintable() else None
    if found is None:
        raise _Leave
    indent, dashes, name, plain, quoted, empty = found.groups()
    bare = plain is None and quoted is None and empty is None
    if bare and name is None and not dashes:
        return None
    key = key_text(resolve(name)) if name is not None else None
    is_item = name is None and dashes and not bare
    if key is None and not is_item:
        raise _Leave
    value = resolve(plain) if plain is not None else quoted[1:-1] if quoted is not None else None
    columns = tuple(len(indent) + dash.start() for dash in re.finditer("-", dashes))
    return _Line(columns, len(indent + dashes), key, value, _EMPTY.get(empty), bare)


_Open = list[tuple[int, Any]]
"""The collections that are open, each with its column: the outermost first."""


def _tree(lines: list[str], first: int) -> Mapping | Sequence | None:
    """The top node: what is read as the only value of a mapping around the document."""
    around = Mapping(first)
    top: Any = around
    at, key, waits = -1, "", True
    stack: _Open = [(at, top)]
    for number, text in enumerate(lines, first):
        line = _line(text)
        if line is None:
            continue
        dashes, column, name, value, empty, bare = line
        for dash in dashes:
            if dash != at or top.__class__ is not Sequence:
                top, at = _enter(stack, dash, Sequence, key, waits, number), dash
            top.append(None)
            top.lines.append(number)
            waits = True
        if empty is not None:
            value = empty(number)
        if name is None:
            top[-1] = value
        else:
            if column != at or top.__class__ is not Mapping:
                top, at = _enter(stack, column, Mapping, key, waits, number), column
            if name in top:
                raise _Leave
            top[name] = value
            top.lines.append(number)
            key = name
        waits = bare
    return around.get("")


def _enter(stack: _Open, column: int, kind: type[Mapping] | type[Sequence], key: str, waits: bool, number: int) -> Any:
    """The collection of this kind at this column: a new one where a value is waited for, or one that is open.

    A sequence may stand at the column of the mapping whose value it is.
    """
    at, top = stack[-1]
    in_mapping = top.__class__ is Mapping
    if column > at or (column == at and in_mapping):
        if not waits or len(stack) > _DEEPEST:
            raise _Leave
        opened = kind(number)
        top[key if in_mapping else -1] = opened
        stack.append((column, opened))
        return opened
    while at > column or (at == column and top.__class__ is not kind):
        stack.pop()
        at, top = stack[-1]
    if at != column:
        raise _Leave
    return top
