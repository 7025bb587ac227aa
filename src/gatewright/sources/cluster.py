"""A live cluster: every object that decides something, listed page by page from its API server.

Which cluster, and with what credentials, is read as kubectl reads it: `--kubeconfig`, else `KUBECONFIG`, else
`~/.kube/config`, else the service account of the pod this runs in. lightkube brings that and the transport; it is
imported only when a cluster is asked for. What the server does not have is passed over, what it does not let one see is
a problem of that kind, so that nobody takes a part for the whole.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from gatewright.errors import GatewrightError, Problem
from gatewright.objects.api import NotAList, Page, read_page
from gatewright.objects.kinds import KINDS, Kind
from gatewright.objects.read import Parsed

if TYPE_CHECKING:
    import httpx2 as httpx
    from lightkube.config.kubeconfig import SingleConfig

PAGE = 500
"""Objects of one answer, as kubectl asks for them."""
LARGEST_PAGE = 512 * 1024 * 1024
"""Bytes. An object has at most about a megabyte, so no honest page is larger."""
TIMEOUT = 30.0
"""Seconds without an answer."""
NOT_READ = ("ConfigMap",)
"""Kinds that manifests give to the lab; no answer about a cluster needs them, and they may hold what is private."""
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
PIPE = "kubectl get ns,pods,svc,netpol -A -o yaml | gatewright list -f -"


class ClusterUnavailable(GatewrightError):
    """No cluster could be asked: no configuration, no connection, no credentials it accepts."""


@dataclass(frozen=True, slots=True)
class Where:
    """Which cluster: the kubeconfig and the context, each the one that kubectl would take when None."""

    kubeconfig: str | None = None
    context: str | None = None


def default_namespace(where: Where) -> str:
    """The namespace of the cluster's context. Raises ClusterUnavailable where there is no usable kubeconfig."""
    return _configuration(where).namespace


def read_cluster(where: Where, *, everything: bool = False) -> Parsed:
    """Everything the engine knows of a live cluster. Raises ClusterUnavailable where it cannot be asked at all.

    Where the whole may not be listed, the namespace of the context is read alone, unless `everything` is wanted.
    """
    config = _configuration(where)
    name = f"cluster {config.context_name}"
    with _client(config, name) as client:
        fallback = None if everything else config.namespace
        parts = [_Listing(client, name, kind_name, kind).read(fallback) for kind_name, kind in _kinds()]
    return Parsed.merge(parts)


def _kinds() -> Iterator[tuple[tuple[str, str], Kind]]:
    return ((key, kind) for key, kind in KINDS.items() if key[1] not in NOT_READ)


