"""A live cluster: every object that decides something, listed page by page from its API server.

lightkube brings the transport; it is imported only when a cluster is asked for. What the server does not have is passed
over, what it does not let one see is a problem of that kind, so that nobody takes a part for the whole. A server that
shows nothing at all is one error.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gatewright.errors import Problem, line
from gatewright.kubeapi.backoff import retry_after
from gatewright.kubeapi.status import said
from gatewright.objects.api import NotAList, Page, read_page
from gatewright.objects.kinds import KINDS, Kind
from gatewright.objects.read import Parsed
from gatewright.sources.connection import HEADERS, extensions, opened, told
from gatewright.sources.kubeconfig import ClusterUnavailable, Configuration, Where, configuration
from gatewright.sources.login import logged_in
from gatewright.sources.progress import Progress, unheard

if TYPE_CHECKING:
    import httpx2 as httpx

__all__ = ["ClusterUnavailable", "Where", "default_namespace", "read_cluster"]

PAGE = 500
"""Objects of one answer, as kubectl asks for them."""
LARGEST_PAGE = 512 * 1024 * 1024
"""Bytes. An object has at most about a megabyte, so no honest page is larger."""
TIMEOUT = 30.0
"""Seconds without an answer."""
BUSY = (429, 503)
"""What a server answers that wants to be asked again later; API priority and fairness gives 429."""
RETRIES = 3
LONGEST_WAIT = 5.0
"""Seconds between two attempts, whatever Retry-After says."""
NOT_READ = ("ConfigMap",)
"""Kinds that manifests give to the lab; no answer about a cluster needs them, and they may hold what is private."""


def default_namespace(where: Where) -> str:
    """The namespace of the cluster's context. Raises ClusterUnavailable where there is no usable kubeconfig."""
    return configuration(where).namespace


def read_cluster(where: Where, *, everything: bool = False, progress: Progress = unheard) -> Parsed:
    """Everything the engine knows of a live cluster. Raises ClusterUnavailable where it cannot be asked at all.

    Where the whole may not be listed, the namespace of the context is read alone, unless `everything` is wanted.
    """
    config = configuration(where)
    progress(f"logging in to {config.name}")
    with _client(config) as client:
        fallback = None if everything else config.namespace
        answers = [
            _Listing(client, config, key, kind, progress).read(fallback)
            for key, kind in KINDS.items()
            if key[1] not in NOT_READ
        ]
    refused = [answer for answer in answers if isinstance(answer, _Refused)]
    if len(refused) == len(answers):
        raise ClusterUnavailable(_nothing(config, refused))
    return Parsed.merge(_problem(config, one) if isinstance(one, _Refused) else one for one in answers)


def _nothing(config: Configuration, refused: list[_Refused]) -> str:
    """Why a cluster shows nothing at all; every kind was refused."""
    first = refused[0]
    if all(one.status == 403 for one in refused):
        return f"{config.name}: nothing may be listed: {first.said}; ask for a role that reads, such as view"
    return f"{config.name} at {config.single.cluster.server}: no Kubernetes API answers: {first.said}; look at `server`"


def _problem(config: Configuration, refused: _Refused) -> Parsed:
    verb = "not allowed" if refused.status == 403 else "not readable"
    hint = "; ask for the right to list them" if refused.status == 403 else ""
    return Parsed(problems=(Problem(config.name, f"{refused.plural}: {verb}: {refused.said}{hint}"),))


@contextlib.contextmanager
def _client(config: Configuration) -> Iterator[httpx.Client]:
    """A connection to the cluster; whatever goes wrong with it is one ClusterUnavailable."""
    assert config.single.user is not None
    user = logged_in(config.single.user, config.name).user
    with told(config, TIMEOUT), opened(config, user, TIMEOUT) as client:
        yield client


class _Refused(Exception):
    """An answer that is no list: its status, what the server says, and the kind that was asked for."""

    def __init__(self, status: int, said: str, plural: str = "") -> None:
        self.status = status
        self.said = said
        self.plural = plural
        super().__init__(said)


