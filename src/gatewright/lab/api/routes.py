"""From a path to what it is about, segment by segment. A path that is not exactly one of ours leads to nothing."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote

from gatewright.kubeapi.failure import bad_request
from gatewright.lab.api.discovery import REVIEWS
from gatewright.lab.api.resources import BY_PATH, GROUP_VERSIONS, Resource
from gatewright.lab.api.verbs import Target

LONGEST_PATH = 4096


@dataclass(frozen=True, slots=True)
class Route:
    """Where a path leads: `what` is object, collection, review, group, resources, unknown or a path's first segment."""

    what: str
    target: Target | None = None
    group: str = ""
    version: str = ""
    rest: tuple[str, ...] = ()


def segments(raw_path: bytes) -> list[str]:
    """The decoded segments. Raises Failure (400) for what no name can hold."""
    if len(raw_path) > LONGEST_PATH:
        raise bad_request("the path is too long")
    try:
        parts = [unquote(part, errors="strict") for part in raw_path.decode("ascii").strip("/").split("/")]
    except UnicodeDecodeError as error:
        raise bad_request("the path is not UTF-8") from error
    for part in parts[2:]:
        if part in (".", "..") or "/" in part or "\0" in part or "%" in part:
            raise bad_request(
                f"invalid path segment {part!r}: a name may not be '.' or '..' and may not contain '/' or '%'"
            )
    return parts


def route(parts: list[str]) -> Route | None:
    """The route of a path's segments; None where it leads nowhere."""
    if parts[0] == "api" and len(parts) > 1:
        return _versioned("", parts[1], parts[2:])
    if parts[0] == "apis" and len(parts) == 2:
        return Route("group", group=parts[1])
    if parts[0] == "apis" and len(parts) > 2:
        return _versioned(parts[1], parts[2], parts[3:])
    return Route(parts[0], rest=tuple(parts[1:]))


def _versioned(group: str, version: str, rest: list[str]) -> Route | None:
    if (group, version) not in GROUP_VERSIONS and (group, version) not in REVIEWS:
        return None
    if not rest:
        return Route("resources", group=group, version=version)
    if len(rest) == 1 and any(rest[0] == plural for plural, _ in REVIEWS.get((group, version), ())):
        return Route("review", group=group, version=version, rest=tuple(rest))
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 2 and (len(rest) > 3 or rest[2] not in ("status", "finalize")):
        namespace, rest = rest[1], rest[2:]
    resource = BY_PATH.get((group, version, rest[0]))
    if resource is None or len(rest) > 3 or not all(rest[1:]):
        return Route("unknown")
    return _at(resource, namespace, rest[1:])


def _at(resource: Resource, namespace: str, rest: list[str]) -> Route:
    if bool(namespace) != resource.namespaced and (namespace or rest):
        return Route("unknown")
    if not rest:
        return Route("collection", Target(resource, namespace))
    subresource = rest[1] if len(rest) > 1 else ""
    return Route("object", Target(resource, namespace, rest[0], subresource))
