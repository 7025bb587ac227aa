"""The environment of a container, and its command with references to it expanded. Pure.

The order is a kubelet's: what the runtime gives, Services, envFrom, then env, where each entry may refer to what stands
before it.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable, Mapping

from gatewright.lab.api.resources import Tree
from gatewright.lab.kubelet.downward import Facts, Unresolved, field_value, resource_value

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_REFERENCE = re.compile(r"\$\$|\$\(([^)$]+)\)")
_MASTER = ("default", "kubernetes")
"""The Service that every pod learns of."""

Lookup = Callable[[str, str], Tree | None]
"""(kind, name) of a ConfigMap or Secret of the pod's namespace to the object."""


def environment(
    facts: Facts, container: Tree, lookup: Lookup, services: Iterable[Tree], hostname: str
) -> dict[str, str]:
    """What a container finds in its environment. Raises Unresolved."""
    values = {"PATH": PATH, "HOME": "/root", "HOSTNAME": hostname, "LANG": "C.UTF-8"}
    values |= service_variables(facts.pod, services)
    for source in container.get("envFrom") or ():
        values |= _all_of(source, lookup)
    for variable in container.get("env") or ():
        if source := variable.get("valueFrom"):
            found = _value_from(facts, container, source, lookup)
            if found is not None:
                values[variable["name"]] = found
        else:
            values[variable["name"]] = expand(variable.get("value") or "", values)
    return values


def expand(text: str, values: Mapping[str, str]) -> str:
    """`$(NAME)` replaced by its value where it has one; `$$` is one `$` (core/v1 Container.command)."""

    def replacement(match: re.Match[str]) -> str:
        return "$" if match[0] == "$$" else values.get(match[1], match[0])

    return _REFERENCE.sub(replacement, text)


def expanded(words: Iterable[str] | None, values: Mapping[str, str]) -> tuple[str, ...]:
    """A command or its arguments with references expanded."""
    return tuple(expand(word, values) for word in words or ())


def service_variables(pod: Tree, services: Iterable[Tree]) -> dict[str, str]:
    """What a pod is told about the Services of its namespace, and about the API (as Docker's links once did)."""
    namespace = pod["metadata"]["namespace"]
    wanted = pod["spec"].get("enableServiceLinks", True) is not False
    values: dict[str, str] = {}
    for service in sorted(services, key=lambda one: str(one["metadata"]["name"])):
        metadata = service["metadata"]
        mine = wanted and metadata["namespace"] == namespace
        if mine or (metadata["namespace"], metadata["name"]) == _MASTER:
            values |= _variables_of(service)
    return values


def _variables_of(service: Tree) -> dict[str, str]:
    spec = service.get("spec") or {}
    address, ports = spec.get("clusterIP"), spec.get("ports") or ()
    if not address or address == "None" or not ports:
        return {}
    name = str(service["metadata"]["name"]).upper().replace("-", "_")
    host = f"[{address}]" if ":" in address else address
    values = {f"{name}_SERVICE_HOST": address, f"{name}_SERVICE_PORT": str(ports[0]["port"])}
    for port in ports:
        if port.get("name"):
            values[f"{name}_SERVICE_PORT_{port['name'].upper().replace('-', '_')}"] = str(port["port"])
    for index, port in enumerate(ports):
        protocol = str(port.get("protocol") or "TCP")
        url = f"{protocol.lower()}://{host}:{port['port']}"
        if index == 0:
            values[f"{name}_PORT"] = url
        prefix = f"{name}_PORT_{port['port']}_{protocol}"
        values |= {
            prefix: url,
            f"{prefix}_PROTO": protocol.lower(),
            f"{prefix}_PORT": str(port["port"]),
            f"{prefix}_ADDR": address,
        }
    return values


def content_of(kind: str, tree: Tree) -> dict[str, bytes]:
    """What a ConfigMap or Secret holds, by key."""
    if kind == "Secret":
        return {key: base64.b64decode(value or "") for key, value in (tree.get("data") or {}).items()}
    texts = {key: (value or "").encode() for key, value in (tree.get("data") or {}).items()}
    return texts | {key: base64.b64decode(value or "") for key, value in (tree.get("binaryData") or {}).items()}


def _all_of(source: Tree, lookup: Lookup) -> dict[str, str]:
    prefix = source.get("prefix") or ""
    kind, reference = ("ConfigMap", source["configMapRef"]) if "configMapRef" in source else ("Secret", {})
    reference = source.get("secretRef") or reference
    found = lookup(kind, reference.get("name") or "")
    if found is None:
        if reference.get("optional"):
            return {}
        raise Unresolved(f'{kind.lower()} "{reference.get("name")}" not found')
    content = content_of(kind, found)
    return {prefix + key: value.decode(errors="replace") for key, value in sorted(content.items())}


def _value_from(facts: Facts, container: Tree, source: Tree, lookup: Lookup) -> str | None:
    if reference := source.get("fieldRef"):
        return field_value(facts, str(reference.get("fieldPath", "")))
    if reference := source.get("resourceFieldRef"):
        return resource_value(facts, container, reference)
    for field, kind in (("configMapKeyRef", "ConfigMap"), ("secretKeyRef", "Secret")):
        if reference := source.get(field):
            return _key_of(kind, reference, lookup, facts.pod["metadata"]["namespace"])
    raise Unresolved(f"the lab does not know valueFrom.{next(iter(source), '')}")


def _key_of(kind: str, reference: Tree, lookup: Lookup, namespace: str) -> str | None:
    name, key = reference.get("name") or "", reference.get("key") or ""
    found = lookup(kind, name)
    content = {} if found is None else content_of(kind, found)
    if key in content:
        return content[key].decode(errors="replace")
    if reference.get("optional"):
        return None
    if found is None:
        raise Unresolved(f'{kind.lower()} "{name}" not found')
    raise Unresolved(f"couldn't find key {key} in {kind} {namespace}/{name}")
