"""Objects for tests of the lab, written as manifests are."""

from __future__ import annotations

import ipaddress

from gatewright.lab.services import Backend
from gatewright.objects.core import Pod
from gatewright.objects.meta import Object
from gatewright.objects.read import parse


def objects(text: str) -> list[Object]:
    """The objects of a manifest text."""
    return list(parse(text, "test.yaml").require())


def one(text: str) -> Object:
    """The only object of a manifest text."""
    (found,) = objects(text)
    return found


def backend(text: str, *addresses: str, ready: bool = True) -> Backend:
    """A pod behind a Service."""
    pod = one(text)
    assert isinstance(pod, Pod)
    return Backend(pod, pod.spec.hostname or pod.name, tuple(map(ipaddress.ip_address, addresses)), ready)


def pod(name: str, ports: str = "[{containerPort: 80, name: http}]", spec: str = "", labels: str = "app: x") -> str:
    """A pod's manifest."""
    return f"""---
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: default, labels: {{{labels}}}}}
spec: {{{spec}containers: [{{name: main, image: none, ports: {ports}}}]}}
"""


def service(name: str, spec: str) -> str:
    """A Service's manifest."""
    return f"---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: default}}\nspec: {{{spec}}}\n"
