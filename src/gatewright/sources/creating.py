"""Creating an object in a live cluster: the one thing that is written there, and only where somebody asked for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from gatewright.kubeapi.status import said
from gatewright.sources.connection import extensions, opened, told
from gatewright.sources.kubeconfig import ClusterUnavailable, Where
from gatewright.sources.session import Access, Session

if TYPE_CHECKING:
    import httpx2 as httpx

TIMEOUT = 10.0
"""Seconds without an answer."""
_REFUSED = 401


class Creator:
    """Creates objects, with credentials that are renewed as those of a watch. For one thread."""

    def __init__(self, where: Where) -> None:
        self._session = Session(where)
        self._access: Access | None = None
        self._client: httpx.Client | None = None

    def create(self, path: str, item: dict[str, Any]) -> None:
        """POST an object to a collection. Raises ClusterUnavailable for all that goes wrong."""
        access = self._session.access()
        with told(access.config, TIMEOUT):
            headers = {"Content-Type": "application/json", "Accept": "application/json"}
            answer = self._client_of(access).post(
                path, content=msgspec.json.encode(item), headers=headers, extensions=extensions(access.config)
            )
        if answer.status_code == _REFUSED:
            self._session.refused(access)
        if answer.status_code >= 300:
            what = said(answer.content, answer.status_code).message
            raise ClusterUnavailable(f"{access.config.name}: {path}: {what} ({answer.status_code})")

    def close(self) -> None:
        """Leave nothing open."""
        if self._client is not None:
            self._client.close()
        self._client = self._access = None

    def _client_of(self, access: Access) -> httpx.Client:
        if self._client is None or access is not self._access:
            self.close()
            self._client, self._access = opened(access.config, access.user, TIMEOUT), access
        return self._client
