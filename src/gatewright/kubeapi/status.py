"""meta/v1 Status: how an API server says that something went wrong, or that it is done.

Both ends of the wire use it: who asks reads one, who serves writes one. Its fields are written in the order and with
the omissions of a real server, so that clients which print them look the same.
"""

from __future__ import annotations

from typing import Any

import msgspec

REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    406: "NotAcceptable",
    409: "Conflict",
    410: "Expired",
    413: "RequestEntityTooLarge",
    415: "UnsupportedMediaType",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}
"""The usual reason of each code (apimachinery, meta/v1 StatusReason)."""
EXPIRED = frozenset(("Expired", "Gone"))
"""Reasons that say that a resourceVersion or a continue token is too old."""
TOO_LARGE = "ResourceVersionTooLarge"
"""The cause that says that the server has not yet seen a resourceVersion."""


class StatusCause(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """meta/v1 StatusCause: one of several things that are wrong."""

    reason: str = ""
    message: str = ""
    field: str = ""


class StatusDetails(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """meta/v1 StatusDetails: what the status is about."""

    name: str = ""
    group: str = ""
    kind: str = ""
    uid: str = ""
    causes: tuple[StatusCause, ...] = ()
    retry_after_seconds: int = 0


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """meta/v1 Status. `details` None is not written at all."""

    status: str = ""
    message: str = ""
    reason: str = ""
    details: StatusDetails | None = None
    code: int = 0

    @property
    def expired(self) -> bool:
        """Whether it says that what was asked from is too old: only a new list helps."""
        return self.code == 410 or self.reason in EXPIRED

    @property
    def too_large(self) -> bool:
        """Whether it says that the server does not know the resourceVersion yet."""
        return any(cause.reason == TOO_LARGE for cause in (self.details or StatusDetails()).causes)

    @property
    def retry_after(self) -> float | None:
        """Seconds after which the server wants to be asked again."""
        seconds = self.details.retry_after_seconds if self.details else 0
        return float(seconds) if seconds > 0 else None


def failure(code: int, message: str, reason: str | None = None, details: StatusDetails | None = None) -> Status:
    """The Status of a request that failed; the reason is the usual one of the code where none is given."""
    return Status(status="Failure", message=message, reason=reason or REASONS.get(code, ""), details=details, code=code)


def encode(status: Status) -> bytes:
    """The JSON of a Status, as API servers write it."""
    fields: dict[str, Any] = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": status.status}
    fields |= {name: value for name in ("message", "reason") if (value := getattr(status, name))}
    if status.details is not None:
        fields["details"] = status.details
    if status.code:
        fields["code"] = status.code
    return msgspec.json.encode(fields) + b"\n"


_DECODER = msgspec.json.Decoder(Status)  # made here: several threads may meet their first Status at once


def decode(data: bytes | msgspec.Raw) -> Status | None:
    """The Status that a body holds; None where it holds none, as from a proxy."""
    try:
        return _DECODER.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def said(data: bytes, code: int) -> Status:
    """The Status of a refusal; one made from the HTTP code where the body holds none or an empty one."""
    status = decode(data)
    if status is None or not (status.message or status.reason):
        return failure(code, f"the server answers {code}")
    return status if status.code else msgspec.structs.replace(status, code=code)
