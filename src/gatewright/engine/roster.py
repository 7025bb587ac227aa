"""Who is there: every endpoint at a position that it keeps as long as it lives.

Positions are the bits of every `PodSet`, so they must not shift when others come and go. A first roster has its
endpoints in order of namespace, name and kind; later ones put newcomers where somebody left, else at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property, lru_cache

import msgspec

from gatewright.engine.addresses import IPAddress, parse_address
from gatewright.engine.layers import Layers
from gatewright.engine.model import Endpoint
from gatewright.engine.podset import PodSet
from gatewright.engine.ports import Protocol, Range, Ranges, normalize
from gatewright.objects.core import Container, Pod, PodSpec
from gatewright.objects.meta import Key, Object
from gatewright.objects.workloads import CronJob, DaemonSet, Workload

FINISHED = ("Succeeded", "Failed")
NodeAddresses = Mapping[str, tuple[IPAddress, ...]]
"""The addresses of each node."""


class Move(msgspec.Struct, frozen=True):
    """What happened at a position: somebody came (`before` None), left (`after` None), or is no longer the same."""

    position: int
    before: Endpoint | None
    after: Endpoint | None


def scoped(moves: Iterable[Move], scope: Callable[[Endpoint], bool]) -> tuple[Move, ...]:
    """The moves as somebody sees them who knows only the endpoints of a scope."""
    seen = []
    for move in moves:
        before = move.before if move.before is not None and scope(move.before) else None
        after = move.after if move.after is not None and scope(move.after) else None
        if before is not None or after is not None:
            seen.append(Move(move.position, before, after))
    return tuple(seen)


class Roster:
    """The endpoints of one snapshot by position and by key. Never changed in place."""

    def __init__(
        self, slots: Layers[int, Endpoint], positions: Layers[Key, int], capacity: int, vacant: tuple[int, ...] = ()
    ) -> None:
        """`capacity` is one more than the highest position there has been; `vacant` are those below it to give away."""
        self._slots = slots
        self._positions = positions
        self.capacity = capacity
        self._vacant = vacant

    @classmethod
    def of(cls, objects: Mapping[Key, Object], nodes: NodeAddresses) -> Roster:
        """The endpoints that these objects make."""
        found = [(key, item) for key, item in objects.items() if isinstance(item, Pod | Workload | CronJob)]
        found.sort(key=lambda each: (each[0][1], each[0][2], each[0][0]))
        slots: dict[int, Endpoint] = {}
        positions: dict[Key, int] = {}
        for key, item in found:
            place = len(slots)
            if (made := endpoint(item, place, nodes)) is not None:
                slots[place] = made
                positions[key] = place
        return cls(Layers(slots), Layers(positions), len(slots))

    def __iter__(self) -> Iterator[Endpoint]:
        """Everyone; those who came later last."""
        return iter(self._slots.values())

    @property
    def everyone(self) -> PodSet:
        """The positions where somebody is."""
        return PodSet.of([one.index for one in self])

    def is_taken(self, position: int) -> bool:
        """Whether somebody is at a position."""
        return position in self._slots

    def at(self, position: int) -> Endpoint:
        """The endpoint at a position. Raises KeyError where nobody is."""
        return self._slots[position]

    @cached_property
    def in_order(self) -> tuple[Endpoint, ...]:
        """Everyone, in order of namespace, name and kind."""
        return tuple(sorted(self, key=lambda one: (one.namespace, one.name, one.kind)))

    @cached_property
    def holders(self) -> Layers[IPAddress, tuple[int, ...]]:
        """The positions of those who have an address, in order: more than one on the host network, or for a moment."""
        found: dict[IPAddress, tuple[int, ...]] = {}
        for one in self:
            for address in one.addresses:
                found[address] = tuple(sorted({*found[address], one.index})) if address in found else (one.index,)
        return Layers(found)

    def change(self, made: Mapping[Key, Object | None], nodes: NodeAddresses) -> tuple[Roster, tuple[Move, ...]]:
        """The next roster, where these objects are new or different (None: gone), and what moved.

        Who leaves frees a position for the next change only: nobody takes a place in the change that emptied it.
        """
        capacity, vacant = self.capacity, list(self._vacant)
        moves: list[Move] = []
        for key, item in sorted(made.items()):
            position = self._positions.get(key)
            if position is None and not isinstance(item, Pod | Workload | CronJob):
                continue
            place = position if position is not None else vacant[-1] if vacant else capacity
            before = self._slots.get(place) if position is not None else None
            after = endpoint(item, place, nodes) if isinstance(item, Pod | Workload | CronJob) else None
            if after is before or (before is not None and after is not None and _same(before, after)):
                continue
            moves.append(Move(place, before, after))
            if position is None and vacant:
                vacant.pop()
            elif position is None:
                capacity += 1
        if not moves:
            return self, ()
        freed = [move.position for move in moves if move.after is None]
        slots = self._slots.put({move.position: move.after for move in moves})
        came = {move.after.key: move.position for move in moves if move.after is not None}
        gone = dict.fromkeys(move.before.key for move in moves if move.before is not None and move.after is None)
        following = Roster(slots, self._positions.put({**came, **gone}), capacity, (*vacant, *freed))
        if "holders" in vars(self):
            vars(following)["holders"] = _holders_after(self.holders, moves)
        return following, tuple(moves)


def _holders_after(
    holders: Layers[IPAddress, tuple[int, ...]], moves: Iterable[Move]
) -> Layers[IPAddress, tuple[int, ...]]:
    changed: dict[IPAddress, tuple[int, ...]] = {}
    for move in moves:
        before = move.before.addresses if move.before else ()
        after = move.after.addresses if move.after else ()
        if before == after:
            continue
        for address in before:
            held = changed.get(address, holders.get(address, ()))
            changed[address] = tuple([one for one in held if one != move.position])
        for address in after:
            held = changed.get(address, holders.get(address, ()))
            changed[address] = tuple(sorted({*held, move.position}))
    return holders.put({address: held or None for address, held in changed.items()})


def _same(one: Endpoint, other: Endpoint) -> bool:
    return msgspec.structs.astuple(one) == msgspec.structs.astuple(other)


def endpoint(item: Pod | Workload | CronJob, index: int, nodes: NodeAddresses) -> Endpoint | None:
    """The endpoint that an object makes; None for a pod that has finished: its address may be another's by now."""
    if isinstance(item, Pod):
        return None if item.status.phase in FINISHED else _of_pod(item, index, nodes)
    return _of_workload(item, index)


