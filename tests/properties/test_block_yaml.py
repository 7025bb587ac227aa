"""The line reader reads a document exactly as libyaml reads it, or leaves it alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from gatewright.objects import block_yaml
from gatewright.objects.origin import Mapping, Sequence
from gatewright.objects.yaml import _build_by_events, _pieces

CORPUS = Path(__file__).parents[3] / "shared" / "corpus"


def same(one: Any, other: Any) -> bool:
    """Equal in values, in types, in the order of keys and in every line."""
    if type(one) is not type(other):
        return False
    if isinstance(one, Mapping):
        alike = list(one) == list(other) and (one.line, one.lines) == (other.line, other.lines)
        return alike and all(same(one[key], other[key]) for key in one)
    if isinstance(one, Sequence):
        alike = len(one) == len(other) and (one.line, one.lines) == (other.line, other.lines)
        return alike and all(map(same, one, other))
    return repr(one) == repr(other)


def check(text: str, first: int = 1) -> bool:
    """Whether the line reader took the text; fails where it reads it otherwise than libyaml."""
    found = block_yaml.read(text, first)
    if found is None:
        return False
    documents = _build_by_events(text, first, 0, "f.yaml")
    assert [problem for document in documents for problem in document.problems] == []
    assert len(documents) == 1
    assert same(found, documents[0].tree), text
    assert documents[0].line == found.line
    return True


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-100, 70000),
    st.text("abyn019.:/-_ #'\"\\,[]{}&*!|>%@`~=\té\n", max_size=8),
    st.sampled_from(["yes", "0777", "1e3", "10.0.0.0/8", "a: b", "a #b", "- x", "", "null", "http://x:80/", "--flag"]),
)
KEYS = st.text("abyn0-_./:# ", min_size=1, max_size=5)
TREES = st.recursive(SCALARS, lambda t: st.lists(t, max_size=3) | st.dictionaries(KEYS, t, max_size=3), max_leaves=12)


@given(TREES, st.booleans())
def test_what_a_writer_of_yaml_writes(tree: Any, indented: bool) -> None:
    text = yaml.safe_dump(tree, default_flow_style=False, allow_unicode=True, sort_keys=False)
    check("\n".join("  " + line for line in text.split("\n")) if indented else text)


FRAGMENTS = st.sampled_from(
    [
        *("- ", "-", "  ", " ", "a:", "b: ", "a: 1", "c: 'x'", 'd: "y"', "e: {}", "f: []", "x", "# note", ":", "? "),
        *("80: ", "y: n", "<<: ", "&a ", "*a", "|", ">", "---", "...", "-x", "- -", "a:b", "k: v # c", "k: v#c", "'"),
        *('"', "~", "a: b: c", "!t ", "{a: 1}", "[1]", "\t", "é: ü", "a : 1", ",", "%", "@", "`", " # c", " #", "{}"),
    ]
)
LINES = st.lists(st.lists(FRAGMENTS, max_size=5).map("".join), max_size=8).map("\n".join)


@given(LINES)
@example("a:\n- 1\nb: 2")
@example("a:\n  - 1\n  b: 2")
@example("- - a: 1\n    b: 2\n  - c")
@example("a:\n    b: 1\n  c: 2")
@example("a: 1\n  b")
@example("-\n- 1")
@example("a:\n- b:\n- c: 1")
@example("a: 1\na: 2")
@example("- a\n b: 1")
@example("a:\nb:")
@example("  a: 1\nb: 2")
@example("a: 1\n...\nb: 2")
@example("a: # one\n  b: 1 # two\n- c: #three\n")
@example("a: 'x'# c")
@example("- {} # c\n-   a: 1\n    b: []")
@example("- # c\n  a: 1")
@example("- a\n-")
@example("- a\n- \n- b")
@example("- ~: 1")
@example("a:\n  - - b\n-   c")
def test_whatever_stands_on_lines(text: str) -> None:
    check(text)


def test_it_takes_what_it_is_for() -> None:
    text = "# head\nkind: Pod\nspec:\n  list:\n  - a: 1\n    b: [] \n  - - x\n    - y: 'yes'\n"
    text += "  flat:\n  - x\n  empty:\n  on: true\n"
    assert check(text, 7)
    assert check(text.replace("on: true", "on: true  # why"), 7)
    assert not check(text.replace("[] ", "[x]"))
    assert not check(text.replace("x", "x\u00a0"))
    assert check("\n".join(" " * n + "a:" for n in range(90)))
    assert not check("\n".join(" " * n + "a:" for n in range(110)))


@pytest.mark.skipif(not CORPUS.exists(), reason="the published manifests are not beside this checkout")
def test_real_manifests() -> None:
    taken = left = 0
    for path in sorted(CORPUS.rglob("*.y*ml")):
        for text, first in _pieces(path.read_text()):
            if check(text, first):
                taken += 1
            else:
                left += 1
    assert taken > left > 0
