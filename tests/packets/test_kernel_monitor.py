"""Others that touch our table are seen at once and named; others that touch their own, and we ourselves, are not."""

from __future__ import annotations

import select
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from gatewright.engine.model import Direction
from gatewright.kernel.apply import Applied, apply, remove, replace
from gatewright.kernel.monitor import Alteration, Missed, Monitor
from gatewright.kernel.nft import Command, Library, Nft, NodeNft
from gatewright.kernel.node import node_program
from gatewright.kernel.table import Program
from tests.packets.netns import Namespace
from tests.unit.kernel.cases import accept, isolated, tcp, world

pytestmark = pytest.mark.packets
TABLE = "gatewright"
SET = "ingress/default/policy/ports4"


def program_of(*ports: int) -> Program:
    return node_program(world(2, ingress={0: isolated(Direction.INGRESS, accept(tcp(*ports), pods=(1,)))}), range(2))


@pytest.fixture
def held(empty: Namespace) -> Namespace:
    """A namespace whose kernel holds a program of ours."""
    empty.run(lambda: apply(Nft(), program_of(80)))
    return empty


@pytest.fixture
def monitor(held: Namespace) -> Iterator[Monitor]:
    with held.run(lambda: Monitor(TABLE)) as made:
        yield made


def nft(text: str) -> int:
    """Another program: the nft command. Gives its process id."""
    with subprocess.Popen(["nft", "-f", "-"], stdin=subprocess.PIPE, text=True) as process:
        process.communicate(text, timeout=20)
        assert process.returncode == 0
        return process.pid


@pytest.mark.parametrize(
    ("text", "removed"),
    [
        ("flush ruleset", True),
        (f"delete table inet {TABLE}", True),
        (f"delete table inet {TABLE}; add table inet {TABLE}", False),
        (f"add element inet {TABLE} {SET} {{ 10.77.0.9 . 6 . 80 }}", False),
        (f"delete element inet {TABLE} ingress4 {{ 10.77.0.1 }}", False),
        (f"insert rule inet {TABLE} forward accept", False),
        (f"flush chain inet {TABLE} police", False),
        (f"add chain inet {TABLE} stranger", False),
        (f"add counter inet {TABLE} stranger", False),
        (f"add table inet {TABLE} {{ flags dormant; }}", False),
        (f"add table ip other; add counter inet {TABLE} stranger; add table ip third", False),
    ],
)
def test_who_altered_or_removed_the_table_is_named(held: Namespace, monitor: Monitor, text: str, removed: bool) -> None:
    pid = held.run(lambda: nft(text))
    (found,) = monitor.read()
    assert isinstance(found, Alteration)
    assert (found.program, found.removed) == ("nft", removed)
    assert found.pid == pid or _in_a_container()
    assert str(found) == f"table {'removed' if removed else 'altered'} by nft ({found.pid})"
    assert monitor.read() == []


def _in_a_container() -> bool:
    """Whether the kernel's process ids are others than ours."""
    status = Path("/proc/self/status").read_text()
    return len(next(line for line in status.splitlines() if line.startswith("NSpid")).split()) > 2


def test_it_is_seen_at_once(held: Namespace, monitor: Monitor) -> None:
    seen: list[float] = []

    def watch() -> None:
        select.select([monitor], [], [], 5)
        seen.append(time.monotonic())

    thread = threading.Thread(target=watch)
    thread.start()
    time.sleep(0.05)
    held.run(lambda: Nft(Library()).run(f"flush chain inet {TABLE} police\n"))
    done = time.monotonic()
    thread.join()
    assert seen[0] - done < 2, "nobody had to ask"
    assert len(monitor.read()) == 1


def test_a_thousand_changes_of_other_tables_are_nothing(held: Namespace, monitor: Monitor) -> None:
    def others() -> None:
        library = Nft(Library())
        library.run("add table inet other; add set inet other s { type ipv4_addr; }; add table ip gatewright\n")
        library.run("add set ip gatewright s { type ipv4_addr; }\n")
        for number in range(500):
            address = f"10.0.{number // 256}.{number % 256}"
            library.run(f"add element inet other s {{ {address} }}\n")
            library.run(f"add element ip gatewright s {{ {address} }}\n")
        library.run(f"add element inet {TABLE} {SET} {{ 10.77.0.9 . 6 . 80 }}\n")
        library.run("delete table inet other; delete table ip gatewright\n")

    held.run(others)
    found: list[Alteration | Missed] = []
    while select.select([monitor], [], [], 0)[0]:
        found += monitor.read()
    assert [type(each) for each in found] == [Alteration]


