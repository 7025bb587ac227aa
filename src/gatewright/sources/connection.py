"""A connection to a cluster, and what is wrong with one in a sentence that says what to do.

lightkube builds the client (TLS, credentials, proxies). A library's error says what failed in it; an operator needs the
place that was asked, and which field of the configuration to look at.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from gatewright.errors import line
from gatewright.sources.kubeconfig import PIPE, ClusterUnavailable, Configuration

if TYPE_CHECKING:
    import httpx2 as httpx
    from lightkube.config.models import User

HEADERS = {"Accept": "application/json", "User-Agent": f"gatewright/{version('gatewright')}"}
"""Of every request. The name stands in the audit log of the server."""

_USER = re.compile(r"//[^/@]*@")
"""The name and password in a URL, which no message shows."""


def opened(config: Configuration, user: User, timeout: float) -> httpx.Client:
    """A client of the cluster's API server; nothing is connected yet. Raises what `told` tells."""
    import httpx2 as httpx
    from lightkube.config.client_adapter import Client, ConnectionParams

    single = config.single._replace(user=user)
    return Client(single, ConnectionParams(timeout=httpx.Timeout(timeout), proxy=config.proxy))


def extensions(config: Configuration) -> dict[str, Any]:
    """What each request says besides: the name that the server's certificate is for, where it is not the address."""
    name = config.tls_server_name
    return {"sni_hostname": name} if name else {}


@contextlib.contextmanager
def told(config: Configuration, timeout: float) -> Iterator[None]:
    """Whatever goes wrong with a connection inside is one ClusterUnavailable. `timeout` is what silence is told by."""
    import httpx2 as httpx
    from lightkube.core.exceptions import ConfigError

    proxy = _USER.sub("//", config.proxy or "")
    place = f"{config.name} at {config.single.cluster.server}" + (f" through proxy {proxy}" if proxy else "")
    try:
        yield
    except ConfigError as error:
        raise ClusterUnavailable(f"{config.name}: {line(error)}") from error
    except ImportError as error:
        what = f"proxy-url {proxy} needs the package socksio: pip install socksio, or pipe its objects: {PIPE}"
        raise ClusterUnavailable(f"{config.name}: {what}") from error
    except httpx.TimeoutException as error:
        what = f"no answer within {timeout:g} seconds; is it up, and reachable from here?"
        raise ClusterUnavailable(f"{place}: {what}") from error
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
        raise ClusterUnavailable(f"{place}: {_broken(error)}") from error


def _broken(error: BaseException) -> str:
    """What is wrong with a connection, and what to do, from the error below the library's."""
    import socket
    import ssl

    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            said = cause.verify_message.rstrip(".")
            return f"its certificate is not trusted: {said}; certificate-authority has to be that of its issuer"
        if isinstance(cause, ssl.SSLError):
            said = (cause.reason or str(cause)).lower().replace("_", " ")
            return f"no TLS connection: {said}; is `server` right, and does the user need a client certificate?"
        if isinstance(cause, socket.gaierror):
            return f"its name does not resolve: {line(cause.strerror or cause)}; is `server` right?"
        if isinstance(cause, ConnectionRefusedError):
            return "no connection: connection refused; is it up, and is `server` right?"
        cause = cause.__cause__ or cause.__context__
    return f"no connection: {line(error)}; is it up, and is `server` right?"
