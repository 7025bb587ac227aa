"""Label selectors as a person types them: `app=web,tier!=front,env in (a,b),!debug`, the grammar of kubectl's `-l`."""

from __future__ import annotations

import re

from gatewright.errors import GatewrightError
from gatewright.objects.meta import LabelSelector, LabelSelectorRequirement

_KEY = r"(?P<key>[A-Za-z0-9](?:[A-Za-z0-9._/-]*[A-Za-z0-9])?)"
_VALUE = r"[A-Za-z0-9_.-]*"
_TERMS = {
    "Equal": re.compile(rf"{_KEY}\s*==?\s*(?P<value>{_VALUE})"),
    "NotEqual": re.compile(rf"{_KEY}\s*!=\s*(?P<value>{_VALUE})"),
    "In": re.compile(rf"{_KEY}\s+in\s*\((?P<values>[^()]*)\)"),
    "NotIn": re.compile(rf"{_KEY}\s+notin\s*\((?P<values>[^()]*)\)"),
    "Exists": re.compile(_KEY),
    "DoesNotExist": re.compile(rf"!\s*{_KEY}"),
}
_OPERATORS = {"Equal": "In", "NotEqual": "NotIn"}
_COMMA = re.compile(r",(?![^()]*\))")


class BadSelector(GatewrightError):
    """A text that is not a label selector."""


def parse_selector(text: str) -> LabelSelector:
    """The selector that a text means. Raises BadSelector."""
    return LabelSelector(match_expressions=tuple(_requirement(term.strip(), text) for term in _COMMA.split(text)))


def _requirement(term: str, text: str) -> LabelSelectorRequirement:
    for name, pattern in _TERMS.items():
        if found := pattern.fullmatch(term):
            parts = found.groupdict()
            if "values" in parts:
                values = tuple(value.strip() for value in parts["values"].split(","))
            else:
                values = (parts["value"],) if "value" in parts else ()
            if all(re.fullmatch(_VALUE, value) for value in values):
                return LabelSelectorRequirement(key=parts["key"], operator=_OPERATORS.get(name, name), values=values)
    raise BadSelector(
        f"{text!r} is not a label selector: write KEY=VALUE, KEY!=VALUE, KEY in (A,B), KEY notin (A,B), KEY or !KEY,"
        " with commas between"
    )