@pytest.mark.parametrize("backend", [Library, Command])
def test_our_own_transactions_are_not_reported(
    held: Namespace, monitor: Monitor, backend: type[Library] | type[Command]
) -> None:
    def work() -> None:
        ours = Nft(backend())
        last: Applied | None = None
        for port in range(100, 110):
            with monitor.own():
                last = apply(ours, program_of(80, port), last)
        with monitor.own():
            remove(ours)

    held.run(work)
    assert monitor.read() == []


def test_each_of_our_threads_is_known_by_what_it_made(held: Namespace, monitor: Monitor) -> None:
    """One thread after another changes the table; what a third does in the moment of the second is not ours."""

    def make(*ports: int, meanwhile: Callable[[], None] = lambda: None) -> None:
        with monitor.own():
            meanwhile()
            apply(Nft(Library()), program_of(*ports))

    for ports in ((80, 81), (80, 82)):
        held.run(partial(make, *ports))
        assert monitor.read() == []
    stranger = f"add chain inet {TABLE} stranger\n"
    done = threading.Event()

    def second() -> None:
        make(80, 83)
        assert monitor.read() == []
        make(80, 84, meanwhile=lambda: held.run(lambda: Nft(Library()).run(stranger)))
        done.set()

    held.run(second)
    assert done.is_set()
    assert len(monitor.read()) == 1


def test_a_first_load_in_several_transactions_is_ours(empty: Namespace) -> None:
    """Sets are filled before the rules that use them come: nobody else is at work, so all of it is us."""

    def work() -> list[Alteration | Missed]:
        with NodeNft() as ours, Monitor(TABLE) as monitor:
            with monitor.own():
                replace(ours, program_of(80, 443))
            return monitor.read()

    assert empty.run(work) == []


def test_another_s_change_between_ours_is_reported(held: Namespace, monitor: Monitor) -> None:
    """In the very moment of our own transaction, when the number rises by two."""

    def work() -> None:
        with monitor.own():
            apply(Nft(Library()), program_of(80, 81))
        with monitor.own():
            nft(f"add chain inet {TABLE} stranger")
            apply(Nft(Library()), program_of(80, 82))

    held.run(work)
    (found,) = monitor.read()
    assert isinstance(found, Alteration)
    assert found.program == "nft"


def test_another_program_of_our_name_is_told_apart(held: Namespace, monitor: Monitor) -> None:
    """Two that are called `python`, at work in the same moment."""

    def work() -> None:
        with monitor.own():
            apply(Nft(Library()), program_of(80, 81))
        with monitor.own():
            held.run(lambda: Nft(Library()).run(f"add chain inet {TABLE} stranger\n"))
            apply(Nft(Library()), program_of(80, 82))

    held.run(work)
    assert len(monitor.read()) == 1


def test_a_transaction_of_ours_that_failed_is_no_cover_for_others(held: Namespace, monitor: Monitor) -> None:
    def work() -> None:
        with monitor.own():
            nft(f"flush chain inet {TABLE} police")
            raise InterruptedError

    with pytest.raises(InterruptedError):
        held.run(work)
    assert len(monitor.read()) == 1


def test_more_than_can_be_followed_means_perhaps(held: Namespace) -> None:
    with held.run(lambda: Monitor(TABLE, buffer=4096)) as monitor:
        many = ", ".join(f"10.{number // 256}.{number % 256}.1" for number in range(5000))
        text = (
            f"add table inet other; add set inet other s {{ type ipv4_addr; }}; add element inet other s {{ {many} }}"
        )
        held.run(lambda: nft(text))
        found = monitor.read()
        assert found
        assert set(map(str, found)) == {"table may have been altered: more was changed than could be followed"}
        held.run(lambda: nft("flush ruleset"))
        assert str(monitor.read()[-1]).startswith("table ")
