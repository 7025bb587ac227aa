"""A change of a program as one transaction of nftables text, and the change between any two programs.

Applied to a table that holds `old`, it leaves exactly `new`. Elements are added and deleted one by one; a chain whose
rules differ is emptied and written anew; sets and chains come before the rules that use them and go after. Where the
difference is larger than the program, replacing the whole table is less work, and is what the text says.
"""

from __future__ import annotations

from collections.abc import Iterator

from gatewright.kernel.change import NO_ELEMENTS, Change, MapChange, SetChange
from gatewright.kernel.table import Chain, Element, Program, Set
from gatewright.kernel.text import map_elements, rule_text, set_elements, set_type, whole

SMALL = 1000
"""Changed elements below which a difference is never worth replacing the table."""


def delta(old: Program, new: Program) -> str:
    """The transaction from one program to another; empty when they are equal."""
    if old == new:
        return ""
    change = difference(old, new)
    if change is None or change.element_count > max(SMALL, new.element_count):
        return whole(new)
    return change_text(change, new.table)


def difference(old: Program, new: Program) -> Change | None:
    """What leads from one program to another; None where only a new table can."""
    if _frame(old) != _frame(new) or _kinds_changed(old, new):
        return None
    before = {part.name: part.elements for part in old.sets}
    chains = {chain.name: chain for chain in old.chains}
    new_sets, new_chains = {part.name for part in new.sets}, {chain.name for chain in new.chains}
    edits = [_set_change(part, before[part.name]) for part in new.sets if part.name in before]
    return Change(
        tuple(part for part in new.sets if part.name not in before),
        tuple(part.name for part in old.sets if part.name not in new_sets),
        tuple(edit for edit in edits if edit.gone or edit.added),
        tuple(
            MapChange(now, was.elements - now.elements, now.elements - was.elements)
            for was, now in zip(old.maps, new.maps, strict=True)
            if was != now
        ),
        tuple(chain for chain in new.chains if chains.get(chain.name) != chain),
        frozenset(new_chains - chains.keys()),
        tuple(chain.name for chain in old.chains if chain.name not in new_chains),
        tuple(counter for counter in new.counters if counter not in frozenset(old.counters)),
        tuple(counter for counter in old.counters if counter not in frozenset(new.counters)),
    )


def change_text(change: Change, table: str) -> str:
    """The transaction that makes the change."""
    return "".join(f"{line}\n" for line in _lines(change, f"inet {table}"))


def declaration(table: str, part: Set) -> str:
    """The line that makes a set, without elements. `table` stands with its family."""
    return f"add set {table} {part.name} {{ {set_type(part)} }}"


def _frame(program: Program) -> object:
    """What only a new table can change."""
    hooks = {(chain.name, chain.hook) for chain in program.chains if chain.hook}
    return program.table, hooks, [(part.name, part.field, part.verb) for part in program.maps], program.limits


def _kinds_changed(old: Program, new: Program) -> bool:
    """Whether a name stands for another kind of set."""
    before = {part.name: set_type(part) for part in old.sets}
    return any(before.get(part.name, set_type(part)) != set_type(part) for part in new.sets)


def _set_change(part: Set, was: frozenset[Element]) -> SetChange:
    """What changes in a set. Comparing large sets is what costs, so it is done once."""
    added = part.elements - was
    kept = len(part.elements) - len(added)
    return SetChange(part, was - part.elements if len(was) > kept else NO_ELEMENTS, added)


def _lines(change: Change, table: str) -> Iterator[str]:
    yield from (f"add counter {table} {counter.name}" for counter in change.new_counters)
    yield from (declaration(table, part) for part in change.new_sets)
    yield from (f"add chain {table} {chain.name}" for chain in change.written if chain.name in change.new_chains)
    for entry in change.maps:
        yield from _elements("delete", table, entry.part.name, map_elements(entry.part, entry.gone))
    emptied = [chain.name for chain in change.written if chain.name not in change.new_chains]
    yield from (f"flush chain {table} {name}" for name in (*emptied, *change.gone_chains))
    for edit in change.sets:
        yield from _elements("delete", table, edit.part.name, set_elements(edit.part, edit.gone))
        yield from _elements("add", table, edit.part.name, set_elements(edit.part, edit.added))
    for part in change.new_sets:
        yield from _elements("add", table, part.name, set_elements(part, part.elements))
    for chain in change.written:
        yield from _rules(table, chain)
    for entry in change.maps:
        yield from _elements("add", table, entry.part.name, map_elements(entry.part, entry.added))
    yield from (f"delete chain {table} {name}" for name in change.gone_chains)
    yield from (f"delete set {table} {name}" for name in change.gone_sets)
    yield from (f"delete counter {table} {counter.name}" for counter in change.gone_counters)


def _elements(verb: str, table: str, name: str, words: list[str]) -> Iterator[str]:
    if words:
        yield f"{verb} element {table} {name} {{ {', '.join(words)} }}"


def _rules(table: str, chain: Chain) -> Iterator[str]:
    for rule in chain.rules:
        yield f"add rule {table} {chain.name} {rule_text(rule)}"
