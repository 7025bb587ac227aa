"""From a node's name to its kubelet, by what the Node object says, as an API server finds it.

A kubelet is looked for on this machine, and in networks that the endpoint was told are its nodes', whatever a Node
object claims: nothing of the endpoint goes beyond them.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Iterable
from pathlib import Path

from gatewright.engine.addresses import IPNetwork
from gatewright.kubeapi.failure import Failure
from gatewright.kubeapi.status import Status
from gatewright.lab.api.resources import BY_PATH, Tree
from gatewright.lab.api.verbs import Target, Verbs
from gatewright.lab.errors import LabError
from gatewright.lab.kubelet.client import Kubelet
from gatewright.lab.kubelet.keys import client_context

_PREFERRED = ("InternalIP", "ExternalIP", "Hostname")
"""The usual --kubelet-preferred-address-types."""
_USUAL_PORT = 10250


class Kubelets:
    """Finds kubelets. `folder` is the endpoint's, where the keys are; `networks` are those of its nodes."""

    def __init__(self, verbs: Verbs, folder: Path, networks: Iterable[str] = ()) -> None:
        self._verbs = verbs
        self._folder = folder
        self._networks = tuple(map(ipaddress.ip_network, networks))
        self._context: ssl.SSLContext | None = None
        self._making = asyncio.Lock()

    async def of(self, node: str) -> Kubelet:
        """The kubelet of a node. Raises Failure."""
        status = self._verbs.get(Target(BY_PATH["", "v1", "nodes"], "", node)).tree().get("status") or {}
        addresses = _ordered(status.get("addresses") or [])
        port = ((status.get("daemonEndpoints") or {}).get("kubeletEndpoint") or {}).get("Port") or _USUAL_PORT
        if not addresses:
            raise plain_failure("no preferred addresses found; known addresses: []")
        address = next((one for one in addresses if self._allowed(one)), None)
        if address is None:
            why = f"dial tcp {addresses[0]}:{port}: connect: network is unreachable"
            raise plain_failure(f"error dialing backend: {why} (kubelets are reached {self._where()})")
        return Kubelet("127.0.0.1" if address == "localhost" else address, port, await self._shown())

    def _allowed(self, address: str) -> bool:
        return _here(address) or _within(address, self._networks)

    def _where(self) -> str:
        if not self._networks:
            return "on this machine alone"
        return f"on this machine and in {', '.join(map(str, self._networks))} alone"

    async def _shown(self) -> ssl.SSLContext:
        """What the endpoint shows to kubelets; made when it is first needed."""
        async with self._making:
            if self._context is None:
                try:
                    self._context = await asyncio.to_thread(client_context, self._folder)
                except LabError as error:
                    raise plain_failure(str(error)) from error
            return self._context


def plain_failure(message: str, code: int = 500) -> Failure:
    """What an API server answers when it fails for no reason that has a name."""
    return Failure(Status(status="Failure", message=message, code=code))


def _ordered(addresses: list[Tree]) -> list[str]:
    return [str(one.get("address")) for kind in _PREFERRED for one in addresses if one.get("type") == kind]


def _within(address: str, networks: Iterable[IPNetwork]) -> bool:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(found in network for network in networks)


def _here(address: str) -> bool:
    """Whether an address is one of this machine's: only such a one can be bound."""
    if address == "localhost":
        return True
    try:
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind((socket.inet_ntop(probe.family, socket.inet_pton(probe.family, address)), 0))
    except (OSError, ValueError):
        return False
    return True
