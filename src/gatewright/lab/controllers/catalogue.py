"""The controllers of a lab, in the order in which they are asked about a change."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

from gatewright.lab.apiclient.working import Controller
from gatewright.lab.controllers.basics import ApiService, NamespaceBasics
from gatewright.lab.controllers.cronjobs import CronJobs
from gatewright.lab.controllers.daemonsets import DaemonSets
from gatewright.lab.controllers.deployments import Deployments
from gatewright.lab.controllers.guard import Guarded
from gatewright.lab.controllers.jobs import Jobs
from gatewright.lab.controllers.nodelife import GRACE, NodeLife
from gatewright.lab.controllers.podgc import QUARANTINE, PodGC
from gatewright.lab.controllers.podranges import Network, PodRanges
from gatewright.lab.controllers.replicasets import ReplicaSets
from gatewright.lab.controllers.scheduler import Scheduler
from gatewright.lab.controllers.statefulsets import StatefulSets


@dataclass(frozen=True)
class ControllerSettings:
    """What the controllers of a lab have to be told."""

    authority: str
    """The certificate (PEM) by which the API is known."""
    api_addresses: tuple[str, ...] = ("172.31.255.1",)
    api_port: int = 6443
    """Where pods reach the API."""
    api_service: str = "10.96.0.1"
    """The address of the Service `kubernetes`."""
    pod_ranges: tuple[Network, ...] = (
        ipaddress.IPv4Network("10.244.0.0/16"),
        ipaddress.IPv6Network("fd00:10:244::/56"),
    )
    """From what nodes get their ranges of pod addresses."""
    node_grace: float = GRACE
    """Seconds after which a node that renews no lease is unknown."""
    missing_node_grace: float = QUARANTINE
    """Seconds after which the pods of a node that is gone are deleted."""


def controllers(settings: ControllerSettings) -> Sequence[Controller]:
    """One of each; a controller keeps state, so every run needs its own."""
    found: tuple[Controller, ...] = (
        PodRanges(settings.pod_ranges),
        NamespaceBasics(settings.authority),
        ApiService(settings.api_service, settings.api_addresses, settings.api_port),
        Scheduler(),
        ReplicaSets(),
        Deployments(),
        StatefulSets(),
        DaemonSets(),
        Jobs(),
        CronJobs(),
        NodeLife(settings.node_grace),
        PodGC(settings.missing_node_grace),
    )
    return tuple(map(Guarded, found))
