"""One HTTP exchange as values: what came in, what goes out. Nothing here knows of sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field

from gatewright.kubeapi.status import Status, encode

JSON = "application/json"
TEXT = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Request:
    """A request whose body is there. Header names are lower case."""

    method: str
    parts: list[str]
    query: dict[str, str]
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def content_type(self) -> str:
        """The media type of the body, without its parameters."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def agent(self) -> str:
        """The client program."""
        return self.headers.get("user-agent", "")


@dataclass(slots=True)
class Response:
    """An answer: a body, or a stream of pieces with what to call when nobody reads it any more."""

    status: int = 200
    body: bytes = b""
    content_type: str = JSON
    headers: dict[str, str] = field(default_factory=dict)
    stream: AsyncIterator[bytes] | None = None


def refusal(status: Status) -> Response:
    """A refusal as an answer."""
    headers = {}
    if status.details is not None and status.details.retry_after_seconds:
        headers["Retry-After"] = str(status.details.retry_after_seconds)
    return Response(status.code or 500, encode(status), headers=headers)
