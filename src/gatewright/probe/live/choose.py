"""Which connections of a cluster to try, and what the engine says of each. Pure.

Sources and destinations are pods that run and have an address of their own: a workload of which no pod runs can be
neither. Ports are those that pods declare, and those that somebody names besides.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gatewright.engine.addresses import IPAddress, parse_address
from gatewright.engine.backends import Backends
from gatewright.engine.compile import Compiled
from gatewright.engine.model import Endpoint
from gatewright.engine.ports import Protocol
from gatewright.engine.targets import find
from gatewright.errors import GatewrightError
from gatewright.objects.core import Service
from gatewright.probe.matrix import Cluster, Connection, Port, Selection, ServiceFront, plan

SYSTEM_NAMESPACE = "kube-system"
MOST = 20_000
"""Connections of one run."""


class NothingToProbe(GatewrightError):
    """A question that leaves no connection to try, or too many."""


@dataclass(frozen=True, slots=True)
class Question:
    """What to probe. Empty `sources` or `destinations`: the pods of `namespace`, or of all but kube-system.

    `only_ports` leaves out the ports that pods declare. `most` connections are tried, or none.
    """

    sources: tuple[str, ...] = ()
    destinations: tuple[str, ...] = ()
    namespace: str | None = None
    ports: tuple[Port, ...] = ()
    only_ports: bool = False
    families: tuple[int, ...] = (4,)
    addresses: bool = True
    services: bool = True
    timeout: float = 1.0
    attempts: int = 2
    most: int = MOST


def connections(
    compiled: Compiled,
    question: Question,
    namespace: str,
    answering: frozenset[str] = frozenset(),
) -> tuple[Connection, ...]:
    """Every connection to try; `namespace` is that of names that do not say theirs.

    `answering` are the pods whose UDP listeners are known to answer.
    Raises UnknownTarget for a name of nothing, NothingToProbe where nothing is left or too much.
    """
    pods = [one for one in compiled.endpoints if _runs(one)]
    usual = [one for one in pods if _usual(one, question.namespace)]
    sources = _named(compiled, question.sources, question.namespace or namespace) or usual
    destinations = _named(compiled, question.destinations, question.namespace or namespace) or usual
    selection = Selection(
        sources=[one.path for one in sources if _runs(one) and not one.host_network],
        destinations=[one.path for one in destinations if _runs(one)],
        ports=question.ports,
        families=question.families,
        addresses=question.addresses,
        services=question.services,
        sctp=True,
    )
    found = plan(Cluster(compiled, fronts=fronts(compiled), answering=answering), selection)
    if question.only_ports:
        wanted = set(question.ports)
        found = tuple(one for one in found if (one.protocol, one.port) in wanted)
    if not found:
        what = "no pod that runs is left to probe from, or none with a port to probe"
        raise NothingToProbe(f"{what}; name --from, --to, --port or another namespace")
    if len(found) > question.most:
        what = f"{len(found)} connections, and at most {question.most} are tried"
        raise NothingToProbe(f"{what}; name --from, --to or a namespace, or raise --max")
    return found


def _runs(one: Endpoint) -> bool:
    return one.kind == "Pod" and bool(one.addresses)


def _usual(one: Endpoint, namespace: str | None) -> bool:
    return one.namespace == namespace if namespace else one.namespace != SYSTEM_NAMESPACE


def _named(compiled: Compiled, names: Sequence[str], namespace: str) -> list[Endpoint]:
    """The pods that names stand for. Raises UnknownTarget, NothingToProbe for what is no pod that runs."""
    found: dict[str, Endpoint] = {}
    for name in names:
        pods = [one for one in find(compiled, name, namespace).parties if isinstance(one, Endpoint) and _runs(one)]
        if not pods:
            raise NothingToProbe(f"{name}: no pod of it runs, so there is nothing to probe")
        found |= {one.path: one for one in pods}
    return list(found.values())


def fronts(compiled: Compiled) -> tuple[ServiceFront, ...]:
    """Every Service port that can be dialled inside of the cluster, on each of the Service's addresses."""
    backends = Backends(compiled)
    found: list[ServiceFront] = []
    for service in compiled.snapshot.services:
        for address in _addresses(service):
            for port in service.spec.ports:
                doors = tuple((one.path, number) for one, number in backends.doors(service, port) if _runs(one))
                name = f"{service.namespace}/svc/{service.name}"
                found.append(ServiceFront(name, address, Protocol(port.protocol), port.port, doors))
    return tuple(found)


def _addresses(service: Service) -> Iterable[IPAddress]:
    """The addresses of its own; a headless Service has none."""
    for text in service.spec.cluster_ips or (service.spec.cluster_ip,):
        if text and text != "None":
            yield parse_address(text)
