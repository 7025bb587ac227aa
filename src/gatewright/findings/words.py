"""How messages name what they speak of: selectors, pods, and the label somebody may have meant."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence

from gatewright.engine.selectors import describe_requirement, requirements
from gatewright.objects.meta import LabelSelector

MOST_NAMED = 3
MOST_COMPARED = 200
"""Values of a label among which a misspelt one is looked for: among more, some are always near."""


def selector(wanted: LabelSelector | None) -> str:
    """`app=web,tier in (a,b)`; `every label` for one that selects everything."""
    parts = requirements(wanted) if wanted is not None else ()
    return ",".join(map(describe_requirement, parts)) or "any labels"


def some(names: Iterable[object]) -> str:
    """`a, b, c and 4 more`."""
    listed = [str(name) for name in names]
    shown = ", ".join(listed[:MOST_NAMED])
    return f"{shown} and {len(listed) - MOST_NAMED} more" if len(listed) > MOST_NAMED else shown


def meant(wanted: LabelSelector, known: Callable[[str], Sequence[str]]) -> str:
    """The label that comes nearest to one that no pod has: ` (there is name=carts)`. `known` gives a label's values."""
    for key, operator, values in requirements(wanted):
        there = known(key)
        if operator != "In" or set(values) & set(there) or len(there) > MOST_COMPARED:
            continue
        near = [match for value in values for match in difflib.get_close_matches(value, there, 1)]
        if near:
            return f" (there is {key}={near[0]})"
    return ""
