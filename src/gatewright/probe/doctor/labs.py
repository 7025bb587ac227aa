"""The agents of a lab on this machine, which run beside its pods and not as pods: asked over their sockets.

What they say is put in the shape of the pods that run them elsewhere, so that one way of judging holds for both.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gatewright.agent import client
from gatewright.agent.status import State
from gatewright.lab import kubeconfigs
from gatewright.lab.directory import LabDirectory, lab_directory
from gatewright.lab.errors import LabError
from gatewright.sources.kubeconfig import Where, configuration

READY = (State.IN_STEP, State.STALE)


def lab_of(where: Where) -> LabDirectory | None:
    """The lab of this machine that this cluster is, by the name of its context. Raises ClusterUnavailable."""
    single = configuration(where).single
    name = single.context_name.removeprefix(kubeconfigs.context_of(""))
    if name == single.context_name:
        return None
    try:
        lab = lab_directory(name)
        there = lab.process() is not None and lab.kubeconfig.exists()
    except LabError:
        return None
    return lab if there and _server(Where(str(lab.kubeconfig))) == single.cluster.server else None


def lab_agents(where: Where) -> tuple[dict[str, Any], ...]:
    """The agents of the lab that this cluster is; none where it is no lab of this machine.

    Raises ClusterUnavailable.
    """
    lab = lab_of(where)
    return tuple(_agents(lab.name, lab.path / "nodes")) if lab is not None else ()


def _server(where: Where) -> str:
    return configuration(where).single.cluster.server


def _agents(lab: str, nodes: Path) -> Iterator[dict[str, Any]]:
    for folder in sorted(nodes.iterdir()):
        socket = folder / "agent.sock"
        if socket.exists():
            yield _pod(lab, folder.name, _said(socket))


def _said(socket: Path) -> dict[str, Any]:
    try:
        return client.status(socket, timeout=1.0)
    except client.NoAgent:
        return {}


def _pod(lab: str, node: str, said: dict[str, Any]) -> dict[str, Any]:
    """An agent as the DaemonSet of deploy/ would run it."""
    audit = ["--audit"] if str(said.get("mode", "")).startswith("audit") else []
    ready = said.get("state") in READY
    return {
        "kind": "Pod",
        "metadata": {"name": f"agent of {node}", "namespace": f"lab {lab}"},
        "spec": {
            "nodeName": node,
            "containers": [{"name": "agent", "image": "gatewright-agent", "args": ["agent", "run", *audit]}],
        },
        "status": {"conditions": [{"type": "Ready", "status": "True" if ready else "False"}]},
    }
