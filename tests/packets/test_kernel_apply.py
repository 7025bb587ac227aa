"""What the kernel is given is what it holds: whole programs, differences, drift, refusals, and both ways to run nft."""

from __future__ import annotations

import dataclasses
import errno
import ipaddress
import itertools
import re
from unittest import mock

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from gatewright.engine.model import Direction, RuleOrigin
from gatewright.engine.ports import PortSet
from gatewright.kernel import apply as apply_module
from gatewright.kernel.apply import apply, apply_change, generation, remove, replace
from gatewright.kernel.batch import can_send
from gatewright.kernel.change import Change
from gatewright.kernel.delta import delta, difference
from gatewright.kernel.errors import NftRefused
from gatewright.kernel.guards import Guards
from gatewright.kernel.netlink import NETLINK_NETFILTER, Netlink, attributes, dump
from gatewright.kernel.nft import Library, Mode, Nft, NodeNft, Outcome
from gatewright.kernel.node import node_program
from gatewright.kernel.options import Options
from gatewright.kernel.preflight import everything
from gatewright.kernel.readback import holds, read_back
from gatewright.kernel.staging import PIECE
from gatewright.kernel.table import Program
from gatewright.kernel.text import whole
from tests.packets.netns import Namespace
from tests.unit.kernel import cases
from tests.unit.kernel.cases import World, accept, isolated, tcp, world

pytestmark = pytest.mark.packets
IN = Direction.INGRESS
FEW = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


Ports = int | tuple[int, int]


def program_of(*ports: Ports, pods: int = 3) -> Program:
    """A node whose first pod accepts these TCP ports from the second."""
    return node_program(world(pods, ingress={0: isolated(IN, accept(tcp(*ports), pods=(1,)))}), range(pods))


@FEW
@given(cases.worlds(), cases.all_options)
def test_every_program_reads_back_as_it_was_applied(empty: Namespace, where: World, options: Options) -> None:
    program = node_program(where, range(4), options=options, guards=cases.GUARDS)

    def work() -> Program | None:
        nft = Nft(Library())
        apply(nft, program)
        return read_back(nft)

    assert empty.run(work) == program


@FEW
@given(cases.worlds(), cases.worlds(), cases.all_options)
def test_a_difference_leaves_exactly_the_new_program(
    empty: Namespace, first: World, second: World, options: Options
) -> None:
    fewer = dataclasses.replace(cases.GUARDS, links=frozenset(), known=frozenset(cases.pod(7).addresses))
    old = node_program(first, range(4), options=options, guards=cases.GUARDS)
    new = node_program(second, range(3), options=options, guards=fewer)

    def work() -> Program | None:
        nft = Nft(Library())
        nft.run(whole(old))
        change = delta(old, new)
        if change:
            nft.run(change)
        return read_back(nft)

    assert empty.run(work) == new


SOME_PORTS = st.sets(st.sampled_from((80, 81, 443, (90, 99), (90, 95))), max_size=4)


@FEW
@given(st.lists(SOME_PORTS, min_size=2, max_size=5))
def test_a_chain_of_small_differences_leaves_the_last_program(empty: Namespace, steps: list[set[Ports]]) -> None:
    programs = [program_of(*ports) for ports in steps]

    def work() -> Program | None:
        nft = Nft(Library())
        nft.run(whole(programs[0]))
        for old, new in itertools.pairwise(programs):
            if old != new:
                nft.run(delta(old, new))
        return read_back(nft)

    assert empty.run(work) == programs[-1]


def test_both_back_ends_apply_and_read_back(empty: Namespace, nft: Nft) -> None:
    program = everything()

    def work() -> list[Program | None]:
        apply(nft, program)
        found = [read_back(nft, program.table)]
        remove(nft, program.table)
        return [*found, read_back(nft, program.table)]

    assert empty.run(work) == [program, None]


def test_a_small_change_is_a_few_lines() -> None:
    many = range(1, 400, 2)
    assert delta(program_of(*many), program_of(*many, 8080)).splitlines() == [
        "add element inet gatewright ingress/default/policy/ports4 { 10.77.0.2 . 6 . 8080 }",
        "add element inet gatewright ingress/default/policy/ports6 { fd77::2 . 6 . 8080 }",
    ]
    assert delta(program_of(80), program_of(80)) == ""


