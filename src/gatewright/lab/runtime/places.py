"""Where a runtime keeps the logs of its pods: `NAMESPACE_NAME_UID/CONTAINER/RUN.log`, as on a node. Pure."""

from __future__ import annotations

from pathlib import Path

from gatewright.lab.errors import LabError


def pod_folder(folder: Path, namespace: str, name: str, uid: str) -> Path:
    """The folder of one pod. Raises LabError for what cannot be part of a path."""
    for part in (namespace, name, uid):
        _require_name(part)
    return folder / f"{namespace}_{name}_{uid}"


def log_file(pod: Path, container: str, run: int) -> Path:
    """The log of one run of a container. Raises LabError."""
    _require_name(container)
    return pod / container / f"{run}.log"


def _require_name(text: str) -> None:
    if not text or "/" in text or "\0" in text or text in (".", ".."):
        raise LabError(f"{text[:60]!r} cannot be a name in the runtime")
