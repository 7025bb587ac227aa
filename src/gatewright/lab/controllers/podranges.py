"""Gives each node its ranges of pod addresses, never the same to two, and free again when the node is gone."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Sequence

from gatewright.lab.api.resources import Tree
from gatewright.lab.apiclient.following import Change
from gatewright.lab.apiclient.working import Cluster
from gatewright.lab.controllers.objects import Key, uid_of
from gatewright.lab.controllers.owning import tolerating
from gatewright.lab.controllers.scheduler import NODES

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
NODE_PREFIX = {4: 24, 6: 64}
"""How many bits name a node's range, by family."""


def ranges_of(node: Tree) -> list[str]:
    """The ranges that a node has."""
    spec = node.get("spec") or {}
    return list(spec.get("podCIDRs") or filter(None, [spec.get("podCIDR")]))


def free_ranges(cluster_ranges: Sequence[Network], nodes: Iterable[Tree]) -> list[str] | None:
    """The first range of each family that overlaps with no node's; None where one family has none left."""
    taken = list(_readable(text for node in nodes for text in ranges_of(node)))
    found = []
    for whole in cluster_ranges:
        length = max(whole.prefixlen, NODE_PREFIX[whole.version])
        mine = [one for one in taken if one.version == whole.version]
        free = next((one for one in whole.subnets(new_prefix=length) if not _overlaps(one, mine)), None)
        if free is None:
            return None
        found.append(str(free))
    return found


def _readable(texts: Iterable[str]) -> Iterator[Network]:
    for text in texts:
        try:
            yield ipaddress.ip_network(text, strict=False)
        except ValueError:
            continue  # what is not a range takes no range from others


def _overlaps(one: Network, others: Iterable[Network]) -> bool:
    return any(one.overlaps(other) for other in others)


class PodRanges:
    """Fills in `spec.podCIDRs`."""

    name = "node-ipam-controller"
    resources = (NODES,)

    def __init__(self, cluster_ranges: Sequence[Network]) -> None:
        self._ranges = tuple(cluster_ranges)
        self._without: set[Key] = set()

    def keys(self, change: Change) -> Iterable[Key]:
        """A node without ranges; all of these when a node goes and its ranges are free."""
        if change.after is None:
            self._without.discard(change.name)
            return tuple(self._without)
        return () if ranges_of(change.after) else (change.name,)

    def reconcile(self, cluster: Cluster, key: Key) -> float | None:
        """Give one node its ranges."""
        node = cluster.follower.get(NODES, *key)
        if node is None or ranges_of(node):
            return None
        found = free_ranges(self._ranges, cluster.follower.all(NODES))
        if found is None:
            self._without.add(key)
            said = f"no range is left in {' and '.join(map(str, self._ranges))}: delete a node, or start a larger lab"
            cluster.event(node, "Warning", "CIDRNotAvailable", said)
            return None
        self._without.discard(key)
        patch = {"metadata": {"uid": uid_of(node)}, "spec": {"podCIDR": found[0], "podCIDRs": found}}
        with tolerating("NotFound"):
            cluster.writer.patch(NODES, "", key[1], patch)
        return None