def test_nothing_is_sent_when_nothing_changed(empty: Namespace) -> None:
    def work() -> int:
        last = apply(Nft(), program_of(80))
        apply(Nft(), program_of(80), last)
        return generation() - (last.generation or 0)

    assert empty.run(work) == 0


def test_drift_is_seen_and_repaired(empty: Namespace, nft: Nft) -> None:
    drifts = (
        "flush ruleset",
        "flush chain inet gatewright police",
        "insert rule inet gatewright forward accept",
        "add rule inet gatewright forward counter",
        "add element inet gatewright ingress/default/policy/ports4 { 10.77.0.3 . 6 . 80 }",
        "delete element inet gatewright ingress4 { 10.77.0.1 }",
        "add chain inet gatewright forward { policy drop; }",
        "add counter inet gatewright stranger",
        "add limit inet gatewright stranger { rate 1/minute }",
        "add set inet gatewright stranger { type mark; }",
    )

    def work() -> list[str]:
        unseen = []
        for drift in drifts:
            last = apply(nft, program_of(80))
            nft.run(drift)
            if read_back(nft) == program_of(80):
                unseen.append(f"not seen: {drift}")
            apply(nft, program_of(80, 81), last)
            if read_back(nft) != program_of(80, 81):
                unseen.append(f"not repaired: {drift}")
        return unseen

    assert empty.run(work) == []


def test_a_refused_change_changes_nothing_and_names_the_line(empty: Namespace, nft: Nft) -> None:
    def work() -> tuple[str, Program | None]:
        apply(nft, program_of(80))
        with pytest.raises(NftRefused) as refused:
            nft.run("delete table inet gatewright\nadd rule inet nowhere forward accept\n")
        return str(refused.value), read_back(nft)

    message, held = empty.run(work)
    assert held == program_of(80)
    assert "`add rule inet nowhere forward accept`: " in message
    assert "No such file or directory" in message
    assert "\n" not in message


def test_our_table_is_the_only_one_touched(empty: Namespace, nft: Nft) -> None:
    def work() -> bool:
        nft.run("add table inet other\nadd chain inet other keep\n")
        apply(nft, program_of(80))
        remove(nft)
        remove(nft)
        return nft.list_table("other") is not None

    assert empty.run(work)


def test_another_table_name_stands_beside(empty: Namespace, nft: Nft) -> None:
    options = Options(table="second", revoked_mask=0x2000)
    program = node_program(world(1, ingress={0: isolated(IN)}), [0], options=options)

    def work() -> list[Program | None]:
        apply(nft, program_of(80))
        apply(nft, program)
        return [read_back(nft), read_back(nft, "second")]

    assert empty.run(work) == [program_of(80), program]


def test_a_large_program_is_applied_and_read_back(empty: Namespace) -> None:
    program = program_of(*range(1, 40000, 2))
    assert program.element_count > 40000

    def work() -> bool:
        apply(Nft(), program)
        return holds(Nft(), program)

    assert empty.run(work)


class Small:
    """A back end that takes no large transaction, as the kernel takes none of an unprivileged process."""

    def __init__(self) -> None:
        self.held: list[bool] = []

    def execute(self, text: str, mode: Mode) -> Outcome:
        if mode is Mode.RUN:
            if text.count(" . ") > 2 * PIECE + 100:
                return Outcome(False, "", "netlink: Error: Could not process rule: Message too long")
            listed = Library().execute("list chains inet", Mode.LIST)
            self.held.append('"forward"' in listed.output)
        return Library().execute(text, mode)


