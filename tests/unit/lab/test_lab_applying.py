"""What changes when a manifest is applied: what it says, what it says no more, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from gatewright.errors import InvalidInput
from gatewright.lab.applying import difference, given
from gatewright.objects.read import keeping_trees, parse

Tree = dict[str, Any]

CASES: dict[str, tuple[Tree, Tree, Tree, Tree]] = {
    "the same": ({"a": 1}, {"a": 1}, {"a": 1}, {}),
    "a new field": ({}, {"a": 1}, {}, {"a": 1}),
    "another value": ({"a": 1}, {"a": 2}, {"a": 1}, {"a": 2}),
    "changed by somebody else": ({"a": 1}, {"a": 1}, {"a": 9}, {"a": 1}),
    "a field that is gone from the manifest": ({"a": 1, "b": 2}, {"a": 1}, {"a": 1, "b": 2}, {"b": None}),
    "a field gone from both": ({"a": 1, "b": 2}, {"a": 1}, {"a": 1}, {}),
    "what the server added stays": ({"a": 1}, {"a": 1}, {"a": 1, "default": 5}, {}),
    "nested": ({"s": {"a": 1, "b": 1}}, {"s": {"a": 2}}, {"s": {"a": 1, "b": 1, "c": 1}}, {"s": {"a": 2, "b": None}}),
    "a list with defaults": ({}, {"l": [{"p": 80}]}, {"l": [{"p": 80, "protocol": "TCP"}]}, {}),
    "a list of another length": ({}, {"l": [1, 2]}, {"l": [1]}, {"l": [1, 2]}),
    "a list with another item": ({}, {"l": [{"p": 81}]}, {"l": [{"p": 80, "x": 1}]}, {"l": [{"p": 81}]}),
    "never applied before": ({}, {"a": {"b": 1}}, {"a": {"b": 1, "c": 2}}, {}),
    "a mapping in the place of a text": ({"a": "x"}, {"a": {"b": 1}}, {"a": "x"}, {"a": {"b": 1}}),
}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_difference(case: str) -> None:
    last, new, now, expected = CASES[case]
    assert difference(last, new, now) == expected


def read(text: str) -> Any:
    with keeping_trees():
        return parse(text, "a.yaml")


def test_namespaces_come_first_and_what_is_not_served_is_told() -> None:
    found, warnings = given(
        read(
            """
apiVersion: v1
kind: Pod
metadata: {name: p, namespace: shop}
spec: {containers: [{name: c, image: i}]}
---
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: monitoring.coreos.com/v1
kind: ServiceMonitor
metadata: {name: m}
---
apiVersion: v1
kind: Secret
metadata: {name: s}
"""
        )
    )
    assert [(str(one), one.namespace) for one in found] == [
        ("namespace/shop", ""),
        ("pod/p", "shop"),
        ("secret/s", "default"),
    ]
    assert warnings == ["a.yaml:11: ServiceMonitor (monitoring.coreos.com/v1) is not served by the lab; left out"]


def test_the_whole_object_is_kept() -> None:
    (found,), _ = given(
        read("apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {priority: 5, containers: [{name: c, image: i}]}")
    )
    assert found.tree["spec"]["priority"] == 5


def test_wrong_manifests_are_refused_before_anything_is_asked() -> None:
    with pytest.raises(InvalidInput):
        given(read("apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p}\nspec: {bogus: 1}"))
