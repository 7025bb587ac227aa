"""The addresses and links that pods of a node get: each once around before it comes again.

What the kernel or a peer still remembers of a pod that is gone must never apply to a new one, so addresses go round in
the ring of ring.py; and where the ring stands outlives the kubelet, in a small file.
"""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from gatewright.lab.errors import LabError
from gatewright.lab.kubelet.ring import Plan, Ring

_log = logging.getLogger(__name__)


class Ranges:
    """Addresses of a node's pods by uid. For one thread."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._plan: Plan | None = None
        self._ring = Ring({})
        self._adopted: dict[str, tuple[str, ...]] = {}
        self._links = 0
        self._read()

    def set_networks(self, cidrs: Sequence[str], versions: Iterable[int]) -> bool:
        """Take over the node's pod ranges, of the families that it has; whether that is news."""
        kept = set(versions)
        networks = tuple(one for one in map(ipaddress.ip_network, cidrs) if one.version in kept)
        if not networks or self._plan == Plan(networks):
            return False
        self._plan = Plan(networks)
        held = {uid: place for uid, given in self._adopted.items() if (place := self._place(given)) is not None}
        self._ring = Ring(held | self._ring.held, self._ring.following)
        self._adopted.clear()
        return True

    def adopt(self, given: Mapping[str, Sequence[str]]) -> None:
        """Pods that have addresses already, by uid."""
        for uid, addresses in given.items():
            if self._plan is None:
                self._adopted[uid] = tuple(addresses)
            elif (place := self._place(tuple(addresses))) is not None:
                self._ring = Ring({**self._ring.held, uid: place}, self._ring.following)

    def take(self, uid: str) -> tuple[str, ...] | None:
        """The addresses of a pod, given now if it has none; None while the node has no range. Raises LabError."""
        if self._plan is None:
            return None
        if uid not in self._ring.held:
            self._ring = self._ring.take([*self._ring.held, uid], self._plan.capacity)
            self._write()
        return tuple(map(str, self._plan.pod_addresses(self._ring.held[uid])))

    def release(self, uid: str) -> None:
        """A pod is gone."""
        self._adopted.pop(uid, None)
        held = {key: place for key, place in self._ring.held.items() if key != uid}
        self._ring = Ring(held, self._ring.following)

    def link(self) -> str:
        """The name of a new pod's link, never given before on this node."""
        self._links += 1
        self._write()
        return f"pod{self._links}"

    def _place(self, addresses: tuple[str, ...]) -> int | None:
        """The position in the ring that these addresses are at; None where they are of another range."""
        assert self._plan is not None
        for address in map(ipaddress.ip_address, addresses):
            for network in self._plan.pod_networks:
                if address.version == network.version and address in network:
                    return int(address) - int(network.network_address) - 1
        return None

    def _read(self) -> None:
        try:
            found = msgspec.json.decode(self._file.read_bytes(), type=dict[str, int])
        except FileNotFoundError:
            return
        except (OSError, msgspec.DecodeError) as error:
            raise LabError(f"cannot read {self._file}: {error}; stop the node and delete the file") from error
        self._links = found.get("links", 0)
        self._ring = Ring({}, found.get("following", 0))

    def _write(self) -> None:
        beside = self._file.with_name(f".{self._file.name}")
        try:
            beside.write_bytes(msgspec.json.encode({"links": self._links, "following": self._ring.following}))
            beside.replace(self._file)
        except OSError as error:  # a full disk: pods go on, and the ring is as good as memory
            _log.warning("cannot write %s: %s", self._file, error)
