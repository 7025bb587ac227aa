"""Connections as people read them: between workloads, the pods of one workload that may do the same as one.

Nothing is lost and nothing is made up: pods of a workload share a line only where each of them may do exactly what the
others may. Where they may not, they are told apart by labels in which they differ, else by their own names.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain

from gatewright.engine.addresses import AddressSet
from gatewright.engine.compile import Compiled
from gatewright.engine.connectivity import Connection, Connectivity, connectivity, families_in_use, pairs
from gatewright.engine.model import Direction, Endpoint, RuleOrigin
from gatewright.engine.owners import TEMPLATE_HASH, by_owner
from gatewright.engine.parts import Access
from gatewright.engine.podset import PodSet
from gatewright.engine.twins import Relations
from gatewright.engine.verdict import DomainName
from gatewright.objects.meta import Key

PER_POD_LABELS = frozenset(
    {
        TEMPLATE_HASH,
        "apps.kubernetes.io/pod-index",
        "batch.kubernetes.io/controller-uid",
        "batch.kubernetes.io/job-completion-index",
        "batch.kubernetes.io/job-name",
        "controller-revision-hash",
        "controller-uid",
        "job-name",
        "pod-template-generation",
        "statefulset.kubernetes.io/pod-name",
    }
)
"""Labels that controllers write, and that tell pods of one workload apart only where no other label does."""


@dataclass(frozen=True, slots=True)
class Group:
    """Endpoints that an answer speaks of as one; equal by name, so that groups of two states can be compared.

    `labels` tell it from other groups of the same workload: (key, value), the value None for a label that is not there.
    """

    namespace: str
    name: str
    kind: str
    labels: tuple[tuple[str, str | None], ...] = ()
    members: tuple[Endpoint, ...] = field(default=(), compare=False, repr=False)

    def __str__(self) -> str:
        own = f"{self.namespace}/{self.name}[{self.kind}]"
        telling = ",".join(f"!{key}" if value is None else f"{key}={value}" for key, value in self.labels)
        return f"{own} (labels {telling})" if telling else own

    @property
    def key(self) -> Key:
        """(kind, namespace, name) of the workload or pod."""
        return (self.kind, self.namespace, self.name)


Source = Group | AddressSet
End = Group | AddressSet | DomainName


@dataclass(frozen=True, slots=True)
class Row:
    """One connection of a view: what `Connection` says, between groups."""

    source: Source
    destination: End
    access: Access
    family: int | None = None


@dataclass(frozen=True, slots=True)
class View:
    """The rows of an answer, and every group there is, connected or not; both in stable order."""

    rows: tuple[Row, ...]
    groups: tuple[Group, ...]


@dataclass(frozen=True)
class Answer:
    """A view together with the policies behind it."""

    compiled: Compiled
    view: View

    @cached_property
    def _own(self) -> dict[Group, Group]:
        return {group: group for group in self.view.groups}

    def policies(self, end: End, direction: Direction) -> tuple[RuleOrigin, ...]:
        """The policies that select an end of a connection in a direction, in order of evaluation.

        A group of another state is looked up here by its name.
        """
        found: dict[Key, RuleOrigin] = {}
        for member in self._own[end].members if isinstance(end, Group) and end in self._own else ():
            for tier in self.compiled.rules(member.index, direction).tiers:
                found |= {(one.kind, one.namespace, one.name): one for one in tier.policies}
        return tuple(found.values())


def by_pod(compiled: Compiled, connections: Iterable[Connection]) -> View:
    """Every pod on its own, and the workloads that have no live pods."""
    standing = chain.from_iterable(by_owner(compiled).values())
    return _view({one: Group(one.namespace, one.name, one.kind, members=(one,)) for one in standing}, connections)


def by_workload(compiled: Compiled, telling: Mapping[Key, frozenset[str]] | None = None) -> View:
    """Live pods collapsed to what owns them. `telling` has label keys by which a workload is told apart in any case.

    Thousands of pods are millions of pairs, so two pods stand for all that are surely alike: first to find out how the
    pods of a workload are told apart, then for what is between the groups.
    """
    wanted, owned = telling or {}, by_owner(compiled)
    answers = [connectivity(compiled, family) for family in families_in_use(compiled)]
    crowds = {key: members for key, members in owned.items() if len(members) > 1 or key in wanted}
    alike = _surely_alike(crowds.values(), answers)
    first = {member: one[0] for one in alike for member in one}
    alone = [members for key, members in owned.items() if key not in crowds]
    asked = _two_of_each([*alike, *alone])
    rows = pairs(answers, asked)
    relations = Relations(_edges(rows) if crowds else {})
    groups: dict[Endpoint, Group] = {}
    for key, members in owned.items():
        if key in crowds:
            made = _told_apart(key, members, first, relations, wanted.get(key, frozenset()))
        else:
            made = [_group(key, {}, members)]
        groups |= {member: group for group in made for member in group.members}
    shown = _two_of_each(group.members for group in set(groups.values()))
    return _view(groups, rows if shown == asked else pairs(answers, shown))


def _surely_alike(
    crowds: Collection[tuple[Endpoint, ...]], answers: Iterable[Connectivity]
) -> list[tuple[Endpoint, ...]]:
    """The pods of each crowd by the parts of the answers that they are in: in the same ones, all stand alike."""
    every = [member for members in crowds for member in members]
    places: dict[int, list[int]] = {member.index: [] for member in every}
    crowd = PodSet.of(sorted(places))
    sets = [pods for answer in answers for one in answer.rectangles for pods in (one.sources, one.destinations)]
    sets += [one.pods for answer in answers for one in answer.outside]
    sets += [one.pods for answer in answers for one in answer.named]
    for number, pods in enumerate(sets):
        for position in pods & crowd:
            places[position].append(number)
    found: dict[object, list[Endpoint]] = {}
    for number, members in enumerate(crowds):
        for member in members:
            families = tuple(address.version for address in member.addresses)
            found.setdefault((number, tuple(places[member.index]), families, member.many), []).append(member)
    return [tuple(one) for one in found.values()]


def _two_of_each(groups: Iterable[tuple[Endpoint, ...]]) -> PodSet:
    return PodSet.of(sorted(member.index for group in groups for member in group[:2]))


def telling_labels(view: View) -> dict[Key, frozenset[str]]:
    """The label keys by which each workload of a view is told apart; workloads on one line are left out."""
    return {group.key: frozenset(key for key, _ in group.labels) for group in view.groups if group.labels}


def order(end: End) -> tuple[object, ...]:
    """How ends are sorted: groups by name, then address ranges, then domain names."""
    if isinstance(end, Group):
        labels = tuple((key, value is not None, value or "") for key, value in end.labels)
        return (0, end.namespace, end.name, end.kind, labels)
    if isinstance(end, DomainName):
        return (2, end.name)
    return (1, bool(end.v6), end.v4 or end.v6)


def _view(groups: dict[Endpoint, Group], connections: Iterable[Connection]) -> View:
    """The connections between groups. An endpoint that no group has is left out: live pods say what it would.

    There may be a million connections, so each is kept by the ranks of its groups until it is known which are the same.
    """
    ordered = tuple(sorted(set(groups.values()), key=order))
    rank = {group: place for place, group in enumerate(ordered)}
    ranks = {endpoint: rank[group] for endpoint, group in groups.items()}
    found: dict[_Place, Access] = {}
    for one in connections:
        source = ranks.get(one.source) if isinstance(one.source, Endpoint) else one.source
        destination = ranks.get(one.destination) if isinstance(one.destination, Endpoint) else one.destination
        if source is not None and destination is not None:
            found[source, destination, one.family] = one.access
    rows = []
    for place in sorted(found, key=_place_order):
        source, destination, family = place
        left = ordered[source] if isinstance(source, int) else source
        right = ordered[destination] if isinstance(destination, int) else destination
        rows.append(Row(left, right, found[place], family))
    return View(tuple(rows), ordered)


_Place = tuple[int | AddressSet, int | AddressSet | DomainName, int | None]
"""Two ends, groups by their rank, and the family."""


def _place_order(place: _Place) -> tuple[object, ...]:
    source, destination, family = place
    ends = ((0, end) if isinstance(end, int) else order(end) for end in (source, destination))
    return (*ends, family or 0)


Accesses = tuple[tuple[int | None, Access], ...]
"""What is allowed between two ends, by family."""


def _edges(connections: Iterable[Connection]) -> dict[tuple[object, object], Accesses]:
    edges: dict[tuple[object, object], Accesses] = {}
    for one in connections:
        place = (one.source, one.destination)
        edges[place] = (*edges.get(place, ()), (one.family, one.access))
    return edges


def _told_apart(
    key: Key,
    members: tuple[Endpoint, ...],
    first: Mapping[Endpoint, Endpoint],
    relations: Relations[object, Accesses],
    wanted: frozenset[str],
) -> list[Group]:
    """The replicas of a workload, as few groups as can be said in labels and never two behaviours in one.

    `first` has for each replica the one that stands for it in the relations.
    """
    classes = relations.classes(dict.fromkeys(first[member] for member in members))
    numbers = {one: number for number, alike in enumerate(classes) for one in alike}
    behaviour = {member: numbers[first[member]] for member in members}
    for keys in _label_choices(members, wanted):
        parts: dict[tuple[str | None, ...], list[Endpoint]] = {}
        for member in members:
            parts.setdefault(tuple(member.labels.get(one) for one in keys), []).append(member)
        if all(len({behaviour[member] for member in part}) == 1 for part in parts.values()):
            return [_group(key, dict(zip(keys, values, strict=True)), tuple(part)) for values, part in parts.items()]
    return [Group(one.namespace, one.name, one.kind, members=(one,)) for one in members]


def _label_choices(members: tuple[Endpoint, ...], wanted: frozenset[str]) -> Iterable[tuple[str, ...]]:
    """Sets of label keys that may tell the members apart, the simplest first."""
    keys = sorted(set(chain.from_iterable(member.labels for member in members)) - wanted)
    differing = [key for key in keys if len({member.labels.get(key) for member in members}) > 1]
    written = [key for key in differing if key not in PER_POD_LABELS]
    choices = [(), *((key,) for key in written), tuple(written), *((key,) for key in differing), tuple(differing)]
    return (tuple(sorted({*choice, *wanted})) for choice in choices)


def _group(key: Key, labels: dict[str, str | None], members: tuple[Endpoint, ...]) -> Group:
    kind, namespace, name = key
    return Group(namespace, name, kind, tuple(sorted(labels.items())), members)
