"""The loop against a kernel that refuses, forgets, and is altered: what is in force stays, and comes right again."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import cast

import pytest

from gatewright.agent import loop as loop_module
from gatewright.agent.desired import Desired
from gatewright.agent.flows import Flows
from gatewright.agent.log import Troubles
from gatewright.agent.loop import Loop, Telling
from gatewright.agent.metrics import Metrics
from gatewright.agent.node import Node
from gatewright.agent.settings import Settings
from gatewright.kernel.change import Change
from gatewright.kernel.errors import NftRefused
from gatewright.kernel.guards import NO_GUARDS, Guards
from gatewright.kernel.monitor import Alteration
from gatewright.kernel.node import NodeProgram
from gatewright.kernel.table import Program
from gatewright.objects.meta import Object
from gatewright.sources.watch import Delivery
from tests.unit.agent.clusters import KINDS, NODE, delivery, everything, node, pod, policy

P0, P1 = pod("p0", "10.0.0.1"), pod("p1", "10.0.0.2")
DB = policy("db", "p1")


class FakeNode:
    """A kernel in memory. `refuses` is how many of the next transactions it refuses."""

    log = None
    links_at: float | None = None

    def __init__(self) -> None:
        self.held: Program | None = None
        self.policed = False
        self.refuses = 0
        self.did: list[str] = []
        self.by: list[int] = []
        self.gate = threading.Event()
        self.gate.set()
        self.bypassed: tuple[str, ...] = ()
        self.altered: list[Alteration] = []
        self.monitor, self._end = os.pipe()

    def close(self) -> None:
        os.close(self.monitor)
        os.close(self._end)

    def replace(self, program: Program) -> float:
        self._transaction("replace")
        self.held = program
        return time.monotonic()

    def change(self, change: Change) -> float:
        self.gate.wait(10)
        self._transaction("change")
        assert self.held is not None
        self.held = change.after(self.held)
        return time.monotonic()

    def exchange(self, program: Program) -> float:
        self._transaction("exchange")
        self.held = program
        return time.monotonic()

    def holds(self, program: Program) -> bool:
        return self.held == program

    def is_policed(self) -> bool:
        return self.policed

    def unfiltered(self, desired: Desired) -> tuple[str, ...]:
        return self.bypassed

    def pods_moved(self) -> None:
        """No links here."""

    def guards(self, desired: Desired) -> Guards:
        return NO_GUARDS

    def alterations(self) -> list[Alteration]:
        os.read(self.monitor, 1)
        found, self.altered = self.altered, []
        return found

    def alter(self) -> None:
        """Another program takes the table away."""
        self.held = None
        self.altered.append(Alteration(7, "nft", 42, True))
        os.write(self._end, b"!")

    def _transaction(self, what: str) -> None:
        self.by.append(threading.get_ident())
        if self.refuses:
            self.refuses -= 1
            self.did.append(f"refused {what}")
            raise NftRefused("no such set")
        self.did.append(what)


class CountingDesired(Desired):
    """Says how many deliveries it has taken."""

    taken = 0

    def take(self, delivery: Delivery) -> None:
        super().take(delivery)
        self.taken += 1


class Running:
    """A loop in its thread, over that kernel."""

    def __init__(self, settings: Settings) -> None:
        self.node = FakeNode()
        self.desired = CountingDesired(NODE, KINDS, settings.options)
        self.delivered = 0
        self.troubles = Troubles()
        telling = Telling(Flows(), Metrics(), self.troubles)
        self.loop = Loop(settings, self.desired, cast(Node, self.node), telling, None, lambda: None)
        self.thread = threading.Thread(target=self.loop.run)

    def deliver(self, one: Delivery) -> None:
        """Hand it over as a watch does."""
        self.delivered += 1
        self.loop.deliver(one)

    def until(self, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 10
        while not holds():
            assert time.monotonic() < deadline, (self.node.did, self.troubles.lines)
            time.sleep(0.005)

    def in_step(self) -> None:
        """Until the kernel holds what the objects say."""
        self.until(lambda: self.desired.taken == self.delivered and self._equal())

    def _equal(self) -> bool:
        waiting, program = self.desired.waiting_since, self.desired.program
        return waiting is None and program is not None and self.node.held == program.program


@contextlib.contextmanager
def running(settings: Settings | None = None) -> Iterator[Running]:
    made = Running(settings or Settings(NODE, log_group=None, spoof_guard=False))
    made.thread.start()
    try:
        yield made
    finally:
        made.loop.stop()
        made.thread.join(10)
        made.node.close()


@pytest.fixture
def agent() -> Iterator[Running]:
    with running() as made:
        for each in everything(P0, P1):
            made.deliver(each)
        made.in_step()
        yield made


def test_first_everything_then_changes(agent: Running) -> None:
    agent.deliver(delivery("NetworkPolicy", DB))
    agent.in_step()
    assert agent.node.did == ["replace", "change"]
    assert agent.loop.progress.transactions == 2


def just_heard(agent: Running, *put: Object) -> Delivery:
    """What a watch brings that was silent until now."""
    at = max(time.monotonic(), agent.loop._rests + loop_module.SILENCE)
    return delivery("NetworkPolicy", *put, at=at)


def test_a_watch_that_was_silent_makes_its_change_itself(agent: Running) -> None:
    agent.deliver(just_heard(agent, DB))
    assert agent.node.did == ["replace", "change"]
    assert agent.node.by == [agent.thread.ident, threading.get_ident()]
    agent.in_step()


def test_what_follows_closely_is_handed_over(agent: Running) -> None:
    agent.deliver(delivery("NetworkPolicy", DB, at=agent.loop._rests))
    agent.in_step()
    assert agent.node.by == [agent.thread.ident] * 2


def test_what_other_watches_bring_meanwhile_is_one_step_after_it(agent: Running) -> None:
    """Nobody waits for the thread that is at work, and nothing is lost."""
    agent.node.gate.clear()
    first = threading.Thread(target=lambda: agent.deliver(just_heard(agent, DB)))
    first.start()
    agent.until(agent.loop._working.locked)
    for name in ("one", "two", "three"):
        agent.deliver(just_heard(agent, policy(name, "p0")))
    assert agent.node.did == ["replace"]
    agent.node.gate.set()
    first.join(10)
    agent.in_step()
    assert agent.node.by == [agent.thread.ident, first.ident, agent.thread.ident]


def test_the_loop_tries_again_what_a_watch_could_not_make(agent: Running) -> None:
    agent.node.refuses = 1
    began = time.monotonic()
    agent.deliver(just_heard(agent, DB))
    agent.in_step()
    assert time.monotonic() - began < loop_module.HEARTBEAT / 2
    assert agent.node.did == ["replace", "refused change", "replace"]
    assert agent.node.by == [agent.thread.ident, threading.get_ident(), agent.thread.ident]


def test_a_loop_that_was_stopped_changes_nothing_more(agent: Running) -> None:
    agent.loop.stop()
    agent.thread.join(10)
    agent.deliver(just_heard(agent, DB))
    assert agent.node.did == ["replace"]


def test_a_change_that_is_refused_is_followed_by_the_whole_program(agent: Running) -> None:
    agent.node.refuses = 2
    agent.deliver(delivery("NetworkPolicy", DB))
    agent.until(lambda: agent.loop.failing_since > 0)
    agent.in_step()
    assert agent.node.did == ["replace", "refused change", "refused replace", "replace"]
    assert agent.loop.failing_since == 0
    assert agent.loop.progress.failures == 2
    assert agent.troubles.lines == ()


def test_a_torn_change_is_an_exchange_for_all_that_rules_use(agent: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    tidied: list[NodeProgram] = []
    tidy = agent.desired.tidy

    def noted() -> NodeProgram:
        tidied.append(tidy())
        return tidied[-1]

    monkeypatch.setattr(agent.desired, "tidy", noted)
    monkeypatch.setattr(Change, "is_torn", True)
    agent.deliver(delivery("NetworkPolicy", DB))
    agent.in_step()
    assert agent.node.did == ["replace", "exchange"]
    assert [one.program for one in tidied] == [agent.node.held]


def test_the_loop_sleeps_while_it_waits_for_the_next_attempt() -> None:
    """A look at links and the regular check are long due, and have to wait until the kernel takes the program."""
    made = Running(Settings(NODE, log_group=None, spoof_guard=False, check_every=0.0))
    made.node.links_at = 1.0
    assert made.loop._pause() == loop_module.HEARTBEAT
    made.loop._retry.failed(time.monotonic())
    assert 0.0 < made.loop._pause() <= 0.05
    made.loop._retry.succeeded()
    made.loop._holds = True
    assert made.loop._pause() == 0.0
    made.node.close()


def test_what_comes_while_the_kernel_refuses_is_not_lost(agent: Running) -> None:
    agent.node.refuses = 3
    agent.deliver(delivery("NetworkPolicy", DB))
    agent.until(lambda: agent.loop.failing_since > 0)
    assert agent.troubles.lines[0].startswith("packet filter: nftables refused the change: no such set")
    agent.deliver(delivery("NetworkPolicy", policy("more", "p0")))
    agent.in_step()
    names = {chain.name for chain in agent.node.held.chains} if agent.node.held else set()
    assert {"ingress/shop/db", "ingress/shop/more"} <= names


def test_an_altered_table_is_put_back(agent: Running) -> None:
    agent.node.alter()
    agent.until(lambda: agent.loop.progress.repairs == 1)
    agent.in_step()
    assert agent.node.did == ["replace", "replace"]


def test_a_table_that_nobody_told_of_is_found_by_the_regular_check() -> None:
    with running(Settings(NODE, log_group=None, spoof_guard=False, check_every=0.05)) as agent:
        for each in everything(P0, P1, DB):
            agent.deliver(each)
        agent.in_step()
        agent.node.held = None
        agent.until(lambda: agent.loop.progress.repairs == 1)
        agent.in_step()


def test_packets_that_bypass_the_program_are_said_until_they_do_not() -> None:
    with running(Settings(NODE, log_group=None, spoof_guard=False, check_every=0.05)) as agent:
        agent.node.bypassed = ("bridge cni0: packets between its pods bypass the packet filter",)
        for each in everything(P0):
            agent.deliver(each)
        agent.until(lambda: agent.loop.unfiltered)
        assert agent.troubles.lines == ("bridge: bridge cni0: packets between its pods bypass the packet filter",)
        agent.node.bypassed = ()
        agent.until(lambda: not agent.loop.unfiltered)
        assert not agent.troubles.lines


def test_a_fault_of_ours_leaves_what_is_in_force_and_begins_anew(
    agent: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = agent.node.held
    real = Desired.advance
    failing = [True]

    def advance(one: Desired) -> object:
        if failing:
            raise RuntimeError("a bug")
        return real(one)

    monkeypatch.setattr(Desired, "advance", advance)
    agent.deliver(delivery("NetworkPolicy", DB))
    agent.until(lambda: agent.loop.failing_since > 0)
    assert agent.node.held == held
    assert "internal error: RuntimeError: a bug" in agent.troubles.lines[0]
    failing.clear()
    agent.in_step()
    assert agent.node.did == ["replace", "replace"]


@pytest.mark.parametrize("policed", [False, True])
def test_pods_are_cut_off_before_the_first_list_unless_a_table_is_there(*, policed: bool) -> None:
    settings = Settings(NODE, log_group=None, spoof_guard=False, start_closed=True)
    with running(settings) as agent:
        agent.node.policed = policed
        agent.deliver(delivery("Node", node("10.0.0.0/24")))
        agent.until(lambda: agent.loop._closed)
        assert agent.node.did == ([] if policed else ["replace"])
        for each in everything(P0, P1, node("10.0.0.0/24")):
            agent.deliver(each)
        agent.in_step()


@pytest.mark.parametrize("jump", [-1e9, 1e9])
def test_a_clock_that_jumps_changes_nothing(agent: Running, monkeypatch: pytest.MonkeyPatch, jump: float) -> None:
    wall = time.time()
    monkeypatch.setattr(time, "time", lambda: wall + jump)
    agent.node.refuses = 1
    agent.deliver(delivery("NetworkPolicy", DB))
    agent.in_step()
    assert agent.loop.alive
    assert agent.node.did == ["replace", "refused change", "replace"]


def test_the_loop_is_alive_while_nothing_happens(agent: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    assert agent.loop.alive
    monkeypatch.setattr(loop_module, "STALLED", -1.0)
    assert not agent.loop.alive
