"""Pods that probes of a cluster make: one container with least rights, that any node takes and that ends by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Tree = Mapping[str, Any]

DEFAULT_IMAGE = "busybox:1.37"
NOBODY = 65534
CONTAINER = "probe"


def container(image: str, command: Sequence[str], cpu: tuple[str, str], more: Tree) -> Tree:
    """The container: read-only, without capabilities, small. `cpu` is what it asks for and what it may take."""
    asked, limit = cpu
    return {
        "name": CONTAINER,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": list(command),
        **more,
        "resources": {"requests": {"cpu": asked, "memory": "16Mi"}, "limits": {"cpu": limit, "memory": "64Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }


def pod(metadata: Tree, node: str, life: int, only: Tree) -> Tree:
    """A pod with this one container, on a node if one is named; it ends after `life` seconds."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {
            **({"nodeName": node} if node else {}),
            "restartPolicy": "Never",
            "activeDeadlineSeconds": life,
            "terminationGracePeriodSeconds": 1,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "tolerations": [{"operator": "Exists"}],
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": NOBODY,
                "runAsGroup": NOBODY,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [only],
        },
    }
