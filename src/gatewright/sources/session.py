"""Who one is to a cluster, for as long as a program runs: credentials that end are followed by the next.

The kubelet writes a new token into a pod's files every hour; kubeconfigs and their certificates are replaced; a login
program says when what it gave ends. So everything is read again once a minute, and at once when the server no longer
accepts it (401), where it is read as it was at the start: by `configuration`, with all its checks.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from gatewright.sources.connection import opened
from gatewright.sources.kubeconfig import ClusterUnavailable, Configuration, Where, configuration
from gatewright.sources.login import Login, logged_in

if TYPE_CHECKING:
    import httpx2 as httpx
    from lightkube.config.models import User

READ_AGAIN = 60.0
"""Seconds after which files are looked at again."""
EARLY = timedelta(seconds=30)
"""How long before its end a credential of a login program is replaced."""


@dataclass(frozen=True, slots=True, eq=False)
class Access:
    """One state of configuration and credentials. The same object as long as nothing is different."""

    config: Configuration
    user: User


class KeptClient:
    """A client that stays open as long as the access is the same. For one thread."""

    def __init__(self, timeout: float) -> None:
        """`timeout`: seconds without an answer, where a request says no other."""
        self._timeout = timeout
        self._access: Access | None = None
        self._client: httpx.Client | None = None

    def of(self, access: Access) -> httpx.Client:
        """The client with which to ask as this one. Raises what `connection.told` tells."""
        if self._client is None or access is not self._access:
            self.close()
            self._client, self._access = opened(access.config, access.user, self._timeout), access
        return self._client

    def close(self) -> None:
        """Leave nothing open."""
        if self._client is not None:
            self._client.close()
        self._client = self._access = None


class Session:
    """Gives the access to use now. For several threads."""

    def __init__(self, where: Where, clock: Callable[[], float] = time.monotonic) -> None:
        self._where = where
        self._clock = clock
        self._lock = threading.Lock()
        self._access: Access | None = None
        self._login: Login | None = None
        self._read: tuple[Configuration, dict[str, bytes]] | None = None
        self._looked = 0.0
        self._refused = False

    def access(self) -> Access:
        """What to use for the next request. Raises ClusterUnavailable where nothing can be used.

        While files are being replaced and cannot be read, what was read before stays in use.
        """
        with self._lock:
            now = self._clock()
            if self._access is None or self._refused or now - self._looked >= READ_AGAIN or self._ends():
                try:
                    self._access = self._look()
                except ClusterUnavailable:
                    if self._access is None or self._refused:
                        raise
                self._looked, self._refused = now, False
            return self._access

    def refused(self, access: Access) -> None:
        """The server did not accept it: look again before the next request."""
        with self._lock:
            self._refused = self._refused or access is self._access

    def _look(self) -> Access:
        config = configuration(self._where)
        read = (config, _contents(config))
        assert config.single.user is not None
        program = config.single.user.exec is not None
        if self._access is not None and read == self._read and not (program and (self._refused or self._ends())):
            return self._access
        login = logged_in(config.single.user, config.name)
        user = login.user
        if user.token_file:  # read here, so that the library does not read it at a time of its own
            token = read[1][user.token_file].decode("utf-8", "replace").strip()
            user = msgspec.structs.replace(user, token=token, token_file=None)
        self._read, self._login = read, login
        return Access(config, user)

    def _ends(self) -> bool:
        expires = self._login.expires if self._login else None
        if expires is None:
            return False
        expires = expires if expires.tzinfo else expires.replace(tzinfo=UTC)
        return datetime.now(UTC) >= expires - EARLY


def _contents(config: Configuration) -> dict[str, bytes]:
    """What stands in the files that the configuration names. Raises ClusterUnavailable."""
    cluster, user = config.single.cluster, config.single.user
    assert user is not None
    files = (cluster.certificate_auth, user.client_cert, user.client_key, user.token_file)
    try:
        return {file: Path(file).read_bytes() for file in files if file}
    except OSError as error:
        raise ClusterUnavailable(
            f"{config.name}: {error.filename}: {error.strerror}; mend the path or the file"
        ) from error
