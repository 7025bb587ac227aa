"""What ports of a model are as numbers, on one pod: the engine's own resolution of names, asked once a kind of pod."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache

from gatewright.engine.drafts import port_numbers
from gatewright.engine.ports import ALL_TRAFFIC, NO_TRAFFIC, PortSet, Protocol, Ranges
from gatewright.intent.model import Port
from gatewright.objects.policy import NetworkPolicyPort

NamedPorts = Mapping[tuple[str, Protocol], Ranges]


def policy_ports(ports: Iterable[Port]) -> tuple[NetworkPolicyPort, ...]:
    """The ports as a NetworkPolicy writes them, joined and in order; none at all where they are all traffic."""
    return _policy_ports(tuple(ports))


@lru_cache(maxsize=4096)
def _policy_ports(ports: tuple[Port, ...]) -> tuple[NetworkPolicyPort, ...]:
    numbers, names = NO_TRAFFIC, set()
    for port in ports:
        if port.protocol is None:
            return ()
        if port.is_named:
            names.add((port.protocol, port.name))
        else:
            numbers |= PortSet.of(port.protocol, (port.first, port.last))
    written = [
        NetworkPolicyPort(protocol=protocol.value, port=first, end_port=last if last > first else None)
        for protocol in Protocol
        for first, last in numbers.ranges(protocol)
    ]
    written += [NetworkPolicyPort(protocol=protocol.value, port=name) for protocol, name in sorted(names)]
    return tuple(written)


def port_set(ports: Iterable[Port], named: NamedPorts) -> PortSet:
    """The numbers of ports on a pod with these named ports."""
    every = tuple(ports)
    if any(port.protocol is None for port in every):
        return ALL_TRAFFIC
    if not every:
        return NO_TRAFFIC
    numbers, names = _numbers(every)
    for name in names:
        if name in named:
            numbers |= PortSet.of(name[1], *named[name])
    return numbers


@lru_cache(maxsize=4096)
def _numbers(ports: tuple[Port, ...]) -> tuple[PortSet, tuple[tuple[str, Protocol], ...]]:
    return port_numbers(policy_ports(ports))


def ports_text(ports: Iterable[Port]) -> str:
    """The ports as people read them: `TCP 80,8000-8010; UDP 53; TCP http`."""
    every = tuple(ports)
    numbers = port_set((port for port in every if not port.is_named), {})
    names = sorted({str(port) for port in every if port.is_named})
    return "; ".join([*([str(numbers)] if numbers or not names else []), *names])
