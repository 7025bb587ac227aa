"""An object that a server should have refused harms nobody but itself.

The lab's endpoint checks less of a pod or a workload than a cluster's API server does. What a controller cannot make
sense of is told in the log, once for each state of the object, and left alone; everything else goes on.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from gatewright.errors import line
from gatewright.lab.api.resources import Resource
from gatewright.lab.apiclient.following import Change, Name
from gatewright.lab.apiclient.working import Cluster, Controller

_log = logging.getLogger(__name__)
_UNREADABLE = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


class Guarded:
    """A controller that outlives unreadable objects."""

    def __init__(self, inner: Controller) -> None:
        self._inner = inner

    @property
    def name(self) -> str:
        """The controller's name."""
        return self._inner.name

    @property
    def resources(self) -> tuple[Resource, ...]:
        """What the controller follows."""
        return self._inner.resources

    def keys(self, change: Change) -> Iterable[Name]:
        """What a change is about; nothing, where it cannot be read."""
        try:
            return tuple(self._inner.keys(change))
        except _UNREADABLE as error:
            self._tell(change.name, error)
            return ()

    def reconcile(self, cluster: Cluster, key: Name) -> float | None:
        """Make it so, where it can be read."""
        try:
            return self._inner.reconcile(cluster, key)
        except _UNREADABLE as error:
            self._tell(key, error)
            return None

    def _tell(self, key: Name, error: Exception) -> None:
        what = f"{type(error).__name__}: {line(error)}"
        name = "/".join(filter(None, key))
        _log.warning("%s: %s cannot be made sense of and is left alone (%s)", self.name, name, what)
