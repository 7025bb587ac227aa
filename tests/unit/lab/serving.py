"""Services and EndpointSlices as a watch brings them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec

from gatewright.objects.core import Service
from gatewright.objects.meta import Object
from gatewright.objects.routing import EndpointSlice
from gatewright.objects.watched import Reader

Json = dict[str, Any]
HTTP: Json = {"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}
HTTP_BACKEND: Json = {"name": "http", "port": 8080, "protocol": "TCP"}


def service(name: str, addresses: Sequence[str], *ports: Json, namespace: str = "default", **spec: Any) -> Service:
    """A Service with these addresses, as the API has it."""
    made = {"clusterIP": addresses[0], "clusterIPs": list(addresses)} if addresses else {}
    tree = {"metadata": {"name": name, "namespace": namespace}, "spec": {**made, "ports": list(ports), **spec}}
    found = _read("", "Service", tree)
    assert isinstance(found, Service)
    return found


def endpoint(address: str, node: str = "", hostname: str = "", **conditions: bool) -> Json:
    """An endpoint, ready where nothing else is said."""
    made = {"addresses": [address], "conditions": conditions, "nodeName": node, "hostname": hostname}
    return {key: one for key, one in made.items() if one}


def endpoint_slice(
    service_name: str, ports: Sequence[Json], *endpoints: Json, name: str = "", namespace: str = "default"
) -> EndpointSlice:
    """An EndpointSlice of that Service, of the family of its endpoints."""
    family = 6 if any(":" in one["addresses"][0] for one in endpoints) else 4
    labels = {"kubernetes.io/service-name": service_name} if service_name else {}
    metadata = {"name": name or f"{service_name}-v{family}", "namespace": namespace, "labels": labels}
    tree = {"metadata": metadata, "addressType": f"IPv{family}", "endpoints": list(endpoints), "ports": list(ports)}
    found = _read("discovery.k8s.io", "EndpointSlice", tree)
    assert isinstance(found, EndpointSlice)
    return found


def _read(group: str, kind: str, tree: Json) -> Object:
    found = Reader(group, kind).item(msgspec.Raw(json.dumps(tree).encode())).object
    assert found is not None
    return found
