"""Looking into objects of which nothing is promised: what is not there, or of another type, is empty."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Tree = Mapping[str, Any]
EMPTY: Tree = {}


def at(tree: object, *path: str) -> object:
    """What stands at a path of keys; None where nothing does."""
    for key in path:
        if not isinstance(tree, dict):
            return None
        tree = tree.get(key)
    return tree


def text(tree: object, *path: str) -> str:
    """A string at a path; a number or a truth value as YAML writes it; empty where there is none."""
    found = at(tree, *path)
    if isinstance(found, bool):
        return "true" if found else "false"
    return str(found) if isinstance(found, str | int | float) else ""


def number(tree: object, *path: str) -> int:
    """A whole number at a path, else 0."""
    found = at(tree, *path)
    return found if isinstance(found, int) and not isinstance(found, bool) else 0


def mapping(tree: object, *path: str) -> Tree:
    """A mapping at a path."""
    found = at(tree, *path)
    return found if isinstance(found, dict) else EMPTY


def strings(tree: object, *path: str) -> tuple[str, ...]:
    """The strings of a list at a path."""
    found = at(tree, *path)
    return tuple(one for one in found if isinstance(one, str)) if isinstance(found, list) else ()


def items(tree: object, *path: str) -> tuple[Tree, ...]:
    """The mappings of a list at a path."""
    found = at(tree, *path)
    return tuple(one for one in found if isinstance(one, dict)) if isinstance(found, list) else ()


def name_of(tree: object) -> str:
    """metadata.name."""
    return text(tree, "metadata", "name")


def namespace_of(tree: object) -> str:
    """metadata.namespace."""
    return text(tree, "metadata", "namespace")


def labels_of(tree: object) -> Tree:
    """metadata.labels."""
    return mapping(tree, "metadata", "labels")


def called(kind: str, tree: object) -> str:
    """What people call an object: `DaemonSet kube-system/kindnet`."""
    namespace = namespace_of(tree)
    return f"{kind} {namespace}/{name_of(tree)}" if namespace else f"{kind} {name_of(tree)}"
