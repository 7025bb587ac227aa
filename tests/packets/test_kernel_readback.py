"""Whether the kernel holds a program is found without reading its elements, and every difference is."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings

from gatewright.kernel import elements, readback
from gatewright.kernel.apply import apply
from gatewright.kernel.errors import NftRefused
from gatewright.kernel.nft import Command, Library, Nft, NodeNft
from gatewright.kernel.node import node_program
from gatewright.kernel.options import Options
from gatewright.kernel.preflight import everything
from gatewright.kernel.readback import holds, read_back
from gatewright.kernel.table import Program, Set
from tests.packets.netns import Namespace
from tests.unit.kernel import cases
from tests.unit.kernel.cases import World

pytestmark = pytest.mark.packets
FEW = settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
WHOLE = everything("gatewright")


@pytest.fixture
def without_listings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody may read the elements of a whole table."""

    def unexpected(*_: object) -> None:
        raise AssertionError("the table was listed with its elements")

    monkeypatch.setattr(readback, "read_back", unexpected)


@FEW
@given(cases.worlds(), cases.all_options)
def test_what_was_applied_is_held(empty: Namespace, without_listings: None, where: World, options: Options) -> None:
    program = node_program(where, range(4), options=options, guards=cases.GUARDS)

    def work() -> bool:
        apply(Nft(), program)
        return holds(Nft(), program)

    assert empty.run(work)


def test_both_back_ends_find_it_held(empty: Namespace, without_listings: None) -> None:
    def work() -> list[bool]:
        apply(Nft(), WHOLE)
        return [holds(Nft(backend), WHOLE) for backend in (Library(), Command())]

    assert empty.run(work) == [True, True]


def with_set(part: Set) -> Program:
    """`WHOLE` with another set of that name."""
    return replace(WHOLE, sets=tuple(part if one.name == part.name else one for one in WHOLE.sets))


def others() -> list[Program]:
    """Programs that differ from `WHOLE` in one set or map by one element: one fewer, one more, another."""
    found: list[Program] = []
    for part in WHOLE.sets:
        (first, *_) = part.elements
        more = tuple(number + 100 if at < 1 + part.interval else number for at, number in enumerate(first))
        changes = (part.elements - {first}, part.elements | {more}, part.elements - {first} | {more})
        found += (with_set(replace(part, elements=elements)) for elements in changes)
    for at, entries in enumerate(WHOLE.maps):
        for pairs in (frozenset(), frozenset({(1, "class"), (2, "class")}), frozenset({(1, "destination")})):
            mapped = replace(entries, elements=pairs)
            found.append(replace(WHOLE, maps=(*WHOLE.maps[:at], mapped, *WHOLE.maps[at + 1 :])))
    chains = tuple(replace(one, rules=one.rules[:-1]) if one.name == "class" else one for one in WHOLE.chains)
    return [*found, replace(WHOLE, chains=chains), replace(WHOLE, counters=WHOLE.counters[1:])]


@pytest.mark.parametrize("program", others())
def test_every_difference_is_found(empty: Namespace, program: Program) -> None:
    def work() -> list[bool]:
        apply(Nft(), WHOLE)
        with NodeNft() as nft:
            return [holds(nft, program), holds(nft, WHOLE)]

    assert empty.run(work) == [False, True]


def test_what_others_add_is_found(empty: Namespace) -> None:
    def work() -> list[bool]:
        found = []
        for text in (
            "add rule inet gatewright class accept",
            "add set inet gatewright stranger { type ipv4_addr; }",
            "add element inet gatewright exact { ::9 . 17 . 9 }",
            "add chain inet gatewright forward { policy drop; }",
            "delete table inet gatewright",
        ):
            apply(Nft(), WHOLE)
            Nft().run(text)
            found.append(holds(Nft(), WHOLE))
        return found

    assert empty.run(work) == [False] * 5


def test_a_kernel_that_writes_elements_otherwise_costs_a_listing(
    empty: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readback, "READ_AGAIN", (0.0,))
    monkeypatch.setattr(elements, "dumped", lambda _: {b"something else"})
    listed: list[str] = []

    def noted(nft: Nft, table: str) -> Program | None:
        listed.append(table)
        return read_back(nft, table)

    monkeypatch.setattr(readback, "read_back", noted)

    def work() -> bool:
        apply(Nft(), WHOLE)
        return holds(Nft(), WHOLE)

    assert empty.run(work)
    assert listed == ["gatewright"]


def test_tables_of_others_that_cannot_be_listed_do_not_matter(
    empty: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise NftRefused("an expression that this nft does not know")

    monkeypatch.setattr(Nft, "outline", refuse)

    def work() -> list[bool]:
        apply(Nft(), WHOLE)
        return [holds(Nft(), program) for program in (WHOLE, others()[0])]

    assert empty.run(work) == [True, False]


def test_a_large_set_that_is_another_leaves_the_socket_usable(empty: Namespace) -> None:
    """A question whose answer is not read to its end keeps a socket from the next."""
    exact = next(part for part in WHOLE.sets if part.name == "exact")
    many = replace(exact, elements=frozenset((number, 6, 80) for number in range(1, 20_000)))
    held = with_set(many)

    def work() -> list[bool]:
        apply(Nft(), held)
        with NodeNft() as nft:
            return [holds(nft, WHOLE), holds(nft, held)]

    assert empty.run(work) == [False, True]
