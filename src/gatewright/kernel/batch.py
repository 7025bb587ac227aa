"""A change as netlink messages, in one atomic batch: what text needs milliseconds for takes a fraction of one.

Before libnftables sends the smallest change it reads back the tables, chains and sets of the whole node; beside a
kube-proxy with 5,000 services that takes 30 ms. A change knows everything it needs. What is not known here (parts of
the frame, sets of one field with ranges) goes as text.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from gatewright.kernel import elements, expressions
from gatewright.kernel.change import NO_ELEMENTS, Change
from gatewright.kernel.elements import APPEND, CREATE, INET, SUBSYSTEM
from gatewright.kernel.netlink import NESTED, Request, attribute, text_attribute
from gatewright.kernel.table import Chain, Program

_NEW_TABLE, _TABLE_NAME = SUBSYSTEM | 0, 1
_NEW_CHAIN, _DELETE_CHAIN = SUBSYSTEM | 3, SUBSYSTEM | 5
_NEW_RULE, _DELETE_RULE = SUBSYSTEM | 6, SUBSYSTEM | 8
_NEW_OBJECT, _DELETE_OBJECT = SUBSYSTEM | 18, SUBSYSTEM | 20
_CHAIN_TABLE, _CHAIN_NAME = 1, 3
_RULE_TABLE, _RULE_CHAIN, _RULE_EXPRESSIONS = 1, 2, 4
_OBJECT_TABLE, _OBJECT_NAME, _OBJECT_TYPE, _OBJECT_DATA = 1, 2, 3, 4
_COUNTER = b"\0\0\0\1"


def can_send(change: Change) -> bool:
    """Whether everything in the change is known here."""
    sets = (*(edit.part for edit in change.sets), *change.new_sets)
    return all(map(elements.is_known, sets)) and all(
        not chain.hook and all(map(expressions.is_known, chain.rules)) for chain in change.written
    )


def requests(change: Change, table: str) -> Iterator[Request]:
    """The messages of a change, in the order of its text."""
    yield from (_counter(_NEW_OBJECT, table, counter.name) for counter in change.new_counters)
    for number, part in enumerate(change.new_sets, 1):
        yield elements.new_set(table, part, number)
    yield from (_chain(_NEW_CHAIN, table, one.name) for one in change.written if one.name in change.new_chains)
    for entry in change.maps:
        yield from elements.map_entries(False, table, entry.part, entry.gone)
    emptied = [one.name for one in change.written if one.name not in change.new_chains]
    yield from (_emptied(table, name) for name in (*emptied, *change.gone_chains))
    for edit in change.sets:
        yield from elements.set_elements(False, table, edit.part, edit.gone)
        yield from elements.set_elements(True, table, edit.part, edit.added)
    for part in change.new_sets:
        yield from elements.set_elements(True, table, part, part.elements)
    for chain in change.written:
        yield from _rules(table, chain)
    for entry in change.maps:
        yield from elements.map_entries(True, table, entry.part, entry.added)
    yield from (_chain(_DELETE_CHAIN, table, name) for name in change.gone_chains)
    yield from (elements.gone_set(table, name) for name in change.gone_sets)
    yield from (_counter(_DELETE_OBJECT, table, counter.name) for counter in change.gone_counters)


def filling(program: Program) -> Iterator[Request]:
    """The messages that make a table with the sets of a program, as far as they are known here: no rule uses them."""
    yield Request(_NEW_TABLE, CREATE, INET + text_attribute(_TABLE_NAME, program.table))
    known = [part for part in program.sets if elements.is_known(part)]
    for number, part in enumerate(known, 1):
        yield elements.new_set(program.table, part, number)
        yield from elements.set_elements(True, program.table, part, part.elements)


def unfilled(program: Program) -> Program:
    """The program without what `filling` sends."""
    sets = [replace(part, elements=NO_ELEMENTS) if elements.is_known(part) else part for part in program.sets]
    return replace(program, sets=tuple(sets))


def _chain(kind: int, table: str, name: str) -> Request:
    body = INET + text_attribute(_CHAIN_TABLE, table) + text_attribute(_CHAIN_NAME, name)
    return Request(kind, CREATE if kind == _NEW_CHAIN else 0, body)


def _emptied(table: str, name: str) -> Request:
    """All rules of a chain go."""
    return Request(_DELETE_RULE, 0, INET + text_attribute(_RULE_TABLE, table) + text_attribute(_RULE_CHAIN, name))


def _rules(table: str, chain: Chain) -> Iterator[Request]:
    head = INET + text_attribute(_RULE_TABLE, table) + text_attribute(_RULE_CHAIN, chain.name)
    for rule in chain.rules:
        yield Request(
            _NEW_RULE, CREATE | APPEND, head + attribute(_RULE_EXPRESSIONS | NESTED, expressions.expressions(rule))
        )


def _counter(kind: int, table: str, name: str) -> Request:
    body = INET + text_attribute(_OBJECT_TABLE, table) + text_attribute(_OBJECT_NAME, name)
    body += attribute(_OBJECT_TYPE, _COUNTER)
    if kind == _NEW_OBJECT:
        return Request(kind, CREATE, body + attribute(_OBJECT_DATA | NESTED, b""))
    return Request(kind, 0, body)
