"""What a plain YAML scalar means to kubectl.

kubectl reads YAML 1.1 and hands JSON to the API server: `yes`, `on` and `y` are booleans, `0777` is the number 511,
`1e3` is a number, a date stays text. A label value written so is refused by the API server, hence it must be read the
same way here, or a policy that a cluster refuses would be analysed as if it were in force.
"""

from __future__ import annotations

import re

Scalar = str | int | float | bool | None

_WORDS: dict[str, Scalar] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"), True),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"), False),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
}
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", re.ASCII)
_INTEGERS = (
    (re.compile(r"[-+]?0[xX][0-9a-fA-F]+", re.ASCII), 16),
    (re.compile(r"[-+]?0[bB][01]+", re.ASCII), 2),
    (re.compile(r"[-+]?0[oO]?[0-7]+", re.ASCII), 8),
    (re.compile(r"[-+]?(0|[1-9][0-9]*)", re.ASCII), 10),
)
_NUMBER_START = frozenset("0123456789+-.")
_LONGEST_NUMBER = 400
"""No number that fits a 64-bit float or integer is written longer; a longer scalar is text."""


def resolve(text: str) -> Scalar:
    """The value of a plain (unquoted, untagged) scalar."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in _NUMBER_START or len(text) > _LONGEST_NUMBER:
        return text
    number = _integer(text.replace("_", ""))
    if number is None and _FLOAT.fullmatch(text):
        real = float(text)
        return int(real) if real.is_integer() and abs(real) < 2**53 else real
    return text if number is None else number


def _integer(text: str) -> int | None:
    for pattern, base in _INTEGERS:
        if pattern.fullmatch(text):
            value = int(text.replace("o", "").replace("O", "") if base == 8 else text, base)
            return value if -(2**63) <= value < 2**64 else None
    return None


def key_text(value: Scalar) -> str | None:
    """A mapping key as JSON text, or None where kubectl cannot use it: `yes: x` has the key "true"."""
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
