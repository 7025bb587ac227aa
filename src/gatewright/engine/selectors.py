"""Label selectors, answered for all endpoints at once.

`Selectors` indexes labels as bit sets, so that a selector costs a few big-integer operations whatever the number of
pods. In and Exists need the key; NotIn and DoesNotExist also match what lacks the key [types].
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from itertools import chain
from typing import TypeVar

from gatewright.engine.layers import Layers, variant
from gatewright.engine.podset import NO_PODS, PodSet
from gatewright.objects.meta import LabelSelector

Requirement = tuple[str, str, tuple[str, ...]]
"""(key, operator, sorted values)."""
Canonical = tuple[Requirement, ...]


def requirements(selector: LabelSelector) -> Canonical:
    """The selector as sorted (key, operator, values): equal selectors are equal however they are written."""
    if not selector.match_expressions and len(selector.match_labels) == 1:
        [(key, value)] = selector.match_labels.items()
        return ((key, "In", (value,)),)
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


def holds(canonical: Canonical, labels: Mapping[str, str]) -> bool:
    """Whether all requirements hold for a set of labels."""
    return all(requirement_holds(requirement, labels) for requirement in canonical)


def matches(selector: LabelSelector, labels: Mapping[str, str]) -> bool:
    """Whether a selector matches a set of labels."""
    return holds(requirements(selector), labels)


def describe_requirement(requirement: Requirement) -> str:
    """The requirement as kubectl writes it: `app=web`, `tier in (a,b)`, `!debug`."""
    key, operator, values = requirement
    if operator == "In" and len(values) == 1:
        return f"{key}={values[0]}"
    if operator in ("In", "NotIn"):
        return f"{key} {operator.lower()} ({','.join(values)})"
    return key if operator == "Exists" else f"!{key}"


LabelChange = tuple[int, Mapping[str, str] | None, Mapping[str, str] | None]
"""A position whose labels were these and are now those; None where nobody was or is."""


class Selectors:
    """An index of label sets. Position i of the sequence is bit i of the answers, unless `positions` says otherwise."""

    def __init__(self, labels: Iterable[Mapping[str, str]], positions: Iterable[int] | None = None) -> None:
        alike: dict[tuple[tuple[str, str], ...], list[int]] = {}
        everyone = []
        for position, own in enumerate(labels) if positions is None else zip(positions, labels, strict=True):
            alike.setdefault(tuple(own.items()), []).append(position)
            everyone.append(position)
        self._all = PodSet.of(everyone)
        self._carriers: dict[str, dict[str, list[list[int]]]] = {}
        for items, carriers in alike.items():
            for key, value in items:
                self._carriers.setdefault(key, {}).setdefault(value, []).append(carriers)
        self._moved: Layers[int, Mapping[str, str]] = Layers({})
        self.overlay = 0
        """How many moves were laid over the index since it was made: a new one pays when they are many."""
        self._values: dict[tuple[str, str], PodSet] = {}
        self._keys: dict[str, PodSet] = {}
        self._answers: dict[Canonical, PodSet] = {}

    def change(self, changes: Sequence[LabelChange]) -> Selectors:
        """The index of the next label sets. The first index stays; what moved since is laid over it."""
        following = variant(self)
        following._moved = self._moved.put({position: labels or {} for position, _, labels in changes})
        following.overlay += len(changes)
        following._values, following._keys, following._answers = dict(self._values), dict(self._keys), {}
        for position, before, after in changes:
            old, new = before or {}, after or {}
            _replace(following._values, position, old.items(), new.items())
            _replace(following._keys, position, old.keys(), new.keys())
            if after is None or before is None:
                following._all = following._all.put(position, after is not None)
        return following

    def select(self, selector: LabelSelector) -> PodSet:
        """Everything the selector matches; an empty selector matches everything."""
        return self.matching(requirements(selector))

    def matching(self, canonical: Canonical) -> PodSet:
        """Everything of which all requirements hold."""
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
            cached = self._values[key, value] = self._today(groups, lambda labels: labels.get(key) == value)
        return cached

    def _with_key(self, key: str) -> PodSet:
        cached = self._keys.get(key)
        if cached is None:
            groups = chain.from_iterable(self._carriers.get(key, {}).values())
            cached = self._keys[key] = self._today(groups, lambda labels: key in labels)
        return cached

    def _today(self, groups: Iterable[list[int]], has: Callable[[Mapping[str, str]], bool]) -> PodSet:
        """What the first index says, with the positions that moved since judged by their labels of today."""
        found = PodSet.of(list(chain.from_iterable(groups)))
        if not self.overlay:
            return found
        today = [position for position, labels in self._moved.items() if has(labels)]
        return found - PodSet.of(list(self._moved)) | PodSet.of(today)


Held = TypeVar("Held", str, tuple[str, str])


def _replace(memo: dict[Held, PodSet], position: int, old: Set[Held], new: Set[Held]) -> None:
    """Take a position out of the sets of what it no longer has, and into those of what it has now."""
    for held in old ^ new:
        if held in memo:
            memo[held] = memo[held].put(position, held in new)
