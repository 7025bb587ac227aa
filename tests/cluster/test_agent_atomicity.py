"""Between two states there is no third: steady traffic through random changes, and through kills of the agent.

Every datagram is a new connection, and the two moments between which the kernel decided on it are known. It passes only
if a state allows it that could be in force then, and is dropped only if one forbids it: the state before a change, the
state after it, and while several changes are on their way what lies between them.

When a change is in force is read from the kernel itself: the program read back is the one that the objects mean.
`ATOMICITY_CHANGES` is how many changes are made, 1,000 unless told otherwise.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gatewright.agent.settings import Settings
from gatewright.kernel.apply import generation
from gatewright.kernel.nft import Nft
from gatewright.kernel.readback import read_back
from gatewright.kernel.table import Program
from tests.cluster.agents import (
    CLUSTER_POLICIES,
    NAMESPACES,
    NODE,
    PODS,
    POLICIES,
    AgentOnNode,
    agent_on_node,
)
from tests.cluster.random_changes import CLUSTER, NAMESPACE, POD, POLICY, PORTS, Change, Changing
from tests.cluster.timeline import Timeline, expected_program, without_guards
from tests.packets.steady import Flow, Seen, steady_traffic
from tests.reference.evaluator import End
from tests.unit.kubeapi.store import Store

pytestmark = [pytest.mark.packets, pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(400)]
CHANGES = int(os.environ.get("ATOMICITY_CHANGES", "1000"))
KILLS = 20
SEED = int(os.environ.get("ATOMICITY_SEED", "5"))
COUNT = 6
"""Pods of the cluster. The node has two more, which nothing is ever forbidden: the cluster knows nothing of them."""
RATE = 4000
MOMENTS = 0
"""Commits during which a packet may look at one set before and at another after: the kernel's own limit, and rare.

