"""All rules, by id, and which of them a run asks.

A new rule is a function in the module of its family; a new family is one line here. The first digit of an id names the
family, and ids are never given twice.
"""

from __future__ import annotations

from collections.abc import Iterable

from gatewright.errors import GatewrightError
from gatewright.findings import (
    blocks,
    directions,
    dns,
    isolation,
    peers,
    ports,
    reading,
    redundant,
    selects,
    support,
    suppression,
    tiers,
)
from gatewright.findings.rule import Description, Rule

FAMILIES = {
    "GW0": "The input itself, and suppressions",
    "GW1": "Whom a policy is about",
    "GW2": "Whom a rule names",
    "GW3": "Which ports",
    "GW4": "Addresses",
    "GW5": "What could be left out",
    "GW6": "What is open, and what is missing",
    "GW7": "Directions",
    "GW8": "Cluster-wide policies",
    "GW9": "What clusters serve and networks enforce",
}
_MODULES = (selects, peers, ports, blocks, redundant, isolation, dns, directions, tiers, support)
RULES: dict[str, Rule] = {
    found.text.id: found
    for found in sorted(
        (value for module in _MODULES for value in vars(module).values() if isinstance(value, Rule)),
        key=lambda one: one.text.id,
    )
}
DESCRIPTIONS: dict[str, Description] = {
    text.id: text
    for text in (*reading.DESCRIPTIONS, *suppression.DESCRIPTIONS, *(found.text for found in RULES.values()))
}
ALWAYS = (reading.INVALID.id,)
"""What is reported whatever is selected: without it the rest would be about another input."""
EVERY = "ALL"


class UnknownRule(GatewrightError):
    """An id, or the beginning of one, that no rule has."""

    def __init__(self, code: str) -> None:
        super().__init__(f"no rule {code!r}; write an id (GW101), the beginning of some (GW1) or {EVERY}")


def choose(select: Iterable[str] = (), ignore: Iterable[str] = (), extend: Iterable[str] = ()) -> frozenset[str]:
    """The ids that a run asks: of `select` and `ignore` the longer one counts, as in ruff. Raises UnknownRule.

    Without `select` all rules are asked but those that are off by default; `extend` adds to either.
    """
    wanted, unwanted, more = _codes(select), _codes(ignore), _codes(extend)
    return frozenset(
        ident
        for ident, text in DESCRIPTIONS.items()
        if ident in ALWAYS or _length(ident, unwanted) < _wanted(ident, text, wanted, more)
    )


def _wanted(ident: str, text: Description, wanted: list[str], more: list[str]) -> int:
    """How precisely an id is asked for: 0 by default or by ALL, -1 not at all."""
    by_default = 0 if not wanted and text.default else -1
    return max(by_default, _length(ident, wanted), _length(ident, more)) + 0


def _codes(given: Iterable[str]) -> list[str]:
    codes = [code.strip().upper() for text in given for code in text.split(",") if code.strip()]
    for code in codes:
        if code != EVERY and not any(ident.startswith(code) for ident in DESCRIPTIONS):
            raise UnknownRule(code)
    return codes


def _length(ident: str, codes: list[str]) -> int:
    """The length of the longest code that an id begins with; ALL has none, and -1 stands for no code at all."""
    lengths = [0 if code == EVERY else len(code) for code in codes if code == EVERY or ident.startswith(code)]
    return max(lengths, default=-1)


def explained(code: str) -> list[Description]:
    """The rules whose id begins so, or whose name it is; all of them for `all`. Raises UnknownRule."""
    wanted = code.strip()
    found = [
        text
        for ident, text in DESCRIPTIONS.items()
        if wanted.upper() == EVERY or text.name == wanted.lower() or ident.startswith(wanted.upper())
    ]
    if not found:
        raise UnknownRule(code)
    return found
