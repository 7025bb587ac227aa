"""The traffic model: who talks to whom, as a person wrote it.

Nothing here is looked up yet: names of workloads and Services, and port names, are what the file says. `intent.bind`
finds out what they stand for. Every entry knows its line, and the comment that stands above it.

A model speaks of *parties*. A component is pods that the model is about: what they may send and receive is exactly what
the flows say. An outside party (addresses, anywhere, or pods of somebody else) stands in flows, and is left alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from gatewright.engine.ports import Protocol
from gatewright.errors import Problem
from gatewright.objects.meta import LabelSelector
from gatewright.objects.origin import Origin
from gatewright.objects.policy import IPBlock

API_VERSION = "gatewright/v1alpha1"
KIND = "Traffic"


@dataclass(frozen=True, slots=True, order=True)
class Port:
    """One entry of a list of ports: numbers first to last, a name, or (protocol None) all traffic.

    An entry with a name and a number is called by the name in flows, and is the number in policies. One with a name
    alone (`first` 0) is what each pod calls so.
    """

    protocol: Protocol | None
    first: int = 0
    last: int = 0
    name: str = ""

    @property
    def is_named(self) -> bool:
        """Whether only the pods know its number."""
        return self.protocol is not None and not self.first

    def __str__(self) -> str:
        if self.protocol is None:
            return "all traffic"
        numbers = str(self.first) if self.first == self.last else f"{self.first}-{self.last}"
        return f"{self.protocol} {self.name if self.is_named else numbers}"


ANY = Port(None)
"""All traffic, whatever its protocol."""


EVERY_POD = LabelSelector()


@dataclass(frozen=True, slots=True)
class PodsOf:
    """How a file names pods: by labels, or by the workload or Service they belong to (`kind` and `name` set).

    Without `labels` it is every pod there. `namespace` is empty where `namespaces` selects some by their labels.
    """

    namespace: str = ""
    namespaces: LabelSelector | None = None
    labels: LabelSelector = EVERY_POD
    kind: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """What every entry of a file has: its place, and the lines of comment above it (with `why`, where it is given)."""

    origin: Origin
    comment: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Component:
    """Pods that the model is about. `ports` empty: what they declare. `by_name` None: DNS where it seems needed."""

    name: str
    pods: PodsOf
    ports: tuple[Port, ...]
    by_name: bool | None
    entry: Entry


@dataclass(frozen=True, slots=True)
class Outside:
    """A party that the model leaves alone: everything (neither pods nor blocks), addresses, or somebody else's pods."""

    name: str
    pods: PodsOf | None
    blocks: tuple[IPBlock, ...]
    ports: tuple[Port, ...]
    entry: Entry

    @property
    def is_anywhere(self) -> bool:
        """Whether it is every address there is, pods of the cluster included."""
        return self.pods is None and not self.blocks


@dataclass(frozen=True, slots=True)
class PortWord:
    """A port as a flow writes it: an entry of its own, or the name of one that the destination has."""

    port: Port
    text: str


@dataclass(frozen=True, slots=True)
class Flow:
    """A line of `flows` or `never`: who opens connections to whom. No ports: all that the destination opens.

    Under `never` no ports means any.
    """

    source: str
    destination: str
    ports: tuple[PortWord, ...]
    entry: Entry

    def __str__(self) -> str:
        ports = f" : {', '.join(word.text for word in self.ports)}" if self.ports else ""
        return f"{self.source} -> {self.destination}{ports}"


@dataclass(frozen=True, slots=True)
class Traffic:
    """A model file, or several merged. `dns` None: nothing is said of it; `uses_dns` False: there is none.

    `problems` are what is wrong with them so far: an entry with a fault is left out, and `bind` refuses the whole.
    """

    origin: Origin
    components: tuple[Component, ...] = ()
    outside: tuple[Outside, ...] = ()
    flows: tuple[Flow, ...] = ()
    never: tuple[Flow, ...] = ()
    dns: Outside | None = None
    uses_dns: bool = True
    problems: tuple[Problem, ...] = ()
