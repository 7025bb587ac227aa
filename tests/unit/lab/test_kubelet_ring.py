"""Addresses stay with their owner, and a new pod does not get the address of one that has just gone."""

from __future__ import annotations

import ipaddress

import pytest

from gatewright.lab.errors import LabError
from gatewright.lab.kubelet.ring import Plan, Ring

PLAN = Plan((ipaddress.ip_network("10.9.0.0/29"), ipaddress.ip_network("fd00:9::/64")))


def test_pods_have_an_address_of_each_family() -> None:
    assert [str(address) for address in PLAN.pod_addresses(0)] == ["10.9.0.1", "fd00:9::1"]
    assert PLAN.capacity == 6


def test_who_has_an_address_keeps_it() -> None:
    ring = Ring({}).take(["a", "b"], 6)
    assert ring.take(["c", "b", "a"], 6).held == {"a": 0, "b": 1, "c": 2}


def test_an_address_that_was_given_back_is_the_last_to_be_given_again() -> None:
    ring = Ring({}).take(["a", "b"], 4).take(["b"], 4).take(["b", "c", "d"], 4)
    assert ring.held == {"b": 1, "c": 2, "d": 3}
    assert ring.take(["b", "c", "d", "e"], 4).held["e"] == 0


def test_a_full_range_is_an_error() -> None:
    with pytest.raises(LabError, match="7 pods do not fit the pod range, which holds 6"):
        Ring({}).take("abcdefg", 6)


def test_every_pod_is_replaced_in_a_full_range() -> None:
    ring = Ring({}).take("abcdef", 6).take("ghijkl", 6)
    assert sorted(ring.held.values()) == list(range(6))
