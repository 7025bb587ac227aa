"""What this node's kernel should hold: a function of the latest known objects alone, worked out change by change.

Deliveries of the watch come in, in any order and any pieces; `advance` takes in all that has come and says what the
program is now and how it differs. Nothing is said before every kind has been listed whole: half a cluster would be
programmed as one in which pods or policies do not exist. No clock, no kernel, no network in here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import ip_network

from gatewright.engine.addresses import IPAddress, IPNetwork
from gatewright.engine.compile import Compiled, Update, compile_snapshot
from gatewright.engine.model import Direction, Endpoint
from gatewright.engine.snapshot import Changes, Snapshot
from gatewright.kernel.change import Change
from gatewright.kernel.guards import Guards
from gatewright.kernel.node import NodeProgram
from gatewright.kernel.options import Options
from gatewright.kernel.spares import Keep
from gatewright.kernel.table import Program
from gatewright.objects.core import Node, Pod
from gatewright.objects.meta import Key, Object
from gatewright.sources.watch import Delivery


@dataclass(frozen=True, slots=True)
class Advance:
    """One step: what it changes in the program, None where there was none before.

    `arrived` is when the oldest event in it came in, in seconds of the monotonic clock; `created` are the creation
    times (seconds since the epoch) of objects that are new; `moved` is whether pods of this node came, went or got
    addresses. `update` is the step of the rules, None for the first.
    """

    change: Change | None
    update: Update | None
    arrived: float
    created: tuple[tuple[Key, float], ...]
    moved: bool

    @property
    def touched(self) -> Iterator[IPAddress]:
        """The addresses of this node's pods whose rules, or whose peers, are not what they were."""
        for direction in Direction if self.update else ():
            assert self.update is not None
            classes = self.update.compiled.classes(direction)
            for key in self.update.touched[direction] & classes.keys():
                for position in classes[key].members:
                    yield from self.update.compiled.at(position).addresses


class Desired:
    """The objects, the rules of this node's pods, and the program. Changed in place: one agent has one."""

    def __init__(self, node: str, kinds: Iterable[str], options: Options) -> None:
        self.node = node
        self.compiled: Compiled | None = None
        self.program: NodeProgram | None = None
        self._options = options
        self._missing = set(kinds)
        self._pending: dict[Key, Object | None] = {}
        self._created: dict[Key, float] = {}
        self._arrived = 0.0

    @property
    def missing(self) -> tuple[str, ...]:
        """The kinds that have not been listed yet."""
        return tuple(sorted(self._missing))

    @property
    def waiting_since(self) -> float | None:
        """When the oldest event came in that no step has taken in yet."""
        return self._arrived if self._pending else None

    @property
    def pods(self) -> Iterator[Endpoint]:
        """The pods of this node that policies can select."""
        if self.compiled is not None:
            for own in self.compiled.classes(Direction.INGRESS).values():
                yield from map(self.compiled.at, own.members)

    @property
    def addresses(self) -> Iterator[IPAddress]:
        """The addresses of these pods."""
        for pod in self.pods:
            yield from pod.addresses

    @property
    def own(self) -> Node | None:
        """The Node object of this node."""
        found = self.compiled.snapshot.objects.get(("Node", "", self.node)) if self.compiled else None
        return found if isinstance(found, Node) else None

    def is_here(self, namespace: str, name: str) -> bool:
        """Whether a pod stands on this node, on a network of its own."""
        pod = self.compiled.snapshot.objects.get(("Pod", namespace, name)) if self.compiled else None
        return isinstance(pod, Pod) and pod.spec.node_name == self.node and not pod.spec.host_network

    def take(self, delivery: Delivery) -> None:
        """Keep what a watch delivers for the next step. Of several states of one object the last counts."""
        if not self._pending:
            self._arrived = delivery.received
        self._pending |= dict.fromkeys(delivery.changes.gone)
        self._pending |= {item.key: item for item in delivery.changes.put}
        self._created |= dict(delivery.created)
        if delivery.complete:
            self._missing.discard(delivery.kind)

    def advance(self) -> Advance | None:
        """Take in everything that has come. None while kinds are missing, or where nothing has come."""
        if self._missing or (self.compiled is not None and not self._pending):
            return None
        if self.compiled is None or self.program is None:
            return self._begin()
        update = self.compiled.apply(
            Changes(
                put=tuple(item for item in self._pending.values() if item is not None),
                gone=tuple(key for key, item in self._pending.items() if item is None),
            )
        )
        program, change = self.program.after(update)
        self.compiled, self.program = update.compiled, program
        moved = any(self._is_here(one) for move in update.step.moves for one in (move.before, move.after) if one)
        return self._taken(change, update, moved=moved)

    def closed(self) -> Program | None:
        """A program without policies that cuts off every pod of this node, for as long as not everything is listed.

        None while this node's own object, which has the range of its pods, has not been heard of.
        """
        own = self._pending.get(("Node", "", self.node))
        if self.compiled is not None or not isinstance(own, Node):
            return None
        return NodeProgram.of(compile_snapshot(Snapshot.of([own])), self._options, Guards(pod_ranges(own)))[1]

    def guard(self, guards: Guards) -> tuple[Change, NodeProgram]:
        """Fill the guards' sets with something else; what that changes in the program, and the program."""
        assert self.program is not None
        self.program, change = self.program.guarded(guards)
        return change, self.program

    def tidy(self) -> NodeProgram:
        """Have the program keep no set that no rule uses; for who puts all of it in force."""
        assert self.program is not None
        self.program = self.program.tidied()
        return self.program

    def begin_anew(self) -> None:
        """Work everything out from the objects at the next step: what has been worked out is not to be trusted."""
        if self.compiled is not None:
            self._pending = {**self.compiled.snapshot.objects, **self._pending}
        self.compiled = self.program = None

    def _begin(self) -> Advance:
        snapshot = Snapshot.of(item for item in self._pending.values() if item is not None)
        compiled = compile_snapshot(snapshot, subjects=self._is_here)
        self.program, _ = NodeProgram.of(compiled, self._options, keep=Keep())
        self.compiled = compiled
        return self._taken(None, None, moved=True)

    def _taken(self, change: Change | None, update: Update | None, *, moved: bool) -> Advance:
        created = tuple(self._created.items())
        self._pending, self._created = {}, {}
        return Advance(change, update, self._arrived, created, moved)

    def _is_here(self, one: Endpoint) -> bool:
        return one.node == self.node and not one.host_network


def pod_ranges(own: Node | None) -> frozenset[IPNetwork]:
    """The ranges of the addresses that a node gives its pods, as far as it says them."""
    spec = own.spec if own else None
    texts = (spec.pod_cidrs or (spec.pod_cidr,)) if spec else ()
    return frozenset(ip_network(one, strict=False) for one in texts if one)
