"""Creating and deleting objects of a live cluster, where somebody asked for it, with answers as they are.

Beside `creating`, which writes and forgets: here the server's answer is wanted, and a refusal is an answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from gatewright.errors import GatewrightError, line
from gatewright.kubeapi.status import said
from gatewright.sources.connection import HEADERS, extensions, told
from gatewright.sources.kubeconfig import Where
from gatewright.sources.session import KeptClient, Session

TIMEOUT = 10.0
"""Seconds without an answer."""
_UNAUTHORIZED = 401


class Refused(GatewrightError):
    """The server did not do it. `status` is its answer's."""

    def __init__(self, status: int, what: str) -> None:
        self.status = status
        super().__init__(what)


class Changer:
    """Creates and deletes, with credentials that are renewed. For one thread. Raises ClusterUnavailable, Refused."""

    def __init__(self, where: Where) -> None:
        self._session = Session(where)
        self._client = KeptClient(TIMEOUT)

    def create(self, path: str, item: Mapping[str, Any]) -> Mapping[str, Any]:
        """POST an object to a collection; the object as it was created."""
        return self._send("POST", path, item)

    def patch(self, path: str, change: Mapping[str, Any]) -> Mapping[str, Any]:
        """A merge patch (RFC 7396); the object as it is then."""
        return self._send("PATCH", path, change, "application/merge-patch+json")

    def delete(self, path: str, *, grace: int | None = None) -> None:
        """DELETE an object; what is gone already is no error."""
        try:
            self._send("DELETE", path, {} if grace is None else {"gracePeriodSeconds": grace})
        except Refused as refused:
            if refused.status != 404:
                raise

    def close(self) -> None:
        """Leave nothing open."""
        self._client.close()

    def _send(
        self, method: str, path: str, body: Mapping[str, Any], kind: str = "application/json"
    ) -> Mapping[str, Any]:
        access = self._session.access()
        with told(access.config, TIMEOUT):
            answer = self._client.of(access).request(
                method,
                path,
                content=msgspec.json.encode(body),
                headers={**HEADERS, "Content-Type": kind},
                extensions=extensions(access.config),
            )
        if answer.status_code == _UNAUTHORIZED:
            self._session.refused(access)
        if answer.status_code >= 300:
            what = line(said(answer.content, answer.status_code).message)
            raise Refused(answer.status_code, f"{access.config.name}: {method} {path}: {what} ({answer.status_code})")
        found = msgspec.json.decode(answer.content)
        return found if isinstance(found, dict) else {}
