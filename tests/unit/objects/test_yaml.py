"""The YAML layer: kubectl's documents and scalars, a line for everything, hostile input refused."""

from __future__ import annotations

import math
from typing import Any

import pytest

from gatewright.objects.origin import line_of
from gatewright.objects.scalars import key_text, resolve
from gatewright.objects.yaml import DEEPEST, documents

SCALARS: list[tuple[str, Any]] = [
    ("web", "web"),
    ("", None),
    ("~", None),
    ("null", None),
    ("nULL", "nULL"),
    ("yes", True),
    ("y", True),
    ("On", True),
    ("off", False),
    ("N", False),
    ("truE", "truE"),
    ("80", 80),
    ("+80", 80),
    ("-1", -1),
    ("0", 0),
    ("0777", 511),
    ("0o17", 15),
    ("0x50", 80),
    ("0b101", 5),
    ("089", 89),
    ("1_000", 1000),
    ("1.5", 1.5),
    ("1e3", 1000),
    ("1.0", 1),
    (".5", 0.5),
    ("80-90", "80-90"),
    ("10.0.0.0", "10.0.0.0"),
    ("22:22", "22:22"),
    ("2026-11-23", "2026-11-23"),
    ("-", "-"),
    ("99999999999999999999999", 99999999999999999999999.0),
    ("٣", "٣"),
    ("1" * 500, "1" * 500),
]


@pytest.mark.parametrize(("text", "value"), SCALARS)
def test_plain_scalars_mean_what_kubectl_reads(text: str, value: Any) -> None:
    found = resolve(text)
    assert found == value
    assert type(found) is type(value) or (isinstance(value, float) and isinstance(found, int))


def test_infinities_and_not_a_number() -> None:
    assert resolve(".inf") == math.inf
    assert resolve("-.INF") == -math.inf
    assert math.isnan(float(str(resolve(".nan"))))


@pytest.mark.parametrize(("value", "text"), [(True, "true"), (False, "false"), (80, "80"), ("a", "a"), (None, None)])
def test_keys_become_json_text(value: Any, text: str | None) -> None:
    assert key_text(value) == text


def trees(text: str) -> list[Any]:
    return [document.tree for document in documents(text, "f.yaml")]


def problems(text: str) -> list[str]:
    return [str(problem) for document in documents(text, "f.yaml") for problem in document.problems]


def test_documents_are_separated_as_kubectl_separates_them() -> None:
    text = "---\na: 1\n--- # next\nb: 2\n---   \n# only a comment\n---\nc: '---'\nd: --- e\n"
    assert trees(text) == [{"a": 1}, {"b": 2}, {"c": "---", "d": "--- e"}]


def test_quoted_scalars_and_tags_are_taken_at_their_word() -> None:
    assert trees("a: 'yes'\nb: \"80\"\nc: !!str 80\nd: !!int '80'\ne: |\n  yes\n") == [
        {"a": "yes", "b": "80", "c": "80", "d": 80, "e": "yes\n"}
    ]


def test_aliases_and_merge_keys() -> None:
    assert trees("a: &x {k: 1, l: 2}\nb: *x\nc: {<<: *x, k: 3}\nd: {<<: [*x, {m: 4}]}\n") == [
        {"a": {"k": 1, "l": 2}, "b": {"k": 1, "l": 2}, "c": {"k": 3, "l": 2}, "d": {"k": 1, "l": 2, "m": 4}}
    ]


def test_every_field_knows_its_line() -> None:
    text = "# head\n---\nkind: A\nspec:\n  list:\n  - x: 1\n  - v:\n      w: 2\n"
    (document,) = documents(text, "f.yaml")
    assert document.line == 3
    assert line_of(document.tree, ("spec",)) == 4
    assert line_of(document.tree, ("spec", "list")) == 5
    assert line_of(document.tree, ("spec", "list", 1)) == 7
    assert line_of(document.tree, ("spec", "list", 1, "v", "w")) == 8
    assert line_of(document.tree, ("spec", "list", 1, "missing", "z")) == 7


def test_a_broken_document_hides_no_other() -> None:
    text = "a: 1\n---\nb: [1\n---\nc: 3\n"
    assert trees(text) == [{"a": 1}, None, {"c": 3}]
    (problem,) = problems(text)
    assert problem.startswith(("f.yaml:4: not YAML: ", "f.yaml:3: not YAML: "))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a:\n\tb: 1\n", "f.yaml:2: not YAML: found character that cannot start any token (a tab?"),
        ("a: 1\na: 2\n", 'f.yaml:2: key "a" already set in map'),
        ("x: 0\nyes: 1\ntrue: 2\n", 'f.yaml:3: key "true" already set in map'),
        ("? [a]\n: 1\n", "f.yaml:1: a mapping key must be text"),
        ("a: *nowhere\n", "f.yaml:1: not YAML: unknown or unfinished anchor &nowhere"),
        ("a: &a [*a]\n", "f.yaml:1: not YAML: unknown or unfinished anchor &a"),
        ("a: !!int b\n", "f.yaml:1: not YAML: 'b' is not a int"),
        ("a: 1\nb: \x01\n", "f.yaml:2: not YAML: control character U+0001 is not allowed"),
    ],
)
def test_what_is_not_yaml_is_said_with_its_line(text: str, said: str) -> None:
    assert problems(text)[0].startswith(said)


def test_nesting_is_bounded() -> None:
    assert problems("[" * (DEEPEST + 1)) == [f"f.yaml:1: nested deeper than {DEEPEST} levels"]
    assert not problems("[" * DEEPEST + "]" * DEEPEST)


def test_an_alias_bomb_is_refused_before_it_goes_off() -> None:
    bomb = "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
    for this, last in zip("bcdefghij", "abcdefghi", strict=True):
        bomb += f"{this}: &{this} [{','.join(['*' + last] * 10)}]\n"
    (problem,) = problems(bomb)
    assert "aliases expand to more than" in problem


def test_duplicate_keys_are_counted_up_to_a_bound() -> None:
    assert len(problems("a: 1\n" * 1000)) == 20
