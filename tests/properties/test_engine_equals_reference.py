"""The engine equals the reference evaluator: every pair of ends, every protocol, every port where an answer can change.

Where an address is not known yet the reference judges block by block, as the rule is written. The engine may be
sharper than that (two blocks can together cover a range that neither covers), but only truthfully: its answer must
then be the one that every possible address leads to.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import pytest
from hypothesis import given, note

from tests.reference.evaluator import Reference
from tests.strategies import Cluster, Question, clusters, connections, named_connections
from tests.subjects import Engine


@pytest.mark.timeout(600)
@given(clusters())
def test_engine_equals_reference(cluster: Cluster) -> None:
    agree(cluster, connections(cluster))


@pytest.mark.timeout(600)
@given(clusters(manifests=True))
def test_engine_equals_reference_where_addresses_are_not_known(cluster: Cluster) -> None:
    agree(cluster, connections(cluster))


@pytest.mark.timeout(600)
@given(clusters(max_pods=3, tiers=True))
def test_engine_equals_reference_with_tiers(cluster: Cluster) -> None:
    agree(cluster, connections(cluster))


@pytest.mark.timeout(600)
@given(clusters(max_pods=3, manifests=True, tiers=True))
def test_engine_equals_reference_with_tiers_where_addresses_are_not_known(cluster: Cluster) -> None:
    agree(cluster, connections(cluster))


@pytest.mark.timeout(600)
@given(clusters(max_pods=2, tiers=True) | clusters(max_pods=2, manifests=True, tiers=True))
def test_engine_equals_reference_where_the_destination_is_a_name(cluster: Cluster) -> None:
    agree(cluster, named_connections(cluster))


def agree(cluster: Cluster, questions: Iterable[Question]) -> None:
    """Ask both every question."""
    engine = Engine(cluster.objects, cluster.pod_cidrs)
    reference = Reference(cluster.objects, cluster.pod_cidrs)
    for question in questions:
        answer, expected = engine.connection(*question), reference.connection(*question)
        if answer != expected:
            note(f"{question}: the reference says {expected}, the engine {answer}")
            assert expected == "depends"
            assert reference.outcomes(*question) == {answer}


@pytest.mark.timeout(600)
@given(clusters(max_pods=3) | clusters(max_pods=3, tiers=True))
def test_the_reference_is_certain_only_where_every_address_leads_to_its_answer(cluster: Cluster) -> None:
    reference = Reference(cluster.objects, cluster.pod_cidrs)
    for question in itertools.chain(connections(cluster), named_connections(cluster)):
        answer = reference.connection(*question)
        if answer != "depends":
            assert reference.outcomes(*question) == {answer}, question
