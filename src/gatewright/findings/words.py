"""How messages name what they speak of: selectors, pods, and the label somebody may have meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from gatewright.engine.model import Endpoint
from gatewright.engine.selectors import describe_requirement, requirements
from gatewright.objects.meta import LabelSelector

MOST_NAMED = 3


def selector(wanted: LabelSelector | None) -> str:
    """`app=web,tier in (a,b)`; `every label` for one that selects everything."""
    parts = requirements(wanted) if wanted is not None else ()
    return ",".join(map(describe_requirement, parts)) or "any labels"


def some(names: Iterable[object]) -> str:
    """`a, b, c and 4 more`."""
    listed = [str(name) for name in names]
    shown = ", ".join(listed[:MOST_NAMED])
    return f"{shown} and {len(listed) - MOST_NAMED} more" if len(listed) > MOST_NAMED else shown


def meant(wanted: LabelSelector, endpoints: Sequence[Endpoint]) -> str:
    """The label of these pods that comes nearest to one that none of them has: ` (there is name=carts)`."""
    for key, operator, values in requirements(wanted):
        if operator != "In":
            continue
        known = sorted({one.labels[key] for one in endpoints if key in one.labels})
        if set(values) & set(known):
            continue
        near = [match for value in values for match in difflib.get_close_matches(value, known, 1)]
        if near:
            return f" (there is {key}={near[0]})"
    return ""
