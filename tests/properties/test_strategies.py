"""The random clusters are what a server would accept, and hold every word the properties are about."""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import Phase, given, settings

from gatewright.objects.read import decode
from tests.strategies import Cluster, clusters
from tests.vocabulary import POLICY_KINDS

WORDS = {
    *("Admin", "Baseline", "Accept", "Allow", "Deny", "Pass"),
    *("namespaces", "pods", "nodes", "networks", "domainNames", "tcp", "udp", "sctp", "destinationNamedPort"),
    *("number", "range", "portNumber", "portRange", "namedPort"),
}


@given(clusters(tiers=True) | clusters(manifests=True, tiers=True))
def test_every_object_is_valid(cluster: Cluster) -> None:
    assert None not in [decode(obj) for obj in cluster.objects]  # decode raises for what a server would refuse


def test_every_kind_and_word_of_policies_comes_up() -> None:
    found: set[str] = set()

    @settings(phases=[Phase.generate], database=None)
    @given(clusters(tiers=True))
    def look(cluster: Cluster) -> None:
        policies = [obj for obj in cluster.objects if obj["kind"] in POLICY_KINDS]
        found.update(each["kind"] for each in policies)
        found.update(word for each in policies for word in words(each["spec"]))

    look()
    assert {*POLICY_KINDS, *WORDS} <= found


def words(value: object) -> Iterator[str]:
    """Every key and every text in an object."""
    if isinstance(value, dict):
        yield from value
    if isinstance(value, str):
        yield value
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for part in parts:
        yield from words(part)
