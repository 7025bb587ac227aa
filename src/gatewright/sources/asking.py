"""Asking a live cluster for single objects and lists by their path, where a refusal is an answer too.

Unlike the reading of whole clusters, nothing here is raised for what the server says: who asks whether something is
there, and may it be seen, needs the status. Only a cluster that cannot be asked at all is ClusterUnavailable.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from gatewright.errors import line
from gatewright.kubeapi.backoff import retry_after
from gatewright.kubeapi.status import said
from gatewright.sources.connection import HEADERS, extensions, told
from gatewright.sources.kubeconfig import ClusterUnavailable, Where
from gatewright.sources.session import KeptClient, Session

PAGE = 500
"""Objects of one answer."""
LARGEST_PAGE = 128 * 1024 * 1024
"""Bytes of one answer."""
TIMEOUT = 10.0
"""Seconds without an answer, at most."""
BUSY = (429, 503)
LONGEST_WAIT = 1.0
"""Seconds between two attempts of a server that is busy."""
UNAUTHORIZED, GONE, TOO_LATE = 401, 410, 408


@dataclass(frozen=True, slots=True)
class Told:
    """An answer: its status, the object (empty where there is none), and what a refusal says."""

    status: int
    tree: Mapping[str, Any]
    said: str = ""


class Asker:
    """Asks one cluster, until `patience` seconds are over; from then on every answer is that it came too late.

    For one thread. Raises ClusterUnavailable where there is no connection, or no credentials that are accepted.
    """

    def __init__(self, where: Where, patience: float) -> None:
        self._session = Session(where)
        self._until = time.monotonic() + patience
        self._patience = patience
        self._timeout = min(TIMEOUT, patience)
        self._client = KeptClient(self._timeout)

    @property
    def name(self) -> str:
        """What messages call the cluster."""
        return self._session.access().config.name

    def get(self, path: str) -> Told:
        """The object, or the whole list, page by page."""
        found = self._page(path, {"limit": PAGE})
        items = found.tree.get("items")
        if not isinstance(items, list):
            return found
        everything = list(items)
        while (following := _following(found)) and found.status == 200:
            found = self._page(path, {"limit": PAGE, "continue": following})
            if found.status == GONE:
                return self._page(path, {})
            if found.status != 200:
                return found
            more = found.tree.get("items")
            everything += more if isinstance(more, list) else []
        return Told(200, {**found.tree, "items": everything})

    def close(self) -> None:
        """Leave nothing open."""
        self._client.close()

    def _page(self, path: str, query: dict[str, Any]) -> Told:
        """One answer, asked for once more where the server is busy or does not accept what was read before."""
        found, wait = self._once(path, query)
        if found.status in BUSY and wait is not None:
            time.sleep(min(wait, LONGEST_WAIT))
            found, _ = self._once(path, query)
        elif found.status == UNAUTHORIZED:
            found, _ = self._once(path, query)
        if found.status == UNAUTHORIZED:
            what = f"{self.name} does not accept the credentials: {found.said}"
            raise ClusterUnavailable(f"{what}; log in again, or get a new kubeconfig")
        return found

    def _once(self, path: str, query: dict[str, Any]) -> tuple[Told, float | None]:
        if time.monotonic() > self._until:
            return Told(TOO_LATE, {}, f"not asked: {self._patience:g} seconds were over"), None
        access = self._session.access()
        address, _, given = path.partition("?")
        parameters = "&".join(
            part for part in (given, *(f"{key}={_quoted(value)}" for key, value in query.items())) if part
        )
        url = f"{address}?{parameters}" if parameters else address
        with told(access.config, self._timeout):
            request = self._client.of(access).stream("GET", url, headers=HEADERS, extensions=extensions(access.config))
            with request as answer:
                data = bytearray()
                for chunk in answer.iter_bytes():
                    data += chunk
                    if len(data) > LARGEST_PAGE:
                        return Told(200, {}, f"an answer larger than {LARGEST_PAGE // (1024 * 1024)} MB"), None
                wait = retry_after(answer.headers.get("Retry-After"))
        if answer.status_code == UNAUTHORIZED:
            self._session.refused(access)
        return _told(answer.status_code, bytes(data)), wait


def _quoted(value: object) -> str:
    from urllib.parse import quote

    return quote(str(value), safe="")


def _following(found: Told) -> str:
    metadata = found.tree.get("metadata")
    return str(metadata.get("continue") or "") if isinstance(metadata, Mapping) else ""


def _told(status: int, data: bytes) -> Told:
    if status != 200:
        return Told(status, {}, line(said(data, status).message))
    try:
        tree = msgspec.json.decode(data)
    except msgspec.DecodeError:
        tree = None
    if not isinstance(tree, dict):
        return Told(502, {}, "an answer that is no JSON object, as proxies and login pages give it")
    return Told(200, tree)
