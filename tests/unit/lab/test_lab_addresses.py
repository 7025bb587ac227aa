"""Addresses stay with their owner, and a new pod does not get the address of one that has just gone."""

from __future__ import annotations

import pytest

from gatewright.lab.addresses import NO_POSITIONS, Plan
from gatewright.lab.errors import LabError

PLAN = Plan.of(["10.9.0.0/29", "fd00:9::/64"])


def test_pods_have_an_address_of_each_family() -> None:
    assert [str(address) for address in PLAN.pod_addresses(0)] == ["10.9.0.1", "fd00:9::1"]
    assert PLAN.capacity == 6


def test_who_has_an_address_keeps_it() -> None:
    ring = NO_POSITIONS.take(["a", "b"], 6)
    assert ring.take(["c", "b", "a"], 6).held == {"a": 0, "b": 1, "c": 2}


def test_an_address_that_was_given_back_is_the_last_to_be_given_again() -> None:
    ring = NO_POSITIONS.take(["a", "b"], 4).take(["b"], 4).take(["b", "c", "d"], 4)
    assert ring.held == {"b": 1, "c": 2, "d": 3}
    assert ring.take(["b", "c", "d", "e"], 4).held["e"] == 0


def test_a_full_range_is_an_error() -> None:
    with pytest.raises(LabError, match="7 pods do not fit the pod range, which holds 6"):
        NO_POSITIONS.take("abcdefg", 6)


def test_every_pod_is_replaced_in_a_full_range() -> None:
    ring = NO_POSITIONS.take("abcdef", 6).take("ghijkl", 6)
    assert sorted(ring.held.values()) == list(range(6))


@pytest.mark.parametrize(
    ("cidrs", "message"),
    [
        (["10.96.0.0/24"], "overlaps 10.96.0.0/16"),
        (["203.0.113.0/24"], "overlaps 203.0.113.10/32"),
        (["nonsense"], "nonsense"),
        (["10.1.0.0/24", "10.2.0.0/24"], "at most one IPv4"),
        (["fd00::/64"], "an IPv4 range is needed"),
        (["10.1.0.1/24"], "host bits"),
    ],
)
def test_ranges_that_cannot_be(cidrs: list[str], message: str) -> None:
    with pytest.raises(LabError, match=message):
        Plan.of(cidrs)
