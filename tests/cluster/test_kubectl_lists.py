"""`kubectl create -f` of a List, whose objects kubectl checks itself, with the types that it asks for in protobuf."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gatewright.kubeapi import openapi_protobuf
from tests.cluster.endpoint import kubectl

pytestmark = pytest.mark.cluster
POLICY = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "NetworkPolicy",
    "metadata": {"name": "db-policy"},
    "spec": {"podSelector": {"matchLabels": {"role": "db"}}, "policyTypes": ["Ingress"]},
}
SETTINGS = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"a": "b"}}


def listed(*items: object) -> str:
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": items})


def test_the_objects_of_a_list_are_created(kubeconfig: Path, namespace: str) -> None:
    said = kubectl(kubeconfig, "create", "-f", "-", text=listed(POLICY, SETTINGS), namespace=namespace)
    assert said == "networkpolicy.networking.k8s.io/db-policy created\nconfigmap/settings created\n"


def test_an_unknown_field_in_a_list_is_refused_before_anything_is_created(kubeconfig: Path, namespace: str) -> None:
    wrong = {**POLICY, "spec": {**POLICY["spec"], "podSelectr": {}}}  # type: ignore[dict-item]
    said = kubectl(kubeconfig, "create", "-f", "-", text=listed(SETTINGS, wrong), namespace=namespace, expected=1)
    assert 'unknown field "podSelectr" in io.k8s.api.networking.v1.NetworkPolicySpec' in said
    assert "No resources found" in kubectl(kubeconfig, "get", "netpol", namespace=namespace)


def test_what_has_no_place_in_the_form_is_refused() -> None:
    with pytest.raises(ValueError, match="oneOf has no place"):
        openapi_protobuf.document({"definitions": {"a": {"oneOf": []}}})