@dataclass(frozen=True, slots=True)
class _Listing:
    """The listing of one kind."""

    client: httpx.Client
    config: Configuration
    key: tuple[str, str]
    kind: Kind
    progress: Progress

    def read(self, fallback: str | None) -> Parsed | _Refused:
        """All objects of the kind in the first version that is served; those of one namespace where that is allowed."""
        warnings: tuple[Problem, ...] = ()
        try:
            try:
                pages = self._versions(None)
            except _Refused as refused:
                if refused.status != 403 or not fallback or not self.kind.namespaced:
                    raise
                pages = self._versions(fallback)
                what = f"{self.kind.plural}: only those of namespace {fallback}: {refused.said}"
                warnings = (Problem(self.config.name, what),)
        except _Refused as refused:
            if refused.status == 401:
                what = f"{self.config.name} does not accept the credentials: {refused.said}"
                raise ClusterUnavailable(f"{what}; log in again, or get a new kubeconfig") from refused
            return _Refused(refused.status, refused.said, self.kind.plural)
        objects = tuple(item for page in pages for item in page.objects)
        problems = tuple(problem for page in pages for problem in page.problems)
        warnings += tuple(warning for page in pages for warning in page.warnings)
        return Parsed(objects, problems, len(objects) + len(problems), warnings)

    def _versions(self, namespace: str | None) -> list[Page]:
        for version in self.kind.served:
            try:
                return self._pages(version, namespace)
            except _Refused as refused:
                if refused.status != 404:
                    raise
        if self.kind is KINDS["", "Pod"]:
            where = f"{self.config.name} at {self.config.single.cluster.server}"
            raise ClusterUnavailable(f"{where}: not a Kubernetes API: it has no pods; look at `server`")
        return []

    def _pages(self, version: str, namespace: str | None) -> list[Page]:
        """Every page of a list; where a token has expired (410) the whole list at once, as kubectl does."""
        group, name = self.key
        root = f"/apis/{group}/{version}" if group else f"/api/{version}"
        path = f"{root}/namespaces/{namespace}/{self.kind.plural}" if namespace else f"{root}/{self.kind.plural}"
        api_version = f"{group}/{version}" if group else version
        pages: list[Page] = []
        query: dict[str, Any] = {"limit": PAGE}
        while True:
            count = sum(len(page.objects) for page in pages)
            self.progress(f"{self.config.name}: listing {self.kind.plural}{f', {count} so far' if count else ''}")
            try:
                data = self._get(path, query)
            except _Refused as refused:
                if refused.status != 410 or "continue" not in query:
                    raise
                pages, query = [], {}
                continue
            try:
                page = read_page(data, name, self.kind, api_version, self.config.name)
            except NotAList as error:
                html = data[:1024].lstrip().startswith(b"<")
                what = "an HTML page instead of a list, as proxies and login pages give it" if html else str(error)
                raise _Refused(200, what) from error
            pages.append(page)
            if not page.following:
                return pages
            if page.following == query.get("continue"):
                raise _Refused(200, "the list does not come to an end")
            query = {"limit": PAGE, "continue": page.following}

    def _get(self, path: str, query: dict[str, Any]) -> bytes:
        """One answer, asked for again where the server is busy."""
        status, data, wait = self._once(path, query)
        for _ in range(RETRIES):
            if status not in BUSY or wait is None:
                break
            time.sleep(wait)
            status, data, wait = self._once(path, query)
        if status != 200:
            raise _Refused(status, line(said(data, status).message))
        return data

    def _once(self, path: str, query: dict[str, Any]) -> tuple[int, bytes, float | None]:
        """(status, body, seconds to wait before asking again, None where the server names none)."""
        more = extensions(self.config)
        with self.client.stream("GET", path, params=query, headers=HEADERS, extensions=more) as answer:
            data = bytearray()
            for chunk in answer.iter_bytes():
                data += chunk
                if len(data) > LARGEST_PAGE:
                    raise _Refused(200, f"an answer larger than {LARGEST_PAGE // (1024 * 1024)} MB")
            after = retry_after(answer.headers.get("Retry-After"))
            return answer.status_code, bytes(data), None if after is None else min(after, LONGEST_WAIT)
