"""What a user can choose about a lab, and the file that says it (`lab up --config lab.yaml`)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import yaml

from gatewright.errors import line
from gatewright.lab.errors import LabError
from gatewright.lab.network.plan import OUTSIDE, Plan

NETWORKS = ("enforcing", "flat")
_NODE_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?")


class Taint(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """core/v1 Taint, as a node is registered with it."""

    key: str
    effect: str
    value: str = ""


class NodeSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One node."""

    name: str
    labels: dict[str, str] = {}
    taints: tuple[Taint, ...] = ()


@dataclass(frozen=True, slots=True)
class LabSettings:
    """A lab as it is to be.

    `network`: enforcing runs the agent on each node, flat runs none. `start_closed` and `keep_connections` are the
    agent's options. `api` is the kubeconfig of an API server that is there already: the lab's nodes join it, and the
    lab's own controllers run only where `controllers` says so.
    """

    nodes: tuple[NodeSettings, ...]
    plan: Plan
    network: str = "enforcing"
    start_closed: bool = False
    keep_connections: bool = False
    api: Path | None = None
    controllers: bool = True

    def __post_init__(self) -> None:
        """Raises LabError for what cannot be."""
        if self.network not in NETWORKS:
            raise LabError(f'network "{self.network}": choose {" or ".join(NETWORKS)}')
        for node in self.nodes:
            require_node_name(node.name)
        names = [node.name for node in self.nodes]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise LabError(f'node name "{twice[0]}" is given twice; name each node once')


def require_node_name(name: str) -> None:
    """Raises LabError for a name that no node can have."""
    if not _NODE_NAME.fullmatch(name):
        raise LabError(f'node name "{name}": use at most 40 lower-case letters, digits and "-"')
    if name == OUTSIDE:
        raise LabError(f'node name "{name}": the host outside has it; choose another name')


def numbered(count: int) -> tuple[NodeSettings, ...]:
    """So many nodes: node-1, node-2 ..."""
    return tuple(NodeSettings(f"node-{number}") for number in range(1, count + 1))


class LabFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """lab.yaml. `nodes` is a number, or the nodes by name; `manifests` are paths, seen from the file's folder."""

    nodes: int | tuple[NodeSettings, ...] | None = None
    name: str | None = None
    network: str | None = None
    pod_cidrs: tuple[str, ...] | None = msgspec.field(default=None, name="podCIDRs")
    start_closed: bool = False
    keep_connections: bool = False
    manifests: tuple[str, ...] = ()


def read_lab_file(path: Path) -> LabFile:
    """The file, checked. Raises LabError that names the field."""
    try:
        tree: Any = yaml.safe_load(path.read_text())
    except OSError as error:
        raise LabError(f"{path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise LabError(f"{path}: not YAML: {line(error)}") from error
    try:
        return msgspec.convert(tree or {}, LabFile)
    except msgspec.ValidationError as error:
        raise LabError(f"{path}: {line(error)}; see the page on the lab for the fields") from error
