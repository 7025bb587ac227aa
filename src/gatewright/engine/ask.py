"""Questions as people put them: names and a port in, verdicts out.

The command line, the Python API and the pytest plugin ask here, so that `svc/api` and `udp/53` mean the same in all.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gatewright.engine.backends import Backends
from gatewright.engine.compile import Compiled
from gatewright.engine.explain import traffic_text
from gatewright.engine.ports import Protocol
from gatewright.engine.targets import INGRESS_PORTS, BadPort, Target, find, parse_port, service_port
from gatewright.engine.verdict import Party, Verdict, verdict
from gatewright.errors import GatewrightError


class NoBackend(GatewrightError):
    """A Service that no pod stands behind, or whose pods lack its target port."""


class NotASource(GatewrightError):
    """A Service where something is wanted that opens connections."""


Door = tuple[Party, int]
"""A party, and the number of its own port."""


@dataclass(frozen=True, slots=True)
class Question:
    """What was asked, with names looked up: whether each source may connect to each door."""

    protocol: Protocol | None
    sources: tuple[Party, ...]
    doors: tuple[Door, ...]


def question(compiled: Compiled, source: str, destination: str, port: str, namespace: str = "default") -> Question:
    """The question that the names put.

    `port` is `80`, `udp/53` or `icmp`; for a Service it is the Service's port. Raises UnknownTarget, BadPort, NoBackend
    or NotASource, each saying what there is instead.
    """
    protocol, number = parse_port(port)
    origin, target = find(compiled, source, namespace), find(compiled, destination, namespace)
    if origin.service or origin.ends:
        kind = "an Ingress" if origin.ends else "a Service"
        raise NotASource(f"{source}: {kind} opens no connections; name a pod or workload")
    return Question(protocol, origin.parties, tuple(doors(compiled, target, protocol, number)))


def ask(compiled: Compiled, source: str, destination: str, port: str, namespace: str = "default") -> list[Verdict]:
    """The verdict on every connection that a question is about: one for each party that the names stand for.

    Raises what `question` raises.
    """
    asked = question(compiled, source, destination, port, namespace)
    return [
        verdict(compiled, one, party, asked.protocol, target_port)
        for one in asked.sources
        for party, target_port in asked.doors
    ]


def doors(compiled: Compiled, target: Target, protocol: Protocol | None, port: int) -> Iterator[Door]:
    """(party, port) of everything the target stands for: policies see the pods behind a Service on their target ports.

    So with an Ingress, whose pods see its controller as the source.
    """
    if target.ends:
        if protocol is not Protocol.TCP or port not in INGRESS_PORTS:
            raise BadPort(f"{target.text}: an Ingress is called on TCP {' or '.join(map(str, INGRESS_PORTS))}")
        yield from target.ends
        return
    if target.service is None:
        for party in target.parties:
            yield party, port
        return
    found = Backends(compiled).doors(target.service, service_port(target.service, protocol, port))
    if not found:
        raise NoBackend(
            f"{target.service}: no pod behind it serves {traffic_text(protocol, port)}; look at its selector and ports"
        )
    yield from found
