"""What clients expect to find in any cluster: the Service `kubernetes`, and two objects in every namespace."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence

from gatewright.lab.api.resources import BY_PLURAL, Resource, Tree
from gatewright.lab.apiclient.following import Change
from gatewright.lab.apiclient.working import Cluster
from gatewright.lab.apiclient.writing import Refused
from gatewright.lab.controllers.objects import Key, deleting
from gatewright.lab.controllers.owning import namespace_ends, tolerating
from gatewright.lab.controllers.scheduler import NAMESPACES

SERVICES, ENDPOINTS = BY_PLURAL["", "services"], BY_PLURAL["", "endpoints"]
SLICES = BY_PLURAL["discovery.k8s.io", "endpointslices"]
ACCOUNTS, CONFIG_MAPS = BY_PLURAL["", "serviceaccounts"], BY_PLURAL["", "configmaps"]
ROOT_CA = "kube-root-ca.crt"
_API: Key = ("default", "kubernetes")
_ABOUT_CA = {
    "kubernetes.io/description": "Contains a CA bundle that can be used to verify the kube-apiserver when using "
    "internal endpoints such as the internal service IP or kubernetes.default.svc."
}


class NamespaceBasics:
    """Keeps the ServiceAccount `default` and the ConfigMap `kube-root-ca.crt` in every namespace."""

    name = "namespace-basics-controller"
    resources = (NAMESPACES, ACCOUNTS, CONFIG_MAPS)

    def __init__(self, authority: str) -> None:
        """`authority` is the certificate (PEM) by which the API is known."""
        self._authority = authority

    def keys(self, change: Change) -> Iterable[Key]:
        """The namespace that is new, or that lost one of the two."""
        if change.resource == NAMESPACES:
            return (change.name,) if change.after is not None and change.before is None else ()
        namespace, name = change.name
        if name != ("default" if change.resource == ACCOUNTS else ROOT_CA):
            return ()
        return (("", namespace),)

    def reconcile(self, cluster: Cluster, key: Key) -> float | None:
        """Make what is missing, unless the namespace is on its way out."""
        namespace = cluster.follower.get(NAMESPACES, *key)
        if namespace is None or deleting(namespace):
            return None
        account: Tree = {"metadata": {"name": "default"}}
        root: Tree = {"metadata": {"name": ROOT_CA, "annotations": _ABOUT_CA}, "data": {"ca.crt": self._authority}}
        try:
            if cluster.follower.get(ACCOUNTS, key[1], "default") is None:
                _made(cluster, ACCOUNTS, key[1], account)
            there = cluster.follower.get(CONFIG_MAPS, key[1], ROOT_CA)
            if there is None:
                _made(cluster, CONFIG_MAPS, key[1], root)
            elif there.get("data") != root["data"]:
                cluster.writer.update(CONFIG_MAPS, {**there, "data": root["data"]})
        except Refused as refused:
            if not namespace_ends(refused):
                raise
        return None


class ApiService:
    """Keeps the Service by which pods find the API, and where it leads."""

    name = "kubernetes-service-controller"
    resources = (NAMESPACES, SERVICES, SLICES, ENDPOINTS)

    def __init__(self, cluster_address: str, addresses: Sequence[str], port: int) -> None:
        """The Service's own address, and the addresses and the port where the API listens."""
        self._cluster_address = cluster_address
        self._addresses = tuple(addresses)
        self._port = port

    def keys(self, change: Change) -> Iterable[Key]:
        """One key: whatever happens to one of its objects, and the beginning."""
        if change.resource == NAMESPACES:
            return (_API,) if change.name[1] == _API[0] and change.before is None else ()
        return (_API,) if change.name == _API else ()

    def reconcile(self, cluster: Cluster, key: Key) -> float | None:
        """Make or mend the three objects."""
        for resource, tree in ((SERVICES, self._service()), (SLICES, self._slice()), (ENDPOINTS, self._endpoints())):
            there = cluster.follower.get(resource, *key)
            if there is None:
                _made(cluster, resource, key[0], tree)
            elif any(not _within(value, there.get(name)) for name, value in tree.items() if name != "metadata"):
                merged = {**there, **{name: value for name, value in tree.items() if name != "metadata"}}
                if resource == SERVICES:
                    merged["spec"] = {**there["spec"], **tree["spec"]}
                cluster.writer.update(resource, merged)
        return None

    def _service(self) -> Tree:
        labels = {"component": "apiserver", "provider": "kubernetes"}
        ports = [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": self._port}]
        return {
            "metadata": {"name": _API[1], "labels": labels},
            "spec": {"type": "ClusterIP", "clusterIP": self._cluster_address, "ports": ports},
        }

    def _slice(self) -> Tree:
        families = [f"IPv{ipaddress.ip_address(one).version}" for one in self._addresses]
        mine = [one for one, family in zip(self._addresses, families, strict=True) if family == families[0]]
        return {
            "metadata": {"name": _API[1], "labels": {"kubernetes.io/service-name": _API[1]}},
            "addressType": families[0],
            "endpoints": [{"addresses": [one], "conditions": {"ready": True}} for one in mine],
            "ports": [{"name": "https", "port": self._port, "protocol": "TCP"}],
        }

    def _endpoints(self) -> Tree:
        subset = {
            "addresses": [{"ip": endpoint["addresses"][0]} for endpoint in self._slice()["endpoints"]],
            "ports": [{"name": "https", "port": self._port, "protocol": "TCP"}],
        }
        labels = {"endpointslice.kubernetes.io/skip-mirror": "true"}
        return {"metadata": {"name": _API[1], "labels": labels}, "subsets": [subset]}


def _made(cluster: Cluster, resource: Resource, namespace: str, tree: Tree) -> None:
    with tolerating("AlreadyExists"):
        cluster.writer.create(resource, namespace, tree)


def _within(wanted: object, there: object) -> bool:
    """Whether everything that is wanted is there; a server adds to it."""
    if isinstance(wanted, dict) and isinstance(there, dict):
        return all(_within(value, there.get(name)) for name, value in wanted.items())
    if isinstance(wanted, list) and isinstance(there, list):
        return len(wanted) == len(there) and all(map(_within, wanted, there))
    return wanted == there
