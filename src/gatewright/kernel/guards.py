"""Guards that stand before the policies: pods keep to their own addresses, and unknown pods are cut off.

A policy speaks about addresses. It holds only if nobody can borrow one, and it protects a new pod only from the moment
the program knows it; the guards close both gaps, where the options ask for them.

- `check_sources`: a packet that enters by a pod's link must have one of that pod's addresses. An address that no policy
  knows would pass every egress policy, so this is more than a guard against one pod posing as another. What a pod must
  send before it has an address, or only with a link-local one, passes: neighbour discovery, multicast listener
  discovery and DHCP. All other link-local traffic to the node counts as borrowed: no policy could speak about it.
- `start_closed`: an address in the node's pod ranges that is no known pod's can neither send nor be sent to. The node
  itself is exempt (it may have an address of the range on its bridge): what it sends leaves by the output hook, what it
  sends itself comes from the loopback link, and what arrives for it is on its way to no pod.

Both are sets that the caller fills and that change by single elements like any other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from gatewright.engine.addresses import FAMILIES, IPAddress, IPNetwork
from gatewright.engine.model import Direction
from gatewright.kernel.change import LINKS, SOURCES, SetChange
from gatewright.kernel.denial import denial, guard
from gatewright.kernel.options import Options
from gatewright.kernel.table import (
    ADDRESS_FIELD,
    AddressRequest,
    Chain,
    Element,
    Field,
    FromLoopback,
    InSet,
    ListenerDiscovery,
    Match,
    NeighbourDiscovery,
    Rule,
    Set,
    Side,
    ToNode,
    Verb,
    Verdict,
)

RANGES, KNOWN = "guard/ranges", "guard/known"
SPOOFED, UNKNOWN = "spoofed", "unknown"
"""Why a guard denies, as in log lines and names of counters."""
_RETURN = Verdict(Verb.RETURN)
_SPOOFED_CHAIN = "guard/spoofed"
_ADDRESS_REQUESTS = tuple(AddressRequest(family) for family in FAMILIES)
_CLOSED_SIDES = {Side.SOURCE: Direction.EGRESS, Side.DESTINATION: Direction.INGRESS}
_SELF: dict[Side, Match] = {Side.SOURCE: FromLoopback(), Side.DESTINATION: ToNode()}
"""How the node's own packets are known, on the side where its address stands."""


@dataclass(frozen=True, slots=True)
class Guards:
    """What fills the guards' sets.

    `ranges`: the pod ranges of the node. `known`: addresses of the pods that the program knows. `links`: (interface
    index, address) of each pod whose link is known; a link that stands in no pair is not checked.
    """

    ranges: frozenset[IPNetwork] = frozenset()
    known: frozenset[IPAddress] = frozenset()
    links: frozenset[tuple[int, IPAddress]] = frozenset()


NO_GUARDS = Guards()


def guard_sets(options: Options, guards: Guards) -> Iterator[Set]:
    """The sets of the guards that are asked for."""
    if options.check_sources:
        yield Set(LINKS, (Field.LINK,), False, frozenset((index,) for index, _ in guards.links))
        for family in FAMILIES:
            pairs = frozenset((index, int(item)) for index, item in guards.links if item.version == family)
            yield Set(f"{SOURCES}{family}", (Field.LINK, ADDRESS_FIELD[family]), False, pairs)
    if options.start_closed:
        for family in FAMILIES:
            field = (ADDRESS_FIELD[family],)
            yield Set(f"{RANGES}{family}", field, True, frozenset(_spans(family, guards.ranges)))
            known = frozenset((int(item),) for item in guards.known if item.version == family)
            yield Set(f"{KNOWN}{family}", field, False, known)


def guard_changes(options: Options, old: Guards, new: Guards) -> tuple[SetChange, ...]:
    """What other contents of the guards' sets change in them."""
    pairs = zip(guard_sets(options, old), guard_sets(options, new), strict=True)
    changes = (SetChange(now, was.elements - now.elements, now.elements - was.elements) for was, now in pairs)
    return tuple(change for change in changes if change.gone or change.added)


def _spans(family: int, ranges: Iterable[IPNetwork]) -> Iterator[Element]:
    """Ranges as elements; one inside another is left out, since elements are disjoint."""
    end = -1
    for network in sorted((item for item in ranges if item.version == family), key=_place):
        first, last = int(network.network_address), int(network.broadcast_address)
        if first > end:
            yield (first, last)
            end = last


def _place(network: IPNetwork) -> tuple[int, int]:
    return int(network.network_address), network.prefixlen


def link_guard(options: Options, checked: str) -> tuple[Rule, ...]:
    """Before everything: is the source the link's own? Then the packet goes on to the chain `checked` at once.

    So that a packet of a known pod costs one look-up; one that enters by a link of nobody's costs two.
    """
    if not options.check_sources:
        return ()
    own = (Rule(_own_source(family), Verdict(Verb.GOTO, checked)) for family in FAMILIES)
    return (*own, _jump(LINKS, (Field.LINK,), None, _SPOOFED_CHAIN))


def source_guard(options: Options) -> tuple[Rule, ...]:
    """Before the egress classes of a new connection: does a known pod send?"""
    return _closed_rules(options, Side.SOURCE)


def destination_guard(options: Options) -> tuple[Rule, ...]:
    """Before the ingress classes of a new connection: is a known pod sent to?"""
    return _closed_rules(options, Side.DESTINATION)


def guard_chains(options: Options) -> Iterator[Chain]:
    """The chains that the rules above jump to."""
    if options.check_sources:
        passing: tuple[Match, ...] = (NeighbourDiscovery(), ListenerDiscovery(), *_ADDRESS_REQUESTS)
        denied = denial(options, guard(Direction.EGRESS), SPOOFED, _RETURN)
        yield Chain(_SPOOFED_CHAIN, (*_returns(passing), *denied))
    if options.start_closed:
        for side, direction in _CLOSED_SIDES.items():
            denied = denial(options, guard(direction), UNKNOWN, _RETURN)
            for family in FAMILIES:
                known = InSet(f"{KNOWN}{family}", (ADDRESS_FIELD[family],), side)
                yield Chain(_closed_chain(side, family), (*_returns((known, _SELF[side])), *denied))


def _returns(matches: Iterable[Match]) -> Iterator[Rule]:
    return (Rule(match, _RETURN) for match in matches)


def _own_source(family: int) -> InSet:
    return InSet(f"{SOURCES}{family}", (Field.LINK, ADDRESS_FIELD[family]), Side.SOURCE)


def _closed_rules(options: Options, side: Side) -> tuple[Rule, ...]:
    if not options.start_closed:
        return ()
    return tuple(
        _jump(f"{RANGES}{family}", (ADDRESS_FIELD[family],), side, _closed_chain(side, family)) for family in FAMILIES
    )


def _closed_chain(side: Side, family: int) -> str:
    return f"guard/{UNKNOWN}-{'source' if side is Side.SOURCE else 'destination'}{family}"


def _jump(name: str, fields: tuple[Field, ...], side: Side | None, chain: str) -> Rule:
    return Rule(InSet(name, fields, side), Verdict(Verb.JUMP, chain))
