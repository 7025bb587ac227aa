"""Pods that do not exist yet, and that policies wait for: a hole that nobody can use today, and whoever makes one can.

`from: app=legacy` waits for whoever makes a pod with that label; a policy about `app=web,track=canary` waits for the
first canary of web, whom web's own policies may not bind. Each such selector, of any kind of policy, is told as the
simplest pod that it selects. A rule that denies waits for nobody: it opens nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from gatewright.engine.model import Endpoint
from gatewright.engine.selectors import matches, requirements
from gatewright.engine.snapshot import NAMESPACE_NAME_LABEL, Snapshot
from gatewright.engine.view import PER_POD_LABELS
from gatewright.intent.lookup import Objects
from gatewright.intent.model import PodsOf
from gatewright.intent.parties import Party
from gatewright.intent.selected import lets_through, peers_of, subjects_of
from gatewright.intent.simplest import labels_like
from gatewright.objects.meta import Object

ANY_NAME = "a-namespace-to-be-made"


@dataclass(frozen=True, slots=True)
class Space:
    """A namespace by its labels: one that is there, or one that has yet to be made (`name` empty)."""

    name: str
    labels: dict[str, str]


@dataclass(frozen=True, slots=True)
class Awaited:
    """A pod that is not there: in which namespace, with which labels.

    `of` is the component that it would be of, if any, and `like` the pod of the component that it is like.
    """

    space: Space
    labels: dict[str, str]
    of: Party | None = None
    like: Endpoint | None = None


def awaited(snapshot: Snapshot, components: Iterable[Party]) -> Iterator[Awaited]:
    """The pods that policies wait for; none that two components would have, since no model can mean it.

    Of a peer that selects no endpoint that is the simplest pod that it selects. Of a policy that selects no endpoint it
    is a pod of each component that could be so, like one that the component has, but for what the policy asks for.
    """
    return _Waiting(snapshot, components).pods()


class _Waiting:
    def __init__(self, snapshot: Snapshot, components: Iterable[Party]) -> None:
        self.snapshot, self.objects = snapshot, Objects(snapshot)
        self.near: dict[str, list[Party]] = {}
        for party in components:
            for namespace in {party.pods.namespace} if party.pods else ():
                self.near.setdefault(namespace, []).append(party)
        self.samples: dict[Party, Endpoint | None] = {}

    def pods(self) -> Iterator[Awaited]:
        policies: list[Object] = [*self.snapshot.policies, *self.snapshot.cluster_policies]
        for pods in _distinct(pods for policy in policies for pods in peers_of(policy)):
            labels, space = labels_like({}, pods.labels), self._space(pods)
            if labels is not None and space is not None and not self.objects.members(pods):
                owner = self._owners(space, labels)
                whose = [self._of(party, pods) for party in owner] if owner else [Awaited(space, labels)]
                yield from self._clear(whose)
        opening = (policy for policy in policies if lets_through(policy))
        for pods in _distinct(pods for policy in opening for pods in subjects_of(policy)):
            if not self.objects.members(pods):
                yield from self._clear([self._of(party, pods) for party in self._candidates(pods)])

    def _clear(self, found: Iterable[Awaited | None]) -> Iterator[Awaited]:
        """Those that exactly the component has that they are meant for."""
        for one in found:
            if one is not None and self._owners(one.space, one.labels) == ([one.of] if one.of else []):
                yield one

    def _of(self, party: Party, pods: PodsOf) -> Awaited | None:
        """The pod of a component that a selector selects, like one that the component has."""
        own = party.pods or PodsOf()
        if party not in self.samples:
            self.samples[party] = next(iter(self.objects.pods(own)), None)
        like = self.samples[party]
        written = {key: value for key, value in like.labels.items() if key not in PER_POD_LABELS} if like else {}
        labels, space = labels_like(written, own.labels, pods.labels), self._space(own, pods)
        return None if labels is None or space is None else Awaited(space, labels, party, like)

    def _candidates(self, pods: PodsOf) -> list[Party]:
        """The components that may have pods where a selector looks for some."""
        spaces = self.near if pods.namespaces is not None else {pods.namespace: (), "": ()}
        return [party for name in spaces for party in self.near.get(name, ())]

    def _owners(self, space: Space, labels: dict[str, str]) -> list[Party]:
        """The components that would have a pod with these labels there."""
        near = {space.name: (), "": ()}
        return [party for name in near for party in self.near.get(name, ()) if _has(party, space, labels)]

    def _space(self, *every: PodsOf) -> Space | None:
        """A namespace in which pods can be of all of these: the first that is there, else one that could be made."""
        named = {pods.namespace for pods in every if pods.namespaces is None}
        selectors = [pods.namespaces for pods in every if pods.namespaces is not None]
        if len(named) > 1:
            return None
        there = self.snapshot.namespaces
        for name in named or there:
            labels = there.get(name, {NAMESPACE_NAME_LABEL: name})
            if all(matches(selector, labels) for selector in selectors):
                return Space(name, labels)
        made = None if named else labels_like({NAMESPACE_NAME_LABEL: ANY_NAME}, *selectors)
        if made is None or made.get(NAMESPACE_NAME_LABEL, "") in ("", *there):
            return None  # every namespace has its name for a label, and one that is there is as it is
        name = made[NAMESPACE_NAME_LABEL]
        return Space("" if name == ANY_NAME else name, made)


def _has(party: Party, space: Space, labels: dict[str, str]) -> bool:
    if party.pods is None or not matches(party.pods.labels, labels):
        return False
    return party.pods.namespaces is None or matches(party.pods.namespaces, space.labels)


def _distinct(every: Iterable[PodsOf]) -> Iterable[PodsOf]:
    """Each once, however it is written."""
    found: dict[object, PodsOf] = {}
    for pods in every:
        namespaces = requirements(pods.namespaces) if pods.namespaces is not None else None
        found.setdefault((pods.namespace, namespaces, requirements(pods.labels)), pods)
    return found.values()
