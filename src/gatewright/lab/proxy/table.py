"""The node's table as data, and every change of it as one transaction that names only what changes.

Pure. The table is the frame (the hooks, and the maps that all Services share) and the pieces of all Services. It is a
function of the pieces alone, whatever came before: where two Services claim one element (the same external address and
port), the one whose name comes first has it. What is said of a change is what leads there from the table before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from gatewright.engine.addresses import FAMILIES, IPAddress
from gatewright.lab.backing import Owner
from gatewright.lab.proxy.pieces import MASQUERADE, NOTHING, REFUSE, Piece, Rules, Slot

TABLE = "gatewright_lab_services"


@dataclass(frozen=True, slots=True)
class Delta:
    """A change of the table. `written` chains have these rules now; those of `new_chains` were not there before."""

    written: dict[str, Rules] = field(default_factory=dict)
    new_chains: tuple[str, ...] = ()
    gone_chains: tuple[str, ...] = ()
    new_sets: dict[str, str] = field(default_factory=dict)
    gone_sets: tuple[str, ...] = ()
    added: dict[Slot, str] = field(default_factory=dict)
    gone: dict[Slot, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.written or self.gone_chains or self.new_sets or self.gone_sets or self.added or self.gone)

    def text(self) -> str:
        """The transaction. What is used comes before what uses it, and goes after."""
        return "".join(f"{line}\n" for line in self._lines(f"inet {TABLE}"))

    def _lines(self, table: str) -> Iterator[str]:
        yield from (f"add set {table} {name} {{ {_memory(kind)} }}" for name, kind in self.new_sets.items())
        yield from (f"add chain {table} {name}" for name in self.new_chains)
        yield from _element_lines("delete", table, self.gone)
        yield from (f"flush chain {table} {name}" for name in self.written if name not in self.new_chains)
        yield from (f"flush chain {table} {name}" for name in self.gone_chains)
        for name, rules in self.written.items():
            yield from (f"add rule {table} {name} {rule}" for rule in rules)
        yield from _element_lines("add", table, self.added)
        yield from (f"delete chain {table} {name}" for name in self.gone_chains)
        yield from (f"delete set {table} {name}" for name in self.gone_sets)


def _element_lines(verb: str, table: str, elements: Mapping[Slot, str]) -> Iterator[str]:
    for name, texts in _by_collection(elements).items():
        yield f"{verb} element {table} {name} {{ {', '.join(texts)} }}"


def _by_collection(elements: Mapping[Slot, str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for (name, key), verdict in elements.items():
        found.setdefault(name, []).append(f"{key} : {verdict}" if verdict else key)
    return found


class Table:
    """The table of one node. Changed in place by `change`, which says how."""

    def __init__(self, addresses: Iterable[IPAddress]) -> None:
        """`addresses` are the node's own, at which node ports are reached; their families are those of the table."""
        self._addresses = tuple(addresses)
        self._pieces: dict[Owner, Piece] = {}
        self._claims: dict[Slot, dict[Owner, str]] = {}

    @property
    def versions(self) -> tuple[int, ...]:
        """The families that the node has."""
        return tuple(version for version in FAMILIES if any(one.version == version for one in self._addresses))

    @property
    def pieces(self) -> dict[Owner, Piece]:
        """The piece of each Service."""
        return dict(self._pieces)

    @property
    def sets(self) -> frozenset[str]:
        """The sets that remember clients."""
        return frozenset(name for one in self._pieces.values() for name in one.sets)

    def change(self, pieces: Mapping[Owner, Piece]) -> Delta:
        """Put these pieces in the place of those that the Services had."""
        before = {owner: self._pieces.get(owner, NOTHING) for owner in pieces}
        delta = _Changes()
        for owner, after in pieces.items():
            delta.chains(before[owner].chains, after.chains)
            delta.sets(before[owner].sets, after.sets)
            if after == NOTHING:
                self._pieces.pop(owner, None)
            else:
                self._pieces[owner] = after
        had: dict[Slot, str | None] = {}
        for owner, after in pieces.items():
            for slot in before[owner].elements.items() ^ after.elements.items():
                self._claim(owner, slot[0], after.elements.get(slot[0]), had)
        delta.elements({slot: (was, self._verdict(slot)) for slot, was in had.items()})
        return delta.delta

    def _claim(self, owner: Owner, slot: Slot, verdict: str | None, had: dict[Slot, str | None]) -> None:
        had.setdefault(slot, self._verdict(slot))
        claims = self._claims.setdefault(slot, {})
        if verdict is not None:
            claims[owner] = verdict
        else:
            claims.pop(owner, None)
        if not claims:
            del self._claims[slot]

    def _verdict(self, slot: Slot) -> str | None:
        claims = self._claims.get(slot)
        return claims[min(claims)] if claims else None

    def in_steps(self, owners_at_once: int) -> Iterator[str]:
        """The same as `whole`, for who may not send that much at once: an empty table, and Services some at a time.

        Until a Service's turn has come it is not there.
        """
        fresh = Table(self._addresses)
        yield fresh.whole()
        owners = sorted(self._pieces)
        for first in range(0, len(owners), owners_at_once):
            share = {owner: self._pieces[owner] for owner in owners[first : first + owners_at_once]}
            yield fresh.change(share).text()

    def whole(self, clients: Mapping[str, Iterable[str]] | None = None) -> str:
        """One transaction that leaves exactly this table, whatever stood there. `clients` are elements of its sets."""
        remembered = clients or {}
        lines = [f"add table inet {TABLE}", f"delete table inet {TABLE}", f"table inet {TABLE} {{"]
        elements = _by_collection({slot: self._verdict(slot) or "" for slot in sorted(self._claims)})
        for name, declaration in _collections(self.versions):
            lines += _collection(name, declaration, elements.get(name.partition(" ")[2], ()))
        pieces = [piece for _, piece in sorted(self._pieces.items(), key=lambda item: item[0])]
        for name, kind in sorted(pair for piece in pieces for pair in piece.sets.items()):
            lines += _collection(f"set {name}", _memory(kind), remembered.get(name, ()))
        chains = dict(pair for piece in pieces for pair in piece.chains.items())
        for name, rules in (*chains.items(), *_frame(self._addresses)):
            lines += [f"  chain {name} {{", *(f"    {rule}" for rule in rules), "  }"]
        return "\n".join([*lines, "}"]) + "\n"


