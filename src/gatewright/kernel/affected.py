"""Whose connections a change of the program can forbid, so that only those are looked at.

Most changes forbid nothing: a peer that comes is one more element in a set of what is allowed. Reading connection
tracking is the most expensive thing after a change, so it is done only for the pods of classes in which something
allows less, or denies more, than before. Where that is not plain, a class counts as one of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from gatewright.engine.model import Action
from gatewright.kernel.change import Change, SetChange
from gatewright.kernel.classes import Addresses, PodClass
from gatewright.kernel.table import ADDRESS_FIELD

_FAMILY = {field: family for family, field in ADDRESS_FIELD.items()}


def affected(change: Change, classes: Iterable[PodClass]) -> Addresses:
    """The addresses of the pods to which the change may forbid something; `classes` are those after the change.

    These are pods that come into a class, and those of classes whose rules are written anew or whose sets shrink.
    """
    found = {(_FAMILY[entry.part.field], number) for entry in change.maps for number, _ in entry.added}
    written = {chain.name for chain in change.written} | {_parent(chain.name) for chain in change.written}
    edits: defaultdict[str, list[SetChange]] = defaultdict(list)
    for edit in change.sets:
        edits[_parent(edit.part.name)].append(edit)
    for one in classes if edits or written else ():
        if one.name in written or any(_forbids(one, edit) for edit in edits.get(one.name, ())):
            found |= one.addresses
    return frozenset(found)


def _parent(name: str) -> str:
    """The class that a set or an inner chain belongs to."""
    return name.rpartition("/")[0]


def _forbids(one: PodClass, edit: SetChange) -> bool:
    stage, dot, _ = edit.part.name.rpartition("/")[2].rpartition(".")
    actions = {each.name: each.action for each in one.stages}
    match actions.get(stage + dot):
        case Action.ACCEPT:
            return bool(edit.gone)
        case Action.DENY:
            return bool(edit.added)
    return True
