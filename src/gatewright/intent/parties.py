"""The model with its names looked up: parties as selectors and addresses, flows with the ports that policies see.

`intent.bind` makes it. Ports are those of pods: where a flow is written to a Service's port, this is the target port,
because policies act behind the Service's translation.
"""

from __future__ import annotations

from dataclasses import dataclass

from gatewright.engine.addresses import ALL_ADDRESSES, AddressSet
from gatewright.intent.model import Entry, Flow, PodsOf, Port
from gatewright.intent.numbers import NamedPorts
from gatewright.objects.policy import IPBlock

DNS = "cluster DNS"
"""What the party is called that answers names; no entry of a file can be called so."""


@dataclass(frozen=True, slots=True, eq=False)
class Party:
    """A component or outside party. Pods by `pods` (labels only), or addresses: `blocks`, or anywhere.

    `opens` are the ports that connections to it go to where a flow names none. `namespaces` are those in which the pods
    of a component lie, `port_names` what port names mean on its pods: once for each kind of them.
    """

    name: str
    is_component: bool
    pods: PodsOf | None
    blocks: tuple[IPBlock, ...]
    opens: tuple[Port, ...]
    entry: Entry
    namespaces: tuple[str, ...] = ()
    port_names: tuple[NamedPorts, ...] = ({},)

    @property
    def addresses(self) -> AddressSet:
        """The addresses of a party that is not pods."""
        if self.pods is not None:
            return AddressSet()
        return AddressSet.union(AddressSet.of_block(block.cidr, block.except_) for block in self.blocks) or (
            ALL_ADDRESSES
        )

    @property
    def is_anywhere(self) -> bool:
        """Whether it is every address, pods included: the rule of a policy then needs no peer."""
        return self.pods is None and self.addresses == ALL_ADDRESSES

    @property
    def rank(self) -> tuple[int, str]:
        """How parties are ordered: the widest first, then by name."""
        kinds = (self.is_anywhere, self.pods is None, not self.is_component, True)
        return (kinds.index(True), self.name)


@dataclass(frozen=True, slots=True, eq=False)
class Need:
    """A flow between parties, on ports of the destination's pods. `flow` is None for the calls to DNS."""

    source: Party
    destination: Party
    ports: tuple[Port, ...]
    flow: Flow | None = None

    def __str__(self) -> str:
        if self.flow is not None:
            return str(self.flow)
        return f"{self.source.name} -> {self.destination.name}"


@dataclass(frozen=True, slots=True, eq=False)
class Bound:
    """The model, looked up. `flows` holds the calls to DNS too. `never` with no ports means any."""

    components: tuple[Party, ...]
    outside: tuple[Party, ...]
    flows: tuple[Need, ...]
    never: tuple[Need, ...]
    dns: Party | None

    @property
    def parties(self) -> tuple[Party, ...]:
        """Every party, DNS included where it is called."""
        asked = any(need.destination is self.dns for need in self.flows)
        return (*self.components, *self.outside, *((self.dns,) if self.dns and asked else ()))