class _Changes:
    """A delta that is being gathered."""

    def __init__(self) -> None:
        self._written: dict[str, Rules] = {}
        self._new_chains: list[str] = []
        self._gone_chains: list[str] = []
        self._new_sets: dict[str, str] = {}
        self._gone_sets: list[str] = []
        self._added: dict[Slot, str] = {}
        self._gone: dict[Slot, str] = {}

    def chains(self, before: Mapping[str, Rules], after: Mapping[str, Rules]) -> None:
        self._gone_chains += [name for name in before if name not in after]
        for name, rules in after.items():
            if before.get(name) != rules:
                self._written[name] = rules
                if name not in before:
                    self._new_chains.append(name)

    def sets(self, before: Mapping[str, str], after: Mapping[str, str]) -> None:
        self._gone_sets += [name for name in before if name not in after]
        self._new_sets |= {name: kind for name, kind in after.items() if name not in before}

    def elements(self, moved: Mapping[Slot, tuple[str | None, str | None]]) -> None:
        for slot, (was, now) in sorted(moved.items()):
            if was != now:
                if was is not None:
                    self._gone[slot] = was
                if now is not None:
                    self._added[slot] = now

    @property
    def delta(self) -> Delta:
        return Delta(
            self._written,
            tuple(self._new_chains),
            tuple(self._gone_chains),
            self._new_sets,
            tuple(self._gone_sets),
            self._added,
            self._gone,
        )


def _memory(kind: str) -> str:
    """What a set is that remembers clients: the timeout comes with each of them."""
    return f"type {kind}; flags dynamic,timeout;"


def _collections(versions: tuple[int, ...]) -> Iterator[tuple[str, str]]:
    for version in versions:
        address = f"ipv{version}_addr"
        for kind in ("services", "closed"):
            yield f"map {kind}_v{version}", f"type {address} . inet_proto . inet_service : verdict;"
        for kind in ("node_ports", "closed_node_ports"):
            yield f"map {kind}_v{version}", "type inet_proto . inet_service : verdict;"
        yield f"set addresses_v{version}", f"type {address};"
        yield f"set hairpin_v{version}", f"type {address} . {address};"


def _collection(name: str, declaration: str, elements: Iterable[str]) -> Iterator[str]:
    yield f"  {name} {{"
    yield f"    {declaration}"
    if words := list(elements):
        yield "    elements = {"
        yield ",\n".join(f"      {word}" for word in words)
        yield "    }"
    yield "  }"


def _frame(addresses: tuple[IPAddress, ...]) -> Iterator[tuple[str, Rules]]:
    """The hooks. The translation comes first, so what is still addressed to a Service after it has no endpoint.

    A packet is refused before it is routed: there need be no way to a Service's address.
    """
    own = {version: [str(one) for one in addresses if one.version == version] for version in FAMILIES}
    families = [(version, "ip" if version == 4 else "ip6", own[version]) for version in FAMILIES if own[version]]
    services, closed, masquerade = [], [], []
    for version, word, nodes in families:
        node = nodes[0] if len(nodes) == 1 else f"{{ {', '.join(nodes)} }}"
        services.append(f"{word} daddr . meta l4proto . th dport vmap @services_v{version}")
        services.append(f"{word} daddr {node} meta l4proto . th dport vmap @node_ports_v{version}")
        closed.append(f"{word} daddr . meta l4proto . th dport vmap @closed_v{version}")
        closed.append(f"{word} daddr {node} meta l4proto . th dport vmap @closed_node_ports_v{version}")
        closed.append(f"{word} daddr @addresses_v{version} goto {REFUSE}")
        marked = f"meta mark & {MASQUERADE:#x} != 0"
        masquerade.append(f"meta nfproto ipv{version} {marked} snat {word} to {nodes[0]}")
        masquerade.append(f"ct status dnat {word} saddr . {word} daddr @hairpin_v{version} snat {word} to {nodes[0]}")
    yield REFUSE, ("meta l4proto tcp reject with tcp reset", "reject")
    yield "services", tuple(services)
    yield "closed", tuple(closed)
    yield "nat_prerouting", ("type nat hook prerouting priority dstnat; policy accept;", "jump services")
    yield "nat_output", ("type nat hook output priority -100; policy accept;", "jump services")
    yield "nat_postrouting", ("type nat hook postrouting priority srcnat; policy accept;", *masquerade)
    for hook in ("prerouting", "output"):
        check = "ct state new ct status & dnat == 0 jump closed"
        yield f"closed_{hook}", (f"type filter hook {hook} priority -90; policy accept;", check)