@pytest.mark.parametrize("first", [None, program_of(80)], ids=["from nothing", "from another program"])
def test_a_program_too_large_for_a_message_comes_into_force_at_once(
    empty: Namespace, first: Program | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_large(*_: object) -> None:
        raise OSError(errno.EMSGSIZE, "Message too long")

    monkeypatch.setattr(Netlink, "batch", too_large)
    other = RuleOrigin("NetworkPolicy", "default", "large")
    many = isolated(IN, accept(tcp(*range(1, 20000, 2)), pods=(1,)), origin=other)
    program = node_program(world(3, ingress={0: many}), range(3))
    backend = Small()

    def work() -> tuple[Program | None, Program | None]:
        if first is not None:
            Nft().run(whole(first))
        last = apply(Nft(backend), program)
        assert last.generation == generation()
        return read_back(Nft()), apply(Nft(), program, last).program

    assert empty.run(work) == (program, program)
    assert len(backend.held) > 5
    assert set(backend.held) == {first is not None}


@FEW
@given(cases.worlds(), cases.worlds())
def test_a_change_leaves_exactly_the_new_program(empty: Namespace, first: World, second: World) -> None:
    old, new = node_program(first, range(4)), node_program(second, range(3))
    change = difference(old, new)
    assert change is not None
    assert change.after(old) == new

    def work() -> Program | None:
        nft = Nft(Library())
        replace(nft, old)
        apply_change(nft, change)
        return read_back(nft)

    assert empty.run(work) == new


DENIALS = Options(log_group=5, counters=True)


@FEW
@given(cases.worlds(), cases.worlds(), st.sampled_from((Options(), DENIALS)))
def test_the_kernel_has_the_same_rules_by_messages_as_by_text(
    empty: Namespace, first: World, second: World, options: Options
) -> None:
    old, new = (node_program(where, range(4), options=options) for where in (first, second))
    change = difference(old, new)
    assert change is not None
    assume(can_send(change))

    def work() -> None:
        nft = Nft(Library())
        replace(nft, old)
        apply_change(nft, change)
        assert read_back(nft) == new
        sent = rules_held()
        replace(nft, new)
        assert sent == rules_held()

    empty.run(work)


SWAP_OF_ONE_BYTE = re.compile(re.escape(b"\x40\0\1\0\x0e\0\1\0byteorder\0") + b".{46}", re.DOTALL)
"""nft swaps the bytes of a protocol number before it looks for it among ranges; it has one, so nothing is swapped."""


def rules_held() -> list[bytes]:
    """The expressions of every rule of our table as the kernel has them, by chain; those with unnamed sets left out."""
    get_rule, expressions, chain = 10 << 8 | 7, 4, 2
    rules = [attributes(rule[4:]) for rule in dump(NETLINK_NETFILTER, get_rule, b"\1\0\0\0")]
    held = [rule[chain] + SWAP_OF_ONE_BYTE.sub(b"", rule[expressions]) for rule in rules]
    return sorted(rule for rule in held if b"__set" not in rule)


def test_what_messages_cannot_say_is_said_as_text() -> None:
    plain, other = accept(tcp(80), pods=(1,)), accept(tcp(80) | PortSet(other=True))
    empty = node_program(world(3), range(3))
    sent = {
        rule: difference(empty, node_program(world(3, ingress={0: isolated(IN, rule)}), range(3)))
        for rule in (plain, other)
    }
    assert [change is not None and can_send(change) for change in sent.values()] == [True, False]


def test_a_new_set_with_ranges_is_filled_while_no_rule_names_it() -> None:
    change = difference(program_of(80), program_of((80, 81)))
    assert change is not None
    first, last = change.in_steps()
    assert [part.name.rpartition("/")[2] for part in first.new_sets] == ["ranges4", "ranges6"]
    assert first == Change(new_sets=first.new_sets)
    assert last.after(first.after(program_of(80))) == program_of((80, 81))
    assert not any(part.interval for part in last.new_sets)


def test_a_table_of_ours_is_never_away(empty: Namespace, nft: Nft) -> None:
    """A packet between the chains of a table that goes and those of one that comes would meet neither."""
    programs = program_of(80), program_of(80, (90, 99))

    def work() -> tuple[Program | None, bool]:
        replace(nft, programs[0])
        handles = _handles(nft)
        replace(nft, programs[1])
        return read_back(nft), _handles(nft) == handles

    assert empty.run(work) == (programs[1], True)


def _handles(nft: Nft) -> list[object]:
    """The kernel's numbers of the table and of the chains that packets enter by."""
    found = [item.get("table") or item.get("chain") for item in nft.list_table("gatewright") or []]
    return [one["handle"] for one in found if isinstance(one, dict) and (one.get("hook") or "table" not in one)]


def test_a_change_that_the_kernel_refuses_changes_nothing(empty: Namespace, nft: Nft) -> None:
    change = difference(program_of(80, 81), program_of(81, 82))
    assert change is not None

    def work() -> Program | None:
        replace(nft, program_of(82))
        with pytest.raises(NftRefused):
            apply_change(nft, change)
        return read_back(nft)

    assert empty.run(work) == program_of(82)


def test_a_change_too_large_for_a_message_comes_into_force_at_once(empty: Namespace) -> None:
    other = RuleOrigin("NetworkPolicy", "default", "large")
    many = isolated(IN, accept(tcp(*range(1, 20000, 2)), pods=(1,)), origin=other)
    program = node_program(world(3, ingress={0: many}), range(3))
    change = difference(program_of(80), program)
    assert change is not None
    backend = Small()

    def work() -> Program | None:
        replace(Nft(), program_of(80))
        with mock.patch.object(Netlink, "batch", side_effect=OSError(errno.EMSGSIZE, "Message too long")):
            apply_change(Nft(backend), change)
        return read_back(Nft())

    assert empty.run(work) == program
    assert len(backend.held) > 5


@FEW
@given(st.lists(SOME_PORTS, min_size=2, max_size=5), st.sampled_from((Options(), DENIALS)))
def test_sockets_that_stay_open_carry_change_after_change(
    empty: Namespace, steps: list[set[Ports]], options: Options
) -> None:
    programs = [
        node_program(world(3, ingress={0: isolated(IN, accept(tcp(*ports), pods=(1,)))}), range(3), options=options)
        for ports in steps
    ]

    def work() -> None:
        with NodeNft() as nft:
            remove(nft)
            replace(nft, programs[0])
            for old, new in itertools.pairwise(programs):
                change = difference(old, new)
                assert change is not None
                apply_change(nft, change)
                assert read_back(nft) == new

    empty.run(work)


def test_sockets_that_stay_open_go_on_after_a_refusal(empty: Namespace) -> None:
    refused, next_one = difference(program_of(81), program_of(82)), difference(program_of(80), program_of(80, 443))
    assert refused is not None
    assert next_one is not None

    def work() -> Program | None:
        with NodeNft() as nft:
            replace(nft, program_of(80))
            with pytest.raises(NftRefused, match="a batch of messages: No such file or directory"):
                apply_change(nft, refused)
            with pytest.raises(NftRefused, match="nowhere"):
                nft.run("add rule inet nowhere forward accept\n")
            assert read_back(nft) == program_of(80)
            apply_change(nft, next_one)
            return read_back(nft)

    assert empty.run(work) == program_of(80, 443)


@pytest.mark.parametrize("there", [False, True], ids=["no table yet", "another program there"])
def test_a_program_with_every_option_replaces_whatever_is_there(empty: Namespace, there: bool) -> None:
    guards = Guards(
        ranges=frozenset({ipaddress.ip_network("10.77.0.0/24"), ipaddress.ip_network("fd77::/64")}),
        known=frozenset({ipaddress.ip_address("10.77.0.1")}),
        links=frozenset({(7, ipaddress.ip_address("10.77.0.1")), (7, ipaddress.ip_address("fd77::1"))}),
    )
    options = Options(log_group=5, counters=True, start_closed=True, check_sources=True)
    rules = isolated(IN, accept(tcp(80, (90, 99)), pods=(1,), blocks=("192.0.2.0/24",)))
    program = node_program(world(3, ingress={0: rules}), range(3), options=options, guards=guards)

    def work() -> Program | None:
        with NodeNft() as nft:
            remove(nft)
            if there:
                replace(nft, program_of(80))
            replace(nft, program)
            return read_back(nft)

    assert empty.run(work) == program


@pytest.mark.parametrize("guarded", [False, True])
def test_a_first_program_needs_two_transactions(
    empty: Namespace, guarded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its sets by messages, then the rules that use them; what nft thinks of the sets must fit the rules."""

    def unexpected(*_: object) -> None:
        raise AssertionError("the program was taken piece by piece")

    monkeypatch.setattr(apply_module, "staged", unexpected)
    options = Options(log_group=7, counters=True, start_closed=guarded, check_sources=guarded)
    addresses = frozenset(map(ipaddress.ip_address, ("10.77.0.1", "fd77::1")))
    links = frozenset((1, address) for address in addresses)
    ranges = frozenset(map(ipaddress.ip_network, ("10.77.0.0/24", "fd77::/64")))
    guards = Guards(ranges, addresses, links) if guarded else Guards()
    rules = isolated(IN, accept(tcp(80, (90, 95)), pods=(1,)))
    program = node_program(world(3, ingress={0: rules}), range(3), options=options, guards=guards)

    def work() -> tuple[int, bool]:
        before = generation()
        replace(Nft(), program)
        return generation() - before, holds(Nft(), program)

    assert empty.run(work) == (2, True)
