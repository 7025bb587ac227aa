"""Routes to the pods of other nodes, as the Node objects say: what a cluster's routed network plugin does.

A node's `spec.podCIDRs` are routed to its `InternalIP` of the same family; a node's own ranges are refused but for its
pods' longer routes, so that a packet to a pod that is not there comes back as an error and does not travel in circles.
"""

from __future__ import annotations

import ipaddress
import logging
import threading
import time
from collections.abc import Callable, Iterable

from gatewright.engine.addresses import IPAddress, IPNetwork
from gatewright.lab.api.resources import BY_PLURAL, Tree
from gatewright.lab.apiclient.following import Follower
from gatewright.lab.network.plan import FABRIC_NETWORKS, routable
from gatewright.lab.network.routetable import Routes, RouteTable
from gatewright.lab.network.rtnetlink import Netlink
from gatewright.sources.kubeconfig import Where

_log = logging.getLogger(__name__)

NODES = BY_PLURAL["", "nodes"]
REPAIR_AFTER = 30.0
"""Seconds after which routes that somebody else has removed are put back, at the latest."""
_LOOK = 1.0
"""Seconds between looks at whether to stop."""


def routes_of(nodes: Iterable[Tree], own: str, families: Iterable[int]) -> dict[IPNetwork, IPAddress | None]:
    """The routes that Node objects ask for at the node `own` (empty: at the fabric's router).

    Left out is what would not lead to a node of this lab: ranges that belong to others, addresses that are not on the
    fabric. Where two nodes claim a range, the first by name has it.
    """
    kept = set(families)
    found: dict[IPNetwork, IPAddress | None] = {}
    for node in sorted(nodes, key=_name):
        gateways = {} if _name(node) == own else _gateways(node)
        for network in _ranges(node):
            if network.version not in kept or network in found:
                continue
            if _name(node) == own:
                found[network] = None
            elif network.version in gateways:
                found[network] = gateways[network.version]
    return found


def _name(node: Tree) -> str:
    return str(node["metadata"]["name"])


def _ranges(node: Tree) -> Iterable[IPNetwork]:
    spec = node.get("spec") or {}
    for text in spec.get("podCIDRs") or filter(None, [spec.get("podCIDR")]):
        try:
            network: IPNetwork = ipaddress.ip_network(text)
        except ValueError:
            continue
        if routable(network):
            yield network


def _gateways(node: Tree) -> dict[int, IPAddress]:
    found: dict[int, IPAddress] = {}
    for one in (node.get("status") or {}).get("addresses") or []:
        try:
            address = ipaddress.ip_address(one["address"])
        except (KeyError, ValueError):
            continue
        if one.get("type") == "InternalIP" and any(address in network for network in FABRIC_NETWORKS):
            found.setdefault(address.version, address)
    return found


def keep_routes(
    where: Where,
    own: str,
    link: str,
    families: Iterable[int],
    stop: threading.Event,
    ready: Callable[[], None] | None = None,
) -> None:
    """Keep the routes of this thread's network namespace as the Node objects say, until `stop` is set.

    `own` is the name of the node here, empty at the fabric's router; `link` leads to the other nodes. Nothing is
    changed before all nodes are known, nor while the API is away. `ready` is called when the routes stand first.
    """
    changed = threading.Event()
    follower = Follower(where, [NODES], lambda _: changed.set())
    kept = tuple(families)
    with Netlink() as netlink:
        table = RouteTable(netlink, link)
        follower.start()
        try:
            while not stop.is_set() and not follower.wait(_LOOK):
                pass
            due = 0.0
            while not stop.is_set():
                if changed.wait(_LOOK) or time.monotonic() >= due:
                    changed.clear()
                    stand = _keep(table, routes_of(follower.all(NODES), own, kept))
                    due = time.monotonic() + (REPAIR_AFTER if stand else _LOOK)
                    if stand and ready is not None:
                        ready()
                        ready = None
        finally:
            follower.stop()


def _keep(table: RouteTable, wanted: Routes) -> bool:
    """Whether the routes stand."""
    try:
        if table.keep(wanted):
            _log.info("routes to %d pod ranges", len(wanted))
    except OSError as error:
        _log.warning("%s: %s; tried again", error.filename or "routes", error.strerror)
        return False
    return True
