"""Histories of a small cluster, as states one after another, and the changes that lead from one to the next.

Few pods stand on few addresses here, so that one address often has two owners, or passes from one to another.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import msgspec
from hypothesis import strategies as st

from gatewright.engine.compile import compile_snapshot
from gatewright.engine.model import Endpoint
from gatewright.engine.snapshot import Changes, Snapshot
from gatewright.kernel.node import NodeProgram
from gatewright.kernel.table import Program
from gatewright.objects.core import Pod, PodIP
from gatewright.objects.meta import Object
from gatewright.objects.read import decode
from tests.strategies import clusters

State = list[Object]
NODES = ("here", "there")
ADDRESSES = (("10.0.0.1",), ("10.0.0.2", "fd00::2"), ("10.0.0.3",), ("fd00::2",), ())


@st.composite
def placed(draw: st.DrawFn, item: Object) -> list[Object]:
    """A pod on one of two nodes, on one of a few addresses and then on another; other objects as they are."""
    if not isinstance(item, Pod):
        return [item]
    spec = msgspec.structs.replace(item.spec, node_name=draw(st.sampled_from(NODES)))
    found: list[Object] = [msgspec.structs.replace(item, spec=spec)]
    for ips in draw(st.lists(st.sampled_from(ADDRESSES), max_size=2)):
        listed = tuple(PodIP(ip=ip) for ip in ips)
        status = msgspec.structs.replace(item.status, pod_ip=ips[0] if ips else "", pod_ips=listed)
        found.append(msgspec.structs.replace(item, spec=spec, status=status))
    return found


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[State], tuple[str, ...]]:
    """The states of a cluster one after another: each has some of the objects, in one of several versions."""
    versions = [draw(clusters(max_pods=4) | clusters(max_pods=3, tiers=True)) for _ in range(draw(st.integers(2, 3)))]
    pool: dict[Any, State] = {}
    for cluster in versions:
        for item in filter(None, map(decode, cluster.objects)):
            pool.setdefault(item.key, []).extend(draw(placed(item)))
    states = []
    for _ in range(draw(st.integers(2, 4))):
        chosen = {key: draw(st.sampled_from((*each, None))) for key, each in pool.items()}
        states.append([item for item in chosen.values() if item is not None])
    return states, versions[0].pod_cidrs


def is_here(one: Endpoint) -> bool:
    """What a node's agent is about."""
    return one.node == "here" and not one.host_network


def scratch(state: State, pod_cidrs: tuple[str, ...]) -> Program:
    """The program from the beginning."""
    return NodeProgram.of(compile_snapshot(Snapshot.of(state, pod_cidrs=pod_cidrs), is_here))[1]


def singles(old: State, new: State) -> list[Changes]:
    """What leads from one state to another, one object at a time."""
    before = {item.key: item for item in old}
    puts = [Changes((item,)) for item in new if item is not before.get(item.key)]
    return [*puts, *(Changes(gone=(key,)) for key in before.keys() - {item.key for item in new})]


def squashed(parts: list[Changes]) -> Changes:
    """Several changes at once."""
    return Changes(tuple(one for each in parts for one in each.put), tuple(one for each in parts for one in each.gone))


WAYS: dict[str, Callable[[State, State], list[Changes]]] = {
    "split": singles,
    "squashed": lambda old, new: [squashed(singles(old, new))],
    "reversed": lambda old, new: singles(old, new)[::-1],
    "repeated": lambda old, new: [one for each in singles(old, new) for one in (each, each)],
    "there, back and there": lambda old, new: [*singles(old, new), *singles(new, old), *singles(old, new)],
}
"""Ways from one state to another, which all end in the same program."""


def steps(old: State, new: State, draw: Any) -> list[Changes]:
    """What leads from one state to another, in one step or in several, in any order, with repetitions."""
    before = {item.key: item for item in old}
    puts = [Changes((item,)) for item in new if item is not before.get(item.key) or draw(st.booleans())]
    keys = {item.key for item in new}
    single = draw(st.permutations([*puts, *(Changes(gone=(key,)) for key in before if key not in keys)]))
    cuts = sorted(draw(st.sets(st.integers(0, len(single)), max_size=3)) | {0, len(single)})
    parts = [single[first:last] for first, last in pairwise(cuts)]
    return [squashed(part) for part in parts]
