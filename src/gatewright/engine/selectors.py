"""Label selectors, answered for all endpoints at once.

`Selectors` indexes labels as bit sets, so that a selector costs a few big-integer operations whatever the number of
pods. In and Exists need the key; NotIn and DoesNotExist also match what lacks the key [types].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain

from gatewright.engine.podset import NO_PODS, PodSet
from gatewright.objects.meta import LabelSelector

Requirement = tuple[str, str, tuple[str, ...]]
"""(key, operator, sorted values)."""
Canonical = tuple[Requirement, ...]


def requirements(selector: LabelSelector) -> Canonical:
    """The selector as sorted (key, operator, values): equal selectors are equal however they are written."""
    found: list[Requirement] = [(key, "In", (value,)) for key, value in selector.match_labels.items()]
    found += [(one.key, one.operator, tuple(sorted(set(one.values)))) for one in selector.match_expressions]
    return tuple(sorted(set(found)))


OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist")


def is_valid(selector: LabelSelector) -> bool:
    """Whether every operator exists. A server accepts others in custom resources, and nobody can apply them."""
    return all(
        one.operator in OPERATORS and (bool(one.values) == (one.operator in OPERATORS[:2]))
        for one in selector.match_expressions
    )


def requirement_holds(requirement: Requirement, labels: Mapping[str, str]) -> bool:
    """Whether one requirement holds for a set of labels. Raises ValueError for an operator that does not exist."""
    key, operator, values = requirement
    if operator == "In":
        return key in labels and labels[key] in values
    if operator == "NotIn":
        return key not in labels or labels[key] not in values
    if operator == "Exists":
        return key in labels
    if operator == "DoesNotExist":
        return key not in labels
    raise ValueError(f"not a selector operator: {operator}")


def matches(selector: LabelSelector, labels: Mapping[str, str]) -> bool:
    """Whether a selector matches a set of labels."""
    return all(requirement_holds(requirement, labels) for requirement in requirements(selector))


def describe_requirement(requirement: Requirement) -> str:
    """The requirement as kubectl writes it: `app=web`, `tier in (a,b)`, `!debug`."""
    key, operator, values = requirement
    if operator == "In" and len(values) == 1:
        return f"{key}={values[0]}"
    if operator in ("In", "NotIn"):
        return f"{key} {operator.lower()} ({','.join(values)})"
    return key if operator == "Exists" else f"!{key}"


class Selectors:
    """An index of label sets; position i of the sequence is bit i of the answers."""

    def __init__(self, labels: Sequence[Mapping[str, str]]) -> None:
        self._all = PodSet.first(len(labels))
        alike: dict[tuple[tuple[str, str], ...], list[int]] = {}
        for position, own in enumerate(labels):
            alike.setdefault(tuple(own.items()), []).append(position)
        self._carriers: dict[str, dict[str, list[list[int]]]] = {}
        for items, positions in alike.items():
            for key, value in items:
                self._carriers.setdefault(key, {}).setdefault(value, []).append(positions)
        self._values: dict[tuple[str, str], PodSet] = {}
        self._keys: dict[str, PodSet] = {}
        self._answers: dict[Canonical, PodSet] = {}

    def select(self, selector: LabelSelector) -> PodSet:
        """Everything the selector matches; an empty selector matches everything."""
        canonical = requirements(selector)
        answer = self._answers.get(canonical)
        if answer is None:
            answer = self._all
            for requirement in canonical:
                answer &= self._requirement(requirement)
            self._answers[canonical] = answer
        return answer

    def _requirement(self, requirement: Requirement) -> PodSet:
        key, operator, values = requirement
        if operator in ("In", "NotIn"):
            found = NO_PODS
            for value in values:
                found |= self._with_value(key, value)
        elif operator in ("Exists", "DoesNotExist"):
            found = self._with_key(key)
        else:
            raise ValueError(f"not a selector operator: {operator}")
        return self._all - found if operator in ("NotIn", "DoesNotExist") else found

    def _with_value(self, key: str, value: str) -> PodSet:
        cached = self._values.get((key, value))
        if cached is None:
            groups = self._carriers.get(key, {}).get(value, ())
            cached = self._values[key, value] = PodSet.of(chain.from_iterable(groups))
        return cached

    def _with_key(self, key: str) -> PodSet:
        cached = self._keys.get(key)
        if cached is None:
            values = self._carriers.get(key, {}).values()
            cached = self._keys[key] = PodSet.of(chain.from_iterable(chain.from_iterable(values)))
        return cached
