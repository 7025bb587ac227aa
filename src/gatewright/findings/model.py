"""The finding: one thing that is wrong or doubtful, where it stands, and what to do about it.

Every producer (the lint rules, the reading of input, the check of a traffic model) states its results as `Finding`, so
that one set of reporters prints them all. A finding is a value: it knows its place and its mending, and nothing of how
either is shown.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass

from gatewright.engine.model import RuleOrigin
from gatewright.objects.meta import Object
from gatewright.objects.origin import Origin, Path, format_path


class Severity(enum.StrEnum):
    """How much a finding weighs.

    An error is certainly not what anybody meant, or refused by a cluster; a warning is probably not; an info is worth a
    look, or true only if the input is the whole cluster.
    """

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"

    @property
    def rank(self) -> int:
        """0 for the lightest."""
        return tuple(Severity).index(self)


@dataclass(frozen=True, slots=True)
class Place:
    """A field of an object, and where it was written.

    `namespace` is empty for cluster-wide kinds, `path` for the object itself. `origin` is already that of the field;
    None when the object came from an API. A place without `kind` is a place in a file alone.
    """

    kind: str = ""
    namespace: str = ""
    name: str = ""
    path: Path = ()
    origin: Origin | None = None

    @classmethod
    def of(cls, item: Object, *path: str | int) -> Place:
        """The place of an object, or of one of its fields."""
        return cls(item.kind, item.namespace, item.name, path, item.origin.at(path) if item.origin else None)

    @classmethod
    def of_rule(cls, rule: RuleOrigin) -> Place:
        """The place that a compiled rule comes from."""
        origin = rule.origin.at(rule.path) if rule.origin else None
        return cls(rule.kind, rule.namespace, rule.name, rule.path, origin)

    @property
    def object(self) -> str:
        """`NetworkPolicy default/db-policy`; empty for a place in a file alone."""
        if not self.kind:
            return ""
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"

    @property
    def field(self) -> str:
        """`spec.ingress[0].from[1]`; empty for the object itself."""
        return format_path(self.path)

    @property
    def file(self) -> str:
        """The file as the user named it; empty when the object came from an API."""
        return self.origin.file if self.origin else ""

    @property
    def line(self) -> int:
        """The line in the file, from 1; 0 when there is none."""
        return self.origin.line if self.origin else 0

    @property
    def order(self) -> tuple[str, int, str]:
        """By file and line, then object."""
        return (self.file, self.line, self.object)

    @property
    def where(self) -> str:
        """`file:line`; without a file the object's name."""
        return str(self.origin) if self.origin else self.object


@dataclass(frozen=True, slots=True)
class Replace:
    """Write `new` where the scalar at `path` says `old`."""

    path: Path
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Remove:
    """Take the item at `path` out of its sequence, which keeps others."""

    path: Path


@dataclass(frozen=True, slots=True)
class Append:
    """Add a scalar to the sequence at `path`."""

    path: Path
    item: str


@dataclass(frozen=True, slots=True)
class Insert:
    """Give the mapping at `path` a key it lacks, with a sequence of scalars; below the key `after` where that is."""

    path: Path
    key: str
    items: tuple[str, ...]
    after: str = ""


Change = Replace | Remove | Append | Insert


@dataclass(frozen=True, slots=True)
class Fix:
    """A mending: what it does, as an imperative, and the change of the object's text that does it.

    `safe` says that the policies say the same afterwards: it allows and denies nothing that was not written before.
    """

    what: str
    change: Change
    safe: bool = True


@dataclass(frozen=True, slots=True)
class Related:
    """Another place that a finding speaks of, and what stands there."""

    place: Place
    message: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding. `id` is stable (`GW101`), `message` is one line without the place; `remedy` says what to do."""

    id: str
    severity: Severity
    message: str
    place: Place = Place()
    remedy: str = ""
    fix: Fix | None = None
    related: tuple[Related, ...] = ()

    @property
    def order(self) -> tuple[str, int, str, str, str]:
        """By file and line, then id: the order in which findings are listed."""
        return (self.place.file, self.place.line, self.id, self.place.object, self.message)


def worst(findings: Iterable[Finding]) -> Severity | None:
    """The heaviest severity among the findings; None when there are none."""
    return max((finding.severity for finding in findings), key=lambda severity: severity.rank, default=None)
