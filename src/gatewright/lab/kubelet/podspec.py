"""What a kubelet reads in a Pod: a tree as the API gives it, with the API's defaults where a field is missing.

Container kinds follow KEP-753: an init container whose restartPolicy is Always is a sidecar, which goes on running
beside the containers and ends after them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from gatewright.lab.api.resources import Tree

Kind = Literal["init", "sidecar", "main"]
DEFAULT_GRACE = 30
_REFERENCES = {
    "configMap": "ConfigMap",
    "configMapRef": "ConfigMap",
    "configMapKeyRef": "ConfigMap",
    "secret": "Secret",
    "secretRef": "Secret",
    "secretKeyRef": "Secret",
}
"""Fields of volumes, envFrom and valueFrom, and the kind that they name."""


@dataclass(frozen=True, slots=True)
class Part:
    """One container of a pod: its tree, and what it is to the pod."""

    tree: Tree
    kind: Kind

    @property
    def name(self) -> str:
        """Unique in its pod."""
        return str(self.tree["name"])


@dataclass(frozen=True, slots=True)
class PodSpec:
    """A pod as its kubelet sees it. `tree` is the object and is never changed."""

    tree: Tree
    parts: tuple[Part, ...]
    """Init containers and sidecars in their order, then the containers."""

    @property
    def uid(self) -> str:
        """What tells it from another pod of the same name."""
        return str(self.tree["metadata"]["uid"])

    @property
    def namespace(self) -> str:
        """Its namespace."""
        return str(self.tree["metadata"]["namespace"])

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.tree["metadata"]["name"])

    @property
    def spec(self) -> Tree:
        """Its spec."""
        spec: Tree = self.tree["spec"]
        return spec

    @property
    def status(self) -> Tree:
        """Its status as the API has it."""
        status: Tree = self.tree.get("status") or {}
        return status

    @property
    def host_network(self) -> bool:
        """Whether it shares its node's network."""
        return bool(self.spec.get("hostNetwork"))

    @property
    def restart_policy(self) -> str:
        """Always, OnFailure or Never."""
        return str(self.spec.get("restartPolicy") or "Always")

    @property
    def grace(self) -> float:
        """Seconds that its containers have to end: those of its deletion once it is being deleted."""
        asked = self.tree["metadata"].get("deletionGracePeriodSeconds")
        if asked is None:
            asked = self.spec.get("terminationGracePeriodSeconds")
        return float(DEFAULT_GRACE if asked is None else asked)

    @property
    def deleting(self) -> bool:
        """Whether it is to go."""
        return bool(self.tree["metadata"].get("deletionTimestamp"))

    @property
    def finished(self) -> bool:
        """Whether the API has it as ended for good."""
        return self.status.get("phase") in ("Succeeded", "Failed")

    @property
    def hostname(self) -> str:
        """What the pod calls itself (at most 63 characters)."""
        return str(self.spec.get("hostname") or self.name[:63].rstrip(".-"))

    def part(self, name: str) -> Part:
        """The container of this name. Raises KeyError."""
        for part in self.parts:
            if part.name == name:
                return part
        raise KeyError(name)


def read_pod(tree: Tree) -> PodSpec:
    """A Pod object as its kubelet sees it."""
    return PodSpec(tree, tuple(_parts(tree["spec"])))


def _parts(spec: Tree) -> Iterator[Part]:
    for container in spec.get("initContainers") or ():
        yield Part(container, "sidecar" if container.get("restartPolicy") == "Always" else "init")
    for container in spec.get("containers") or ():
        yield Part(container, "main")


def ports_of(container: Tree) -> list[tuple[str, str, int]]:
    """(name, protocol, number) of each declared port."""
    return [
        (port.get("name") or "", port.get("protocol") or "TCP", int(port["containerPort"]))
        for port in container.get("ports") or ()
    ]


def port_number(container: Tree, port: int | str) -> int | None:
    """The number of a port that is given by number or by name; None where no port is called so."""
    if isinstance(port, int) or port.isdigit():
        return int(port)
    return next((number for name, _, number in ports_of(container) if name == port), None)


def references(tree: Tree) -> frozenset[tuple[str, str]]:
    """(kind, name) of the ConfigMaps and Secrets of its namespace that a pod's volumes and environment refer to."""
    spec, sources = tree["spec"], []
    for volume in spec.get("volumes") or ():
        sources += [volume, *((volume.get("projected") or {}).get("sources") or ())]
    for container in (*(spec.get("initContainers") or ()), *(spec.get("containers") or ())):
        sources += container.get("envFrom") or ()
        sources += [variable.get("valueFrom") or {} for variable in container.get("env") or ()]
    return frozenset(
        (kind, str(source[field].get("name") or source[field].get("secretName") or ""))
        for source in sources
        for field, kind in _REFERENCES.items()
        if source.get(field)
    )


def seconds_of(stamp: str | None) -> float | None:
    """A time as objects carry it, in seconds since 1970; None for none."""
    if not stamp:
        return None
    return datetime.fromisoformat(stamp.replace("Z", "+00:00")).timestamp()


def stamp_of(seconds: float) -> str:
    """Seconds since 1970 as objects carry them."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
