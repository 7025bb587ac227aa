"""Which ports of its pods each party opens, and on which of them a flow ends.

A component opens what its entry says, else what its pods declare. Where it is named by a Service, its ports are the
Service's, and are translated to those of the pods.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from gatewright.engine.model import Endpoint
from gatewright.engine.ports import PortSet
from gatewright.intent.lookup import Objects, Translation
from gatewright.intent.model import ANY, Component, Flow, Outside, Port, PortWord
from gatewright.intent.numbers import port_set, ports_text
from gatewright.intent.parties import Party
from gatewright.intent.simplest import assumed_numbers


class NoSuchPort(ValueError):
    """A port that its party does not open. The text says which it opens."""


@dataclass(frozen=True, slots=True)
class _Door:
    """A party's ports: as entries, the Service's translations, and some pod of each kind among its members."""

    opens: tuple[Port, ...]
    service: tuple[Translation, ...] = ()
    members: tuple[Endpoint, ...] = ()

    def numbers(self) -> PortSet:
        """All numbers it opens, as far as they are known."""
        found = port_set(self.opens, {})
        for member in self.members:
            found |= port_set(self.opens, member.named_ports)
        return found


class Doors:
    """The ports of every party met so far."""

    def __init__(self, objects: Objects | None) -> None:
        self._objects = objects
        self._doors: dict[Party, _Door] = {}

    def of_component(self, party: Party, component: Component) -> Party:
        """The component with the ports it opens. Raises NoSuchPort for one that its pods do not declare."""
        members = self._members(party)
        service = self._objects.translations(component.pods) if self._objects else ()
        if service:
            opens = tuple(_translated(port, service) for port in component.ports) or tuple(
                one.target for one in service
            )
        else:
            opens = component.ports or _declared(members)
            _refuse_undeclared(component.ports, members)
        return self._kept(party, _Door(opens, service, members))

    def of_outside(self, party: Party, outside: Outside) -> Party:
        """The party with the ports it opens."""
        return self._kept(party, _Door(outside.ports, (), self._members(party)))

    def of_flow(self, flow: Flow, destination: Party, *, assertion: bool = False) -> tuple[Port, ...]:
        """The ports a flow ends on. Raises NoSuchPort. An assertion may name ports that nobody opens, or none."""
        door = self._doors[destination]
        if not flow.ports:
            if not destination.opens and not assertion:
                where = f"{destination.name} ({destination.entry.origin})"
                raise NoSuchPort(f"no ports: neither the flow nor {where} says any; write {flow}: PORTS")
            return () if assertion else destination.opens
        return tuple(dict.fromkeys(_port(word, door, destination, assertion) for word in flow.ports))

    def _members(self, party: Party) -> tuple[Endpoint, ...]:
        """The pods of a party, one of each kind of declared ports."""
        if self._objects is None or party.pods is None:
            return ()
        kinds = {(id(e.named_ports), e.ports): e for e in self._objects.pods(party.pods)}
        return tuple(kinds.values())

    def _kept(self, party: Party, door: _Door) -> Party:
        names = tuple(one.named_ports for one in door.members) or (assumed_numbers(door.opens),)
        found = replace(party, opens=door.opens, port_names=names)
        self._doors[found] = door
        return found


def _declared(members: Iterable[Endpoint]) -> tuple[Port, ...]:
    """The ports that containers declare."""
    numbers = {(protocol, number) for member in members for protocol, number in member.ports}
    return tuple(Port(protocol, number, number) for protocol, number in sorted(numbers))


def _refuse_undeclared(ports: tuple[Port, ...], members: tuple[Endpoint, ...]) -> None:
    """Declaring ports is optional, so pods that declare none open what the model says."""
    there = _declared(members)
    for port in ports:
        if not there or port is ANY:
            continue
        on_pods = [port_set([port], member.named_ports) & port_set(there, {}) for member in members]
        if not any(on_pods):
            what = f"port {port} is not among the ports that its pods declare: {ports_text(there)}"
            raise NoSuchPort(what)


def _translated(port: Port, service: tuple[Translation, ...]) -> Port:
    if port.protocol is None:
        return port
    for one in service:
        same = port.name == one.port.name if port.is_named else port.first == port.last == one.port.first
        if same and one.port.protocol is port.protocol:
            return one.target
    has = ", ".join(f"{one.port}{f' ({one.port.name})' if one.port.name else ''}" for one in service)
    raise NoSuchPort(f"its Service has no port {port}; it has {has or 'none'}")


def _port(word: PortWord, door: _Door, party: Party, assertion: bool) -> Port:
    """What an entry of a flow's ports is on the destination's pods."""
    port = word.port
    if port.protocol is None:
        return port
    if door.service:
        return _translated(port, door.service)
    if port.is_named:
        return _called(port, door, party)
    known = door.numbers()
    if not assertion and door.opens and port_set([port], {}) - known:
        what = ports_text(door.opens)
        raise NoSuchPort(f"{party.name} ({party.entry.origin}) opens {what}, not {port}; write its port there too")
    return port


def _called(port: Port, door: _Door, party: Party) -> Port:
    for one in door.opens:
        if (one.name, one.protocol) == (port.name, port.protocol):
            return one
    if any((port.name, port.protocol) in member.named_ports for member in door.members):
        return port
    if party.pods is None:
        raise NoSuchPort(f"{party.name} is addresses, and these have no port names; write the number")
    names = sorted({one.name for one in door.opens if one.name})
    what = f"{party.name} ({party.entry.origin}) opens no port named {port.name!r}"
    raise NoSuchPort(f"{what}; it has {', '.join(names) or 'no named port'}")
