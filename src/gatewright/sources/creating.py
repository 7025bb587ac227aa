"""Creating an object in a live cluster: the one thing that is written there, and only where somebody asked for it."""

from __future__ import annotations

from typing import Any

import msgspec

from gatewright.kubeapi.status import said
from gatewright.sources.connection import extensions, told
from gatewright.sources.kubeconfig import ClusterUnavailable, Where
from gatewright.sources.session import KeptClient, Session

TIMEOUT = 10.0
"""Seconds without an answer."""
_REFUSED = 401


class Creator:
    """Creates objects, with credentials that are renewed as those of a watch. For one thread."""

    def __init__(self, where: Where) -> None:
        self._session = Session(where)
        self._client = KeptClient(TIMEOUT)

    def create(self, path: str, item: dict[str, Any]) -> None:
        """POST an object to a collection. Raises ClusterUnavailable for all that goes wrong."""
        access = self._session.access()
        with told(access.config, TIMEOUT):
            headers = {"Content-Type": "application/json", "Accept": "application/json"}
            answer = self._client.of(access).post(
                path, content=msgspec.json.encode(item), headers=headers, extensions=extensions(access.config)
            )
        if answer.status_code == _REFUSED:
            self._session.refused(access)
        if answer.status_code >= 300:
            what = said(answer.content, answer.status_code).message
            raise ClusterUnavailable(f"{access.config.name}: {path}: {what} ({answer.status_code})")

    def close(self) -> None:
        """Leave nothing open."""
        self._client.close()