def _of_pod(pod: Pod, index: int, nodes: NodeAddresses) -> Endpoint:
    spec, metadata = pod.spec, pod.metadata
    addresses = tuple([parse_address(text) for text in pod.ips])
    if spec.host_network and not addresses:
        addresses = tuple(parse_address(text) for text in pod.host_ips) or nodes.get(spec.node_name, ())
    ports = _ports(spec)
    return Endpoint(
        index,
        metadata.namespace,
        metadata.name,
        "Pod",
        metadata.labels,
        addresses,
        ports.named,
        ports.declared,
        spec.node_name,
        spec.host_network,
        origin=pod.origin,
    )


def _of_workload(workload: Workload | CronJob, index: int) -> Endpoint:
    template = workload.template
    ports = _ports(template.spec)
    return Endpoint(
        index=index,
        namespace=workload.namespace,
        name=workload.name,
        kind=workload.kind,
        labels=template.metadata.labels,
        named_ports=ports.named,
        ports=ports.declared,
        host_network=template.spec.host_network,
        many=workload.replicas > 1 or isinstance(workload, DaemonSet),
        origin=workload.origin,
    )


class _Ports(msgspec.Struct, frozen=True):
    """The ports that a pod declares: by name, and all of them. Pods that declare the same share one."""

    named: dict[tuple[str, Protocol], Ranges]
    declared: tuple[tuple[Protocol, int], ...]


def _ports(spec: PodSpec) -> _Ports:
    containers = _serving(spec) if spec.init_containers else spec.containers
    return _ports_of(tuple([(p.name, p.protocol, p.container_port) for c in containers for p in c.ports]))


def _serving(spec: PodSpec) -> list[Container]:
    """The containers whose ports count: all that run beside each other (sidecars are restartable init containers)."""
    sidecars = [container for container in spec.init_containers if container.restart_policy == "Always"]
    return [*spec.containers, *sidecars]


@lru_cache(maxsize=65536)
def _ports_of(written: tuple[tuple[str, str, int], ...]) -> _Ports:
    named: dict[tuple[str, Protocol], list[Range]] = {}
    for name, protocol, number in written:
        if name:
            named.setdefault((name, Protocol(protocol)), []).append((number, number))
    declared = {(Protocol(protocol), number) for _, protocol, number in written}
    return _Ports({key: normalize(numbers) for key, numbers in named.items()}, tuple(sorted(declared)))
