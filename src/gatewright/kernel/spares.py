"""The sets of classes that are gone, which stay in the kernel for a while: their pods mostly come back.

A pod is deleted and its successor comes to the same node; between the two its class has no pod. Where its rules name
thousands of peers, filling its sets again takes the kernel tens of milliseconds, and every other change waits behind
it. So the sets of such a class stay as they are, and no rule names them. When the class comes back, what has become
different since is worked out as for any class, from the rules it had to those it has.

Spares are no part of what the cluster says: what a packet meets is the same with and without. Their elements are
memory, so there are bounds for how many there may be, and for how long.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from gatewright.engine.podset import PodSet
from gatewright.kernel.change import Edits
from gatewright.kernel.classes import Ground, PodClass, Positions, end, end_sets
from gatewright.kernel.table import Set


@dataclass(frozen=True, slots=True)
class Keep:
    """Which sets stay: those of classes with as many elements as `smallest`, together `most`.

    They stay until `moves` positions have other addresses than when the class went: what has to be mended grows, and
    they keep alive what was known of the cluster then.
    """

    smallest: int = 250
    most: int = 200_000
    moves: int = 1_000


NOTHING = Keep(most=0)


@dataclass(frozen=True, slots=True)
class Spare:
    """A class as it was when it went: its sets hold what followed from its rules and `before`. `moved` since."""

    left: PodClass
    before: Positions
    moved: PodSet

    @property
    def sets(self) -> Iterator[Set]:
        """Its sets, worked out from the beginning."""
        return self.left.sets(self.before.at)

    def ground(self, now: Ground) -> Ground:
        """What leads from when the class went to where a change leads."""
        return Ground(self.before, now.after, self.moved, self.before.holders, now.held_after)


class Spares:
    """The spares of one program. Changed while the next program is made, and only then: each program has its own."""

    def __init__(self, keep: Keep) -> None:
        self._keep = keep
        self._kept: dict[str, Spare] = {}

    def __iter__(self) -> Iterator[Spare]:
        """The one that went first is first."""
        return iter(self._kept.values())

    def following(self, moved: PodSet) -> Spares:
        """Those of the next program, to which some positions have moved."""
        other = Spares(self._keep)
        other._kept = {name: replace(one, moved=one.moved | moved) for name, one in self._kept.items()}
        return other

    def leave(self, gone: PodClass, ground: Ground, edits: Edits) -> None:
        """A class goes. Its sets stay where that is worth it.

        Sets with ranges never do: what becomes different in several of them at once is not seen at one moment.
        """
        if gone.element_count < self._keep.smallest or any(part.interval for sizes in gone.sizes for part in sizes):
            end(gone, edits)
        else:
            edits.chains(gone.chains, ())
            self._kept[gone.name] = Spare(gone, ground.before, ground.moved)

    def none(self) -> Spares:
        """No spares, kept by the same bounds from now on."""
        return Spares(self._keep)

    def take(self, name: str) -> Spare | None:
        """The spare of a class that comes back, which is none any more."""
        return self._kept.pop(name, None)

    def tidy(self, edits: Edits) -> None:
        """Let go of what is too old, then of what went first, until there are no more elements than there may be."""
        count = sum(one.left.element_count for one in self)
        for name, one in list(self._kept.items()):
            if count > self._keep.most or len(one.moved) > self._keep.moves:
                count -= one.left.element_count
                end_sets(self._kept.pop(name).left, edits)
