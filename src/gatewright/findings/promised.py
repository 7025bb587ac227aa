"""Pods that are not among the objects because an operator will make them: what custom resources say of their labels."""

from __future__ import annotations

from typing import Any

_SIGNS = {"replicas", "template", "podMetadata", "podTemplate", "image", "containers"}


def promised_labels(tree: Any) -> dict[str, str] | None:
    """The labels that pods made from a custom resource have, as far as it says; None where it makes no pods.

    Operators put their pods' labels into `spec.template.metadata`, `spec.podMetadata` or the resource's own labels.
    """
    spec = _mapping(tree, "spec")
    if not _SIGNS & spec.keys():
        return None
    labels = dict(_mapping(tree, "metadata", "labels"))
    for path in (("template", "metadata"), ("podTemplate", "metadata"), ("podMetadata",)):
        labels |= _mapping(spec, *path, "labels")
    return {key: value for key, value in labels.items() if isinstance(value, str)}


def _mapping(tree: Any, *path: str) -> dict[str, Any]:
    for step in path:
        tree = tree.get(step) if isinstance(tree, dict) else None
    return tree if isinstance(tree, dict) else {}
