"""Label and field selectors as they stand in a query: `app in (web,api),!debug`, `spec.nodeName=n1`.

The grammar is apimachinery's (labels.Parse, fields.ParseSelector), and what is wrong is said in its words. What a
requirement means is the engine's to say (`engine.selectors`); only Gt and Lt, which policies do not know, are read
here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from gatewright.engine.selectors import requirement_holds
from gatewright.kubeapi.failure import Failure, bad_request
from gatewright.objects import names

_TOKEN = re.compile(r"\s*(==|!=|=|!|,|\(|\)|<|>|[^\s=!,()<>]+)")
_SYMBOLS = frozenset(("==", "!=", "=", "!", ",", "(", ")", "<", ">"))
_OPERATORS = "in, notin, =, ==, !=, gt, lt"


@dataclass(frozen=True, slots=True)
class Requirement:
    """One requirement: operator is In, NotIn, Exists, DoesNotExist, Gt or Lt."""

    key: str
    operator: str
    values: tuple[str, ...] = ()

    def holds(self, labels: Mapping[str, str]) -> bool:
        """Whether labels meet it. NotIn is met where the key is missing."""
        if self.operator not in ("Gt", "Lt"):
            return requirement_holds((self.key, self.operator, self.values), labels)
        value = labels.get(self.key)
        (bound,) = self.values
        if value is None or not re.fullmatch(r"[+-]?[0-9]{1,18}", value, re.ASCII):
            return False
        return int(value) > int(bound) if self.operator == "Gt" else int(value) < int(bound)


LabelQuery = tuple[Requirement, ...]


def matches(query: LabelQuery, labels: Mapping[str, str]) -> bool:
    """Whether all requirements hold; an empty query matches everything."""
    return all(requirement.holds(labels) for requirement in query)


def parse_labels(text: str) -> LabelQuery:
    """The requirements of a labelSelector parameter. Raises Failure (400)."""
    tokens = _TOKEN.findall(text)
    if "".join(text.split()) != "".join(tokens):
        raise _refused(f"found '{text}', expected: identifier")
    found: list[Requirement] = []
    position = 0
    while position < len(tokens):
        requirement, position = _requirement(tokens, position)
        found.append(requirement)
        if position < len(tokens):
            if tokens[position] != ",":
                raise _refused(f"found '{tokens[position]}', expected: ',' or 'end of string'")
            position += 1
            if position == len(tokens):
                raise _refused("found '', expected: identifier after ','")
    return tuple(found)


def _requirement(tokens: list[str], position: int) -> tuple[Requirement, int]:
    absent = tokens[position] == "!"
    position += absent
    key = tokens[position] if position < len(tokens) else ""
    if not key or key in _SYMBOLS:
        raise _refused(f"found '{key}', expected: identifier")
    if faults := names.label_key_faults(key):
        raise _refused(f'key: Invalid value: "{key}": {faults[0]}')
    position += 1
    operator = tokens[position] if position < len(tokens) else ","
    if operator == ",":
        return Requirement(key, "DoesNotExist" if absent else "Exists"), position
    if absent:
        raise _refused(f"found '{operator}', expected: ',' or 'end of string'")
    position += 1
    if operator in ("in", "notin"):
        values, position = _listed(tokens, position)
        return _checked(key, "In" if operator == "in" else "NotIn", values), position
    if operator not in ("=", "==", "!=", "gt", "lt", "<", ">"):
        raise _refused(f"found '{operator}', expected: {_OPERATORS}")
    value = tokens[position] if position < len(tokens) else ","
    if value in _SYMBOLS - {","}:
        raise _refused(f"found '{value}', expected: identifier")
    values = frozenset(("",)) if value == "," else frozenset((value,))
    name = {"!=": "NotIn", "gt": "Gt", ">": "Gt", "lt": "Lt", "<": "Lt"}.get(operator, "In")
    return _checked(key, name, values), position if value == "," else position + 1


def _listed(tokens: list[str], position: int) -> tuple[frozenset[str], int]:
    """The values in parentheses from a position, and the position behind them."""
    if position >= len(tokens) or tokens[position] != "(":
        raise _refused(f"found '{tokens[position] if position < len(tokens) else ''}', expected: '('")
    values: list[str] = []
    wants = True
    for end in range(position + 1, len(tokens)):
        token = tokens[end]
        if token == ")":
            return frozenset([*values, ""] if wants else values), end + 1
        if token == ",":
            values += [""] if wants else []
            wants = True
        elif token in _SYMBOLS or not wants:
            raise _refused(f"found '{token}', expected: ',', ')' or identifier")
        else:
            values.append(token)
            wants = False
    raise _refused("found '', expected: ',' or ')'")


def _checked(key: str, operator: str, values: frozenset[str]) -> Requirement:
    for value in sorted(values):
        if operator in ("Gt", "Lt") and not re.fullmatch(r"[+-]?[0-9]{1,18}", value, re.ASCII):
            raise _refused(
                f"values[0][{key}]: Invalid value: \"{value}\": for 'Gt', 'Lt' operators, the value must be an integer"
            )
        if faults := names.label_value_faults(value):
            raise _refused(f'values[0][{key}]: Invalid value: "{value}": {faults[0]}')
    return Requirement(key, operator, tuple(sorted(values)))


def _refused(what: str) -> Failure:
    return bad_request(f"unable to parse requirement: {what}")


@dataclass(frozen=True, slots=True)
class FieldRequirement:
    """One field that must have a value, or must not have it."""

    field: str
    value: str
    equal: bool = True


FieldQuery = tuple[FieldRequirement, ...]


def fields_match(query: FieldQuery, fields: Mapping[str, str]) -> bool:
    """Whether an object's selectable fields meet a query."""
    return all((fields.get(one.field, "") == one.value) == one.equal for one in query)


def parse_fields(text: str) -> FieldQuery:
    """The requirements of a fieldSelector parameter; which fields a kind has is not asked. Raises Failure (400)."""
    found: list[FieldRequirement] = []
    for part in _split(text):
        match = re.match(r"((?:[^\\=!]|\\.)*?)(==|!=|=)(.*)", part, re.DOTALL)
        if not match:
            raise bad_request(f"invalid selector: '{text}'; can't understand '{part}'")
        found.append(FieldRequirement(match[1], _unescaped(match[3], text), match[2] != "!="))
    return tuple(found)


def _split(text: str) -> list[str]:
    """The parts between commas that no backslash guards."""
    return [part for part in re.findall(r"(?:[^\\,]|\\.|\\$)+", text, re.DOTALL) if part]


def _unescaped(value: str, text: str) -> str:
    if not re.fullmatch(r"(?:[^\\,=]|\\[\\,=])*", value, re.DOTALL):
        raise bad_request(f"invalid field selector: '{text}'; invalid value '{value}'")
    return re.sub(r"\\(.)", r"\1", value, flags=re.DOTALL)