It is named in the design page of the program. Sets that are filled too late make three to eight of them in a run, a
table that is away for a moment makes thousands of violations.
"""
LASTS = 5_000_000
"""Nanoseconds that a commit lasts at most."""
PATHS = {POD: PODS, NAMESPACE: NAMESPACES, POLICY: POLICIES, CLUSTER: CLUSTER_POLICIES}
OPTIONS = Settings(NODE).options


@dataclass
class Scene:
    """The node, the agent, what the cluster is now, and everything that it was."""

    agent: AgentOnNode
    cluster: Changing
    timeline: Timeline
    program: Program

    def send(self, change: Change) -> None:
        """Tell the agent of a change."""
        (kind, namespace, name), fields = change
        self.timeline.sending(kind, self.cluster.objects)
        with self.agent.api.change(PATHS[kind]) as store:
            if fields is None:
                store.delete(name, namespace)
            else:
                store.put(name, namespace, **fields)

    def settle(self, kinds: set[str], *, mark: bool) -> None:
        """Wait until everything is in force that was sent of these kinds.

        One change that alters the program shows itself; of others it takes a mark to know that they were heard.
        """
        expected = expected_program(self.cluster.objects, OPTIONS)
        if mark or expected == self.program:
            for kind in sorted(kinds):
                self.send(self.cluster.mark(kind))
            expected = expected_program(self.cluster.objects, OPTIONS)
        assert expected != self.program
        self.agent.where.namespace.run(lambda: self._await(expected))
        self.timeline.settle()
        self.program = expected

    def _await(self, expected: Program) -> None:
        """The kernel counts a generation up before it shows it, so one that was seen may have to be read again."""
        seen, again, deadline = -1, 0.0, time.monotonic() + 20
        while time.monotonic() < deadline:
            now = generation()
            if now != seen or time.monotonic() >= again:
                seen, held, again = now, read_back(Nft()), time.monotonic() + 0.1
                if held is not None and without_guards(held) == expected:
                    return
            time.sleep(0.001)
        raise AssertionError(f"the kernel does not hold what the cluster means\n{self.agent.log}")


@contextmanager
def scene(folder: Path) -> Iterator[Scene]:
    """A node with an agent in step with a cluster without policies."""
    with agent_on_node(folder, COUNT + 2, start=False) as agent:
        addresses = [tuple(map(str, pod.addresses.values())) for pod in agent.where.pods[:COUNT]]
        cluster = Changing(addresses, random.Random(SEED))
        ends: list[End] = [("pod", *cluster.pod_key(number)[1:]) for number in range(COUNT)]
        agent.api.stores |= {path: Store() for path in PATHS.values()}
        agent.where.namespace.sysctl(netfilter__nf_conntrack_udp_timeout=1)
        made = Scene(agent, cluster, Timeline(ends, addresses), expected_program({}, OPTIONS))
        for key, fields in cluster.objects.items():
            made.send((key, fields))
        agent.start()
        made.settle(set(), mark=False)
        yield made


def flows(agent: AgentOnNode) -> list[Flow]:
    """Every pair of pods, both families, every port; in an order in which pairs alternate."""
    pods = agent.where.pods[:COUNT]
    return [
        Flow(source, str(address), port)
        for port in PORTS
        for step in range(1, COUNT)
        for family in (4, 6)
        for source in range(COUNT)
        for address in [pods[(source + step) % COUNT].addresses[family]]
    ]


def make_changes(made: Scene, chance: random.Random) -> None:
    """All changes, one at a time or a few at once, and all kills."""
    done, kills = 0, set(chance.sample(range(CHANGES), KILLS))
    while done < CHANGES:
        together = min(chance.choice((1, 1, 1, 2, 3)), CHANGES - done)
        for _ in kills & set(range(done, done + together)):
            make_kill(made, chance)
        kinds = make_some(made, together)
        made.settle(kinds, mark=together > 1)
        done += together


def make_some(made: Scene, count: int) -> set[str]:
    """Some changes at once; of which kinds they are."""
    kinds = set()
    for _ in range(count):
        change = made.cluster.change()
        kinds.add(change[0][0])
        made.send(change)
    return kinds


def make_kill(made: Scene, chance: random.Random) -> None:
    """Kill the agent and start another one, which has a change to take in or none."""
    how = chance.choice(("before a change", "during a change", "alone"))
    kinds = {POD}
    if how == "during a change":
        kinds |= make_some(made, 1)
        time.sleep(chance.random() * 0.006)
    made.agent.kill()
    if how == "before a change":
        kinds |= make_some(made, 1)
    made.agent.start()
    made.settle(kinds, mark=True)


@dataclass
class Judged:
    """What was seen: violations, and how much of it there was to see."""

    wrong: list[str]
    passed: int = 0
    dropped: int = 0
    earlier: int = 0
    """Packets that the last possible state does not explain, but one before it."""
    moments: list[int] = field(default_factory=list)
    """When violations began that belong to one commit."""


def judge(made: Scene, seen: Seen, asked: list[Flow]) -> Judged:
    """Compare every packet with the states that can have been in force."""
    judged = Judged([])
    for burst in seen.bursts:
        states = made.timeline.states(burst.began, burst.ended)
        for index, passed in zip(burst.flows, burst.passed, strict=True):
            agrees = (made.timeline.allows(state, asked[index]) == passed for state in reversed(states))
            needed = next((number for number, found in enumerate(agrees) if found), None)
            judged.passed += passed
            judged.dropped += not passed
            judged.earlier += bool(needed)
            if needed is None:
                if not judged.moments or burst.began > judged.moments[-1] + LASTS:
                    judged.moments.append(burst.began)
                judged.wrong.append(f"{'passed' if passed else 'dropped'}: {asked[index]} in {states}")
    return judged


def test_no_packet_meets_a_state_that_was_never_there(namespaces: None, tmp_path: Path) -> None:
    with scene(tmp_path) as made:
        asked = flows(made.agent)
        with steady_traffic(made.agent.where, asked, (COUNT, COUNT + 1), RATE, tmp_path) as traffic:
            make_changes(made, random.Random(SEED))
        judged = judge(made, traffic.seen, asked)
        assert (traffic.seen.late, traffic.seen.lost) == (0, 0)
        assert len(judged.moments) <= MOMENTS, "\n".join(judged.wrong[:50])
        assert min(judged.passed, judged.dropped) > CHANGES * 5
        assert judged.earlier > CHANGES
        chosen = random.Random(SEED).sample(made.timeline.asked, 50)
        assert [one for state in chosen for one in made.timeline.disagreements(state, asked)] == []
