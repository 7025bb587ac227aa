"""Label and field selectors as they stand in queries."""

from __future__ import annotations

import pytest

from gatewright.kubeapi.failure import Failure
from gatewright.kubeapi.selectors import fields_match, matches, parse_fields, parse_labels

LABELS = {"app": "web", "tier": "", "n": "5", "x.io/y": "z"}


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("", True),
        ("app", True),
        ("!app", False),
        ("!none", True),
        ("app=web", True),
        ("app==web", True),
        ("app = web", True),
        ("app!=web", False),
        ("none!=web", True),
        ("tier=", True),
        ("app=", False),
        ("app in (web,api)", True),
        ("app in (api)", False),
        ("app notin (web)", False),
        ("none notin (web)", True),
        ("tier in (,a)", True),
        ("app=web,n,!none", True),
        ("app=web,n=6", False),
        ("n gt 4", True),
        ("n>5", False),
        ("n lt 6", True),
        ("app gt 1", False),
        ("x.io/y=z", True),
    ],
)
def test_label_selectors(text: str, holds: bool) -> None:
    assert matches(parse_labels(text), LABELS) is holds


@pytest.mark.parametrize(
    "text",
    ["a b c", "a,", ",a", "=a", "a in b", "a in (b", "a in (b c)", "!a=b", "a=(", "-a", "a=-b", "a gt x", "a/b/c"],
)
def test_label_selectors_that_cannot_be_read(text: str) -> None:
    with pytest.raises(Failure, match="unable to parse requirement"):
        parse_labels(text)


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("", True),
        ("a=1", True),
        ("a==1", True),
        ("a!=1", False),
        ("a=1,b=2", False),
        ("none=", True),
        ("none!=1", True),
        (r"c=x\,y", True),
        (r"c=x\=y", False),
    ],
)
def test_field_selectors(text: str, holds: bool) -> None:
    assert fields_match(parse_fields(text), {"a": "1", "c": "x,y"}) is holds


@pytest.mark.parametrize("text", ["a", "a=b=c", "a=x\\"])
def test_field_selectors_that_cannot_be_read(text: str) -> None:
    with pytest.raises(Failure):
        parse_fields(text)
