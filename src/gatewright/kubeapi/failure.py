"""Refusals of an API server as one exception, built in its words (apimachinery, api/errors).

Whatever decides about a request raises a `Failure`; the front door alone turns it into a Status and an HTTP code.
"""

from __future__ import annotations

from collections.abc import Iterable

from gatewright.errors import GatewrightError
from gatewright.kubeapi.status import Status, StatusCause, StatusDetails, failure
from gatewright.objects.decode import Fault
from gatewright.objects.origin import format_path

_CAUSES = {
    "Required value": "FieldValueRequired",
    "Unsupported value": "FieldValueNotSupported",
    "Duplicate value": "FieldValueDuplicate",
    "Forbidden": "FieldValueForbidden",
    "Too long": "FieldValueTooLong",
    "Too many": "FieldValueTooMany",
    "Not found": "FieldValueNotFound",
}


class Failure(GatewrightError):
    """A request that is refused; `status` is what the client gets."""

    def __init__(self, status: Status) -> None:
        self.status = status
        super().__init__(status.message)


def fail(code: int, message: str, reason: str | None = None, details: StatusDetails | None = None) -> Failure:
    """The refusal of a code; its reason is the usual one of the code."""
    return Failure(failure(code, message, reason, details))


def resource_label(plural: str, group: str) -> str:
    """`networkpolicies.networking.k8s.io`, `pods`: a resource (or a kind) with its group, as messages name it."""
    return f"{plural}.{group}" if group else plural


def not_found(plural: str, group: str, name: str) -> Failure:
    """No such object."""
    details = StatusDetails(name=name, group=group, kind=plural)
    return fail(404, f'{resource_label(plural, group)} "{name}" not found', details=details)


def already_exists(plural: str, group: str, name: str) -> Failure:
    """Somebody has that name."""
    details = StatusDetails(name=name, group=group, kind=plural)
    return fail(409, f'{resource_label(plural, group)} "{name}" already exists', "AlreadyExists", details)


def conflict(plural: str, group: str, name: str, why: str) -> Failure:
    """The object is not what the client thinks it is."""
    details = StatusDetails(name=name, group=group, kind=plural)
    message = f'Operation cannot be fulfilled on {resource_label(plural, group)} "{name}": {why}'
    return fail(409, message, details=details)


MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"
"""Why an update with an old resourceVersion is refused."""


def invalid(kind: str, group: str, name: str, faults: Iterable[Fault]) -> Failure:
    """An object that breaks rules: every fault is a cause."""
    causes = tuple(
        StatusCause(reason=_cause(fault.what), message=fault.what, field=format_path(fault.path)) for fault in faults
    )
    said = [f"{cause.field}: {cause.message}" for cause in causes]
    shown = said[0] if len(said) == 1 else f"[{', '.join(said)}]"
    details = StatusDetails(name=name, group=group, kind=kind, causes=causes)
    return fail(422, f'{resource_label(kind, group)} "{name}" is invalid: {shown}', details=details)


def _cause(what: str) -> str:
    return next((reason for words, reason in _CAUSES.items() if what.startswith(words)), "FieldValueInvalid")


def bad_request(message: str) -> Failure:
    """A request that makes no sense."""
    return fail(400, message)


def no_such_resource() -> Failure:
    """A path that leads to nothing."""
    return fail(404, "the server could not find the requested resource", details=StatusDetails())


def not_allowed() -> Failure:
    """A method that the path does not know."""
    return fail(405, "the server does not allow this method on the requested resource", details=StatusDetails())


def not_implemented(what: str) -> Failure:
    """Something a cluster can do and this endpoint cannot."""
    return fail(501, f"{what} is not implemented by this endpoint", "NotImplemented")


def expired(message: str) -> Failure:
    """A resourceVersion or continue token from before what is still remembered."""
    return fail(410, message, "Expired")


def too_large(asked: int, current: int) -> Failure:
    """A resourceVersion that nobody has seen yet."""
    cause = StatusCause(reason="ResourceVersionTooLarge", message="Too large resource version")
    details = StatusDetails(causes=(cause,), retry_after_seconds=1)
    return fail(504, f"Timeout: Too large resource version: {asked}, current: {current}", details=details)