def _configuration(where: Where) -> SingleConfig:
    """The one context to use, with its cluster and user."""
    try:
        from lightkube.config.kubeconfig import KubeConfig
        from lightkube.core.exceptions import ConfigError
    except ImportError as error:
        what = f"a live cluster needs lightkube: pip install 'gatewright[live]', or pipe its objects: {PIPE}"
        raise ClusterUnavailable(what) from error
    named = where.kubeconfig or os.environ.get("KUBECONFIG") or "~/.kube/config"
    files = [Path(part).expanduser() for part in ([where.kubeconfig] if where.kubeconfig else named.split(":")) if part]
    found = [file for file in files if file.is_file()]
    try:
        if not found and not where.kubeconfig and not where.context and SERVICE_ACCOUNT.is_dir():
            configs = [KubeConfig.from_service_account(SERVICE_ACCOUNT)]
        elif not found:
            raise ClusterUnavailable(f"no kubeconfig at {named}; name one with --kubeconfig, or set KUBECONFIG")
        else:
            configs = [KubeConfig.from_file(file) for file in found]
        wanted = where.context or next((one.current_context for one in configs if one.current_context), None)
        if not wanted:
            raise ClusterUnavailable(f"{named}: no current context; name one with --context")
        holder = next((one for one in configs if wanted in one.contexts), None)
        if holder is None:
            known = ", ".join(sorted({name for one in configs for name in one.contexts})) or "none"
            raise ClusterUnavailable(f"{named}: no context {wanted!r}; it has {known}")
        chosen = holder.get(wanted)
    except (ConfigError, OSError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise ClusterUnavailable(f"{named}: not a kubeconfig that can be used: {_line(error)}") from error
    except Exception as error:
        if type(error).__module__.startswith("yaml."):
            raise ClusterUnavailable(f"{named}: not YAML: {_line(error)}") from error
        raise
    assert chosen is not None
    return chosen


@contextlib.contextmanager
def _client(config: SingleConfig, name: str) -> Iterator[httpx.Client]:
    """A connection to the cluster; whatever goes wrong with it is one ClusterUnavailable."""
    import httpx2 as httpx
    from lightkube.config.client_adapter import Client, ConnectionParams
    from lightkube.config.models import User
    from lightkube.core.exceptions import ConfigError

    config = config._replace(user=config.user or User())
    try:
        with Client(config, ConnectionParams(timeout=httpx.Timeout(TIMEOUT))) as client:
            yield client
    except ConfigError as error:
        raise ClusterUnavailable(f"{name}: {_line(error)}; kubectl may know better, pipe it: {PIPE}") from error
    except httpx.TimeoutException as error:
        raise ClusterUnavailable(f"{name} at {config.cluster.server}: no answer within {TIMEOUT:g} seconds") from error
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        raise ClusterUnavailable(f"{name} at {config.cluster.server}: no connection: {_line(error)}") from error


class _Refused(Exception):
    """An answer that is no list: its status and what the server says."""

    def __init__(self, status: int, said: str) -> None:
        self.status = status
        self.said = said
        super().__init__(said)


@dataclass(frozen=True, slots=True)
class _Listing:
    """The listing of one kind."""

    client: httpx.Client
    cluster: str
    key: tuple[str, str]
    kind: Kind

    def read(self, fallback: str | None) -> Parsed:
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
                warnings = (Problem(self.cluster, what),)
        except _Refused as refused:
            if refused.status == 401:
                raise ClusterUnavailable(f"{self.cluster} does not accept the credentials: {refused.said}") from refused
            verb = "not allowed" if refused.status == 403 else "not readable"
            hint = "; ask for the right to list them" if refused.status == 403 else ""
            return Parsed(problems=(Problem(self.cluster, f"{self.kind.plural}: {verb}: {refused.said}{hint}"),))
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
            raise ClusterUnavailable(f"{self.cluster} at {self.client.base_url}: not a Kubernetes API: it has no pods")
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
            try:
                data = self._get(path, query)
            except _Refused as refused:
                if refused.status != 410 or "continue" not in query:
                    raise
                pages, query = [], {}
                continue
            try:
                page = read_page(data, name, self.kind, api_version, self.cluster)
            except NotAList as error:
                raise _Refused(200, str(error)) from error
            pages.append(page)
            if not page.following:
                return pages
            if page.following == query.get("continue"):
                raise _Refused(200, "the list does not come to an end")
            query = {"limit": PAGE, "continue": page.following}

    def _get(self, path: str, query: dict[str, Any]) -> bytes:
        with self.client.stream("GET", path, params=query, headers={"Accept": "application/json"}) as answer:
            data = bytearray()
            for chunk in answer.iter_bytes():
                data += chunk
                if len(data) > LARGEST_PAGE:
                    raise _Refused(200, f"an answer larger than {LARGEST_PAGE // (1024 * 1024)} MB")
            if answer.status_code != 200:
                raise _Refused(answer.status_code, _message(bytes(data), answer.status_code))
            return bytes(data)


class _Status(msgspec.Struct, frozen=True):
    message: str = ""


def _message(data: bytes, status: int) -> str:
    """What a Status says, in one line."""
    try:
        said = msgspec.json.decode(data, type=_Status).message
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        said = ""
    return _line(said) or f"the server answers {status}"


def _line(error: object) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 500 else f"{text[:500]}..."
