"""The connectivity of everything says about each pair what the verdict on that pair says.

Domain names are left out: the table has a row for the name, where the verdict on an address can only say that it may
be one the name stands for.
"""

from __future__ import annotations

import ipaddress

from hypothesis import given

from gatewright.engine.addresses import AddressSet
from gatewright.engine.connectivity import connections, families_in_use
from gatewright.engine.model import Endpoint
from gatewright.engine.parts import Access
from gatewright.engine.ports import NO_TRAFFIC, Protocol
from gatewright.engine.verdict import DomainName, Outcome, Party, Reason, verdict
from tests.strategies import Cluster, clusters, telling_ports
from tests.subjects import Engine

NOTHING = Access(NO_TRAFFIC, NO_TRAFFIC)
Place = tuple[int | str, int | str, int]


def outcome(access: Access, protocol: Protocol | None, port: int) -> Outcome:
    if access.ports.contains(protocol, port):
        return Outcome.ALLOWED
    return Outcome.DEPENDS if access.possible.contains(protocol, port) else Outcome.DENIED


def table(engine: Engine, outside: list[str]) -> dict[Place, Access]:
    """The answer as a table by (source, destination, family), for endpoints by index and some outside addresses.

    A row without a family holds for those that its two ends share; the table does not say which these are.
    """
    found: dict[Place, Access] = {}
    for row in connections(engine.compiled):
        families = (row.family,) if row.family else families_in_use(engine.compiled)
        for source in names(row.source, outside):
            for destination in names(row.destination, outside):
                for family in families:
                    before = found.get((source, destination, family), NOTHING)
                    both = Access(before.ports | row.access.ports, before.possible | row.access.possible)
                    found[source, destination, family] = both
    return found


def names(party: Endpoint | AddressSet | DomainName, outside: list[str]) -> list[int | str]:
    if isinstance(party, Endpoint):
        return [party.index]
    if isinstance(party, DomainName):
        return [party.name]
    return [text for text in outside if party.contains(ipaddress.ip_address(text))]


@given(clusters() | clusters(max_pods=3, tiers=True, domain_names=False))
def test_every_pair_agrees_with_its_verdict(cluster: Cluster) -> None:
    engine = Engine(cluster.objects, cluster.pod_cidrs)
    outside = ["192.0.2.1", "2001:db8::1"]
    found = table(engine, outside)
    ends: list[tuple[int | str, Party]] = [(endpoint.index, endpoint) for endpoint in engine.compiled.endpoints]
    ends += [(text, ipaddress.ip_address(text)) for text in outside]
    traffic: list[tuple[Protocol | None, int]] = [(p, port) for p in Protocol for port in telling_ports(cluster)]
    for source_name, source in ends:
        for name, destination in ends:
            if source is destination or (isinstance(source_name, str) and isinstance(name, str)):
                continue
            for family in families_in_use(engine.compiled):
                access = found.get((source_name, name, family), NOTHING)
                for protocol, port in [*traffic, (None, 0)]:
                    judged = verdict(engine.compiled, source, destination, protocol, port, family)
                    if judged.egress.reason is Reason.NO_SUCH_FAMILY:
                        continue
                    assert outcome(access, protocol, port) is judged.outcome, (source_name, name, family, port)


@given(clusters() | clusters(max_pods=3, tiers=True, domain_names=False))
def test_no_row_is_empty_or_written_twice(cluster: Cluster) -> None:
    rows = connections(Engine(cluster.objects, cluster.pod_cidrs).compiled)
    assert all(row.access.possible for row in rows)
    assert all(row.access.ports == row.access.ports & row.access.possible for row in rows)
    places = [(row.source, row.destination, row.family) for row in rows if isinstance(row.source, Endpoint)]
    assert all(isinstance(place[1], AddressSet) or places.count(place) == 1 for place in places)
