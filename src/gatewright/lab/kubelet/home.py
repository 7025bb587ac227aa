"""What a pod's task needs of the kubelet that it belongs to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from gatewright.lab.api.resources import Tree
from gatewright.lab.kubelet.environment import Lookup
from gatewright.lab.kubelet.runner import Runner


class Home(Protocol):
    """For the thread of the loop."""

    @property
    def node(self) -> str:
        """The node's name."""

    @property
    def addresses(self) -> Sequence[str]:
        """The node's addresses."""

    @property
    def resolver(self) -> str:
        """Where the cluster's names are answered."""

    @property
    def runner(self) -> Runner:
        """Who runs the pods."""

    @property
    def allocatable(self) -> Tree:
        """What the node has to give."""

    def lookup(self, namespace: str) -> Lookup:
        """ConfigMaps and Secrets of a namespace."""

    def services(self) -> Iterable[Tree]:
        """All Services."""

    def pod_addresses(self, uid: str) -> tuple[str, ...] | None:
        """Addresses for a pod, None while the node has no range. Raises LabError."""

    def link(self) -> str:
        """A name for a link."""

    def tell(self, pod: Tree, status: Tree) -> None:
        """Tell the API a status."""

    def event(self, pod: Tree, kind: str, reason: str, message: str) -> None:
        """Tell an Event."""

    def ended(self, pod: Tree) -> None:
        """Tell the API that a pod that is being deleted is gone from here."""
