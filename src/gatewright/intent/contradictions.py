"""What cannot be: a connection that a model both wants and forbids.

What stands under `never:` may be allowed by a flow of its own, or by two together: one that lets the source call
anywhere, and one that lets anybody call the destination.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from gatewright.errors import Problem
from gatewright.intent.model import ANY, Port
from gatewright.intent.numbers import port_set
from gatewright.intent.parties import Bound, Need, Party


def contradictions(bound: Bound) -> list[Problem]:
    """Each assertion that the flows break, with the flows that break it."""
    flows = _Flows(bound)
    return [problem for assertion in bound.never if (problem := flows.problem(assertion)) is not None]


class _Flows:
    """The flows by their ends."""

    def __init__(self, bound: Bound) -> None:
        self._leaving: dict[Party, list[Need]] = {}
        self._arriving: dict[Party, list[Need]] = {}
        for need in bound.flows:
            self._leaving.setdefault(need.source, []).append(need)
            self._arriving.setdefault(need.destination, []).append(need)

    def problem(self, assertion: Need) -> Problem | None:
        """What allows that which must never be, if anything does."""
        for allowing in self._ways(assertion):
            if self._same_port((assertion.ports or (ANY,), *(need.ports for need in allowing)), assertion.destination):
                told = [f"{need} ({need.flow.entry.origin})" if need.flow else str(need) for need in allowing]
                verb = "together allow" if len(told) > 1 else "allows"
                what = f"never {assertion}: {' and '.join(told)} {verb} it; take one of the lines out"
                return Problem(str(assertion.flow.entry.origin) if assertion.flow else "", what)
        return None

    def _ways(self, assertion: Need) -> Iterator[tuple[Need, ...]]:
        """The flows, one for each side that the model restricts, that could let it through."""
        source, destination = assertion.source, assertion.destination
        sides = []
        if source.is_component:
            sides.append([one for one in self._leaving.get(source, ()) if _holds(one.destination, destination)])
        if destination.is_component:
            sides.append([one for one in self._arriving.get(destination, ()) if _holds(one.source, source)])
        for chosen in product(*sides):
            yield tuple(dict.fromkeys(chosen))

    @staticmethod
    def _same_port(lists: tuple[tuple[Port, ...], ...], destination: Party) -> bool:
        for named in destination.port_names:
            shared = port_set((ANY,), named)
            for ports in lists:
                shared &= port_set(ports, named)
            if shared:
                return True
        return False


def _holds(party: Party, other: Party) -> bool:
    """Whether a party of a flow surely has something of another one."""
    if party is other:
        return True
    if other.pods is not None:
        return party.is_anywhere
    return bool(party.addresses & other.addresses)
