"""JSON merge patch (RFC 7386): objects are merged, null deletes, everything else is replaced."""

from __future__ import annotations

from typing import Any


def apply_merge_patch(tree: Any, patch: Any) -> Any:
    """The patched tree; the given one stays as it is."""
    if not isinstance(patch, dict):
        return patch
    result = dict(tree) if isinstance(tree, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = apply_merge_patch(result.get(key), value)
    return result
