"""What the kubelet asks of whoever runs pods: the lab's runtime, or in tests one that runs nothing.

Pods outlive the kubelet: a new one finds by `pods` what runs.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from gatewright.lab.kubelet.containers import Containers
from gatewright.lab.runtime.model import (
    ContainerEvent,
    ContainerSetup,
    ContainerState,
    PodEvent,
    PodSetup,
    PodState,
    Volume,
)


class Runner(Protocol):
    """Every method raises LabError, with one line for people, where it cannot be done or nobody answers."""

    @property
    def containers(self) -> Containers:
        """What runs, for exec, attach, logs and port-forward."""

    @property
    def events(self) -> asyncio.Queue[ContainerEvent | PodEvent]:
        """What has ended without being asked to, or because it was."""

    async def create_pod(self, setup: PodSetup) -> None:
        """Make a sandbox, connected; no container runs yet."""

    async def start_container(self, uid: str, container: ContainerSetup) -> ContainerState:
        """Start one run of a container."""

    async def stop_container(self, uid: str, name: str, grace: float) -> None:
        """End a container, the hard way after so many seconds; returns when it has ended."""

    async def update_volumes(self, uid: str, volumes: dict[str, Volume]) -> None:
        """Give volumes other files."""

    async def remove_pod(self, uid: str) -> None:
        """Take away everything of a pod; none is no error."""

    async def pods(self) -> list[PodState]:
        """The pods that are there."""
