"""The difference between two programs, as one transaction of nftables text.

Applied to a table that holds `old`, it leaves exactly `new`. Elements are added and deleted one by one; a chain whose
rules differ is emptied and written anew; sets and chains come before the rules that use them and go after. Where the
difference is larger than the program, replacing the whole table is less work, and is what the text says.
"""

from __future__ import annotations

from collections.abc import Iterator

from gatewright.kernel.table import Chain, Element, Program, Set
from gatewright.kernel.text import counter_declaration, map_elements, rule_text, set_elements, set_type, whole

Change = tuple[frozenset[Element], frozenset[Element]]
"""Elements to delete, elements to add."""
NO_ELEMENTS: frozenset[Element] = frozenset()
SMALL = 1000
"""Changed elements below which a difference is never worth replacing the table."""


def delta(old: Program, new: Program) -> str:
    """The transaction from one program to another; empty when they are equal."""
    if old == new:
        return ""
    if _frame(old) != _frame(new) or _kinds_changed(old, new):
        return whole(new)
    changes = _set_changes(old, new)
    if sum(len(gone) + len(added) for gone, added in changes.values()) > max(SMALL, new.element_count):
        return whole(new)
    table = f"inet {new.table}"
    return "".join(f"{line}\n" for line in _lines(old, new, changes, table))


def _frame(program: Program) -> object:
    """What only a new table can change."""
    hooks = {(chain.name, chain.hook) for chain in program.chains if chain.hook}
    return program.table, hooks, [(part.name, part.field, part.verb) for part in program.maps], program.limits


def _kinds_changed(old: Program, new: Program) -> bool:
    """Whether a name stands for another kind of set."""
    before = {part.name: set_type(part) for part in old.sets}
    return any(before.get(part.name, set_type(part)) != set_type(part) for part in new.sets)


def _set_changes(old: Program, new: Program) -> dict[str, Change]:
    """What changes in each set of the new program. Comparing large sets is what costs, so it is done once."""
    before = {part.name: part.elements for part in old.sets}
    changes: dict[str, Change] = {}
    for part in new.sets:
        was = before.get(part.name, NO_ELEMENTS)
        added = part.elements - was if was else part.elements
        kept = len(part.elements) - len(added)
        changes[part.name] = (was - part.elements if len(was) > kept else NO_ELEMENTS, added)
    return changes


def _lines(old: Program, new: Program, changes: dict[str, Change], table: str) -> Iterator[str]:
    old_sets, new_sets = {part.name: part for part in old.sets}, {part.name: part for part in new.sets}
    old_chains, new_chains = {part.name: part for part in old.chains}, {part.name: part for part in new.chains}
    old_counters, new_counters = frozenset(old.counters), frozenset(new.counters)
    rewritten = [chain for chain in new.chains if old_chains.get(chain.name) != chain]
    gone = [chain for chain in old.chains if chain.name not in new_chains]
    yield from (counter_declaration(new.table, part) for part in new.counters if part not in old_counters)
    yield from (_declaration(table, part) for part in new.sets if part.name not in old_sets)
    yield from (f"add chain {table} {chain.name}" for chain in rewritten if chain.name not in old_chains)
    for was, now in zip(old.maps, new.maps, strict=True):
        yield from _elements("delete", table, was.name, map_elements(was, was.elements - now.elements))
    emptied = [chain for chain in (*rewritten, *gone) if chain.name in old_chains]
    yield from (f"flush chain {table} {chain.name}" for chain in emptied)
    for part in new.sets:
        gone_elements, added = changes[part.name]
        yield from _elements("delete", table, part.name, set_elements(part, gone_elements))
        yield from _elements("add", table, part.name, set_elements(part, added))
    for chain in rewritten:
        yield from _rules(table, chain)
    for was, now in zip(old.maps, new.maps, strict=True):
        yield from _elements("add", table, now.name, map_elements(now, now.elements - was.elements))
    yield from (f"delete chain {table} {chain.name}" for chain in gone)
    yield from (f"delete set {table} {part.name}" for part in old.sets if part.name not in new_sets)
    yield from (f"delete counter {table} {part.name}" for part in old.counters if part not in new_counters)


def _declaration(table: str, part: Set) -> str:
    return f"add set {table} {part.name} {{ {set_type(part)} }}"


def _elements(verb: str, table: str, name: str, words: list[str]) -> Iterator[str]:
    if words:
        yield f"{verb} element {table} {name} {{ {', '.join(words)} }}"


def _rules(table: str, chain: Chain) -> Iterator[str]:
    for rule in chain.rules:
        yield f"add rule {table} {chain.name} {rule_text(rule)}"
