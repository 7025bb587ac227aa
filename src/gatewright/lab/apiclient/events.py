"""Kubernetes Events (v1) about objects, so that `kubectl describe` says what was done and what went wrong.

What repeats counts up in the Event that is there. Events help people and decide nothing: one that cannot be written is
logged and forgotten.
"""

from __future__ import annotations

import logging
import uuid
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from gatewright.errors import GatewrightError
from gatewright.lab.api.resources import BY_PLURAL, Tree
from gatewright.lab.apiclient.following import name_of

if TYPE_CHECKING:
    from gatewright.lab.apiclient.writing import Writer

_log = logging.getLogger(__name__)
EVENTS = BY_PLURAL["", "events"]
REMEMBERED = 1000
LONGEST_MESSAGE = 1024
"""Characters of a message (core/v1 validation of Events)."""


class Recorder:
    """Writes Events as one component. For the thread of its writer."""

    def __init__(self, writer: Writer, component: str, now: Callable[[], float], host: str = "") -> None:
        """`now` is the wall clock; `host` the node that the component runs on."""
        self._writer, self._now = writer, now
        self._source = {"component": component} | ({"host": host} if host else {})
        self._recent: OrderedDict[tuple[str, ...], tuple[str, int]] = OrderedDict()

    def record(self, about: Tree, kind: str, reason: str, message: str) -> None:
        """Record an Event; `kind` is Normal or Warning."""
        namespace = name_of(about)[0] or "default"
        same = (str(about["metadata"].get("uid")), kind, reason, message)
        stamp = timestamp(self._now())
        try:
            if same in self._recent:
                name, count = self._recent[same]
                self._writer.patch(EVENTS, namespace, name, {"count": count + 1, "lastTimestamp": stamp})
                self._recent[same] = name, count + 1
                self._recent.move_to_end(same)
                return
            made = self._event(about, namespace, kind, reason, message, stamp)
            self._writer.create(EVENTS, namespace, made)
        except GatewrightError as error:
            self._recent.pop(same, None)
            _log.info("event %s about %s: %s", reason, "/".join(filter(None, name_of(about))), error)
            return
        self._recent[same] = made["metadata"]["name"], 1
        if len(self._recent) > REMEMBERED:
            self._recent.popitem(last=False)

    def _event(self, about: Tree, namespace: str, kind: str, reason: str, message: str, stamp: str) -> Tree:
        metadata = about["metadata"]
        involved = {"apiVersion": about["apiVersion"], "kind": about["kind"], "name": metadata["name"]}
        involved |= {name: metadata[name] for name in ("namespace", "uid", "resourceVersion") if metadata.get(name)}
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{metadata['name']}.{uuid.uuid4().hex[:16]}", "namespace": namespace},
            "involvedObject": involved,
            "type": kind,
            "reason": reason,
            "message": message[:LONGEST_MESSAGE],
            "source": self._source,
            "firstTimestamp": stamp,
            "lastTimestamp": stamp,
            "count": 1,
        }


def timestamp(at: float) -> str:
    """A time in seconds since 1970 as API objects have it (RFC 3339, whole seconds)."""
    return datetime.fromtimestamp(int(at), UTC).isoformat().replace("+00:00", "Z")
