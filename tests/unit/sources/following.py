"""A watch of a cluster, and what its deliveries come to, for tests that wait for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from gatewright.objects.meta import Key, Object
from gatewright.sources.kubeconfig import Where
from gatewright.sources.watch import ClusterWatch, Delivery, KindStatus

POD = (("", "Pod"),)


@dataclass
class Following:
    """A watch, and the objects that its deliveries come to; `names` are those of one namespace where one is given."""

    where: Where
    kinds: tuple[tuple[str, str], ...] = POD
    options: dict[str, Any] = field(default_factory=dict)
    namespace: str = ""
    deliveries: list[Delivery] = field(default_factory=list)
    objects: dict[Key, Object] = field(default_factory=dict)
    heard: threading.Condition = field(default_factory=threading.Condition)

    def __enter__(self) -> Following:
        self.watch = ClusterWatch(self.where, self.kinds, self.deliver, chance=lambda: 0.0, **self.options)
        self.watch.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.watch.stop()
        assert [one.name for one in threading.enumerate() if one.name.startswith("watch ")] == []

    def deliver(self, delivery: Delivery) -> None:
        with self.heard:
            self.deliveries.append(delivery)
            for key in delivery.changes.gone:
                self.objects.pop(key, None)
            self.objects.update({item.key: item for item in delivery.changes.put})
            self.heard.notify_all()

    def holds(self, *names: str) -> None:
        """Wait until these are the objects."""
        with self.heard:
            assert self.heard.wait_for(lambda: self.names == list(names), 10), (self.names, self.status())

    def until(self, true: Callable[[KindStatus], object]) -> KindStatus:
        """Wait until the status of the first kind is as wanted."""
        end = time.monotonic() + 10
        while not true(self.status()):
            assert time.monotonic() < end, self.status()
            time.sleep(0.01)
        return self.status()

    @property
    def names(self) -> list[str]:
        return sorted(name for _, place, name in list(self.objects) if not self.namespace or place == self.namespace)

    def status(self) -> KindStatus:
        return self.watch.status()[0]
