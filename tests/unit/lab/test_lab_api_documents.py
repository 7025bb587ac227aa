"""The documents by which the endpoint describes itself."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gatewright.kubeapi.types import type_table
from gatewright.lab.api import descriptions
from gatewright.lab.api.exchange import Request
from gatewright.lab.api.openapi import Documents
from gatewright.lab.api.resources import GROUP_VERSIONS, RESOURCES

ASKED = Request("GET", [], {}, {})


def _document(*rest: str) -> Any:
    return json.loads(Documents(type_table()).answer(rest, ASKED).body)


def _references(tree: Any) -> set[str]:
    if isinstance(tree, dict):
        own = {tree["$ref"]} if isinstance(tree.get("$ref"), str) else set()
        return own.union(*(_references(below) for below in tree.values())) if tree else own
    return set().union(*(_references(below) for below in tree)) if isinstance(tree, list) else set()


@pytest.mark.parametrize(("group", "version"), GROUP_VERSIONS)
def test_every_reference_of_a_document_leads_somewhere(group: str, version: str) -> None:
    document = _document("v3", *(("apis", group, version) if group else ("api", version)))
    schemas = document["components"]["schemas"]
    assert {one.removeprefix("#/components/schemas/") for one in _references(document)} <= schemas.keys()
    kinds = {kind["kind"] for schema in schemas.values() for kind in schema.get("x-kubernetes-group-version-kind", ())}
    assert {one.kind for one in RESOURCES if (one.group, one.version) == (group, version)} <= kinds


def test_the_second_version_has_every_kind_in_one_document() -> None:
    document = _document("v2")
    assert {one.removeprefix("#/definitions/") for one in _references(document)} <= document["definitions"].keys()
    containers = document["definitions"]["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"]
    assert (containers["x-kubernetes-patch-strategy"], containers["x-kubernetes-patch-merge-key"]) == ("merge", "name")


def test_a_document_that_the_client_has_is_not_sent_again() -> None:
    documents = Documents(type_table())
    tag = documents.answer(("v3",), ASKED).headers["ETag"]
    again = documents.answer(("v3",), Request("GET", [], {}, {"if-none-match": tag}))
    assert (again.status, again.body) == (304, b"")


def test_without_the_package_there_are_no_descriptions(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "description" in _document("v3", "api", "v1")["components"]["schemas"]["io.k8s.api.core.v1.Pod"]
    monkeypatch.setattr(descriptions, "_folder", lambda: None)
    assert "description" not in _document("v3", "api", "v1")["components"]["schemas"]["io.k8s.api.core.v1.Pod"]
