"""The simplest pod that a selector matches: it stands for the pods of a component where no manifests are given.

A port that has a name alone has some number on that pod, which nothing else there uses.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from gatewright.engine.ports import LAST_PORT, PortSet, Protocol, Ranges, contains
from gatewright.engine.selectors import Requirement, matches, requirement_holds, requirements
from gatewright.intent.model import Port
from gatewright.intent.numbers import port_set
from gatewright.objects.meta import LabelSelector

SOME_VALUE = "any"


def simplest_labels(selector: LabelSelector) -> dict[str, str] | None:
    """The fewest labels that a selector matches, the first values in order; None where nothing can match it."""
    return labels_like({}, selector)


def labels_like(sample: Mapping[str, str], *selectors: LabelSelector) -> dict[str, str] | None:
    """The labels nearest to a sample that every selector matches; None where nothing can meet all of them."""
    by_key: dict[str, list[Requirement]] = {}
    for requirement in (one for selector in selectors for one in requirements(selector)):
        by_key.setdefault(requirement[0], []).append(requirement)
    labels = dict(sample)
    for key, own in by_key.items():
        if not all(requirement_holds(one, labels) for one in own):
            labels.pop(key, None)
            if (value := _value(own)) is not None:
                labels[key] = value
    return labels if all(matches(selector, labels) for selector in selectors) else None


def _value(own: list[Requirement]) -> str | None:
    """The value of one key; None where it is best left out."""
    wanted = [set(values) for _, operator, values in own if operator == "In"]
    if not wanted and all(operator != "Exists" for _, operator, _ in own):
        return None
    unwanted = {value for _, operator, values in own if operator == "NotIn" for value in values}
    candidates = sorted(set.intersection(*wanted) - unwanted) if wanted else []
    if wanted or SOME_VALUE not in unwanted:
        return candidates[0] if candidates else None if wanted else SOME_VALUE
    return next(text for number in range(len(unwanted) + 1) if (text := f"{SOME_VALUE}{number}") not in unwanted)


def assumed_numbers(ports: Iterable[Port]) -> dict[tuple[str, Protocol], Ranges]:
    """A number for each port that has a name alone: the highest that are free."""
    every = tuple(ports)
    used: PortSet = port_set((port for port in every if not port.is_named and port.protocol is not None), {})
    found: dict[tuple[str, Protocol], Ranges] = {}
    number = LAST_PORT
    for protocol, name in sorted({(port.protocol, port.name) for port in every if port.protocol and port.is_named}):
        while number > 1 and contains(used.ranges(protocol), number):
            number -= 1
        found[name, protocol] = ((number, number),)
        number -= 1
    return found
