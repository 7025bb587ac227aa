"""Whether policies do what a model says: every gap, in every address family of the stage."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gatewright.engine.compile import Compiled, compile_snapshot
from gatewright.engine.connectivity import Connectivity, connectivity, families_in_use
from gatewright.engine.model import Direction
from gatewright.engine.podset import NO_PODS, PodSet
from gatewright.engine.snapshot import Changes
from gatewright.intent.compare import Comparison, Gap
from gatewright.intent.groups import Model, model_of
from gatewright.intent.region import Region
from gatewright.intent.stage import Stage


@dataclass(frozen=True, eq=False)
class Proof:
    """A stage with policies, and how they differ from its model."""

    stage: Stage
    compiled: Compiled
    comparisons: dict[int, Comparison]
    """The model, by address family."""
    answers: dict[int, Connectivity]
    """What policies allow, by address family."""
    gaps: tuple[Gap, ...]

    @property
    def models(self) -> dict[int, Model]:
        """What the model says, by address family."""
        return {family: comparison.model for family, comparison in self.comparisons.items()}

    def after(self, changes: Changes, subjects: PodSet) -> Iterator[tuple[Region, list[Gap]]]:
        """What there is after policies about `subjects` came, went or changed, a family at a time.

        Each is the region that is touched, and the gaps in it; outside it everything is as it was.
        """
        update = self.compiled.apply(changes)
        touched = {direction: subjects if update.touched[direction] else NO_PODS for direction in Direction}
        region = Region(touched[Direction.EGRESS], touched[Direction.INGRESS])
        for family, comparison in self.comparisons.items():
            yield region, comparison.gaps(self.answers[family].after(update), region)


def prove(stage: Stage, *, exact: bool, closed: frozenset[str] = frozenset()) -> Proof:
    """Hold the policies of a stage against its model. `closed` are namespaces in which all is denied by default."""
    compiled = compile_snapshot(stage.snapshot)
    families = families_in_use(compiled)
    answers = {family: connectivity(compiled, family) for family in families}
    comparisons = {
        family: Comparison(model_of(stage, compiled, family, closed), family, exact=exact) for family in families
    }
    found = [gap for family, comparison in comparisons.items() for gap in comparison.gaps(answers[family])]
    return Proof(stage, compiled, comparisons, answers, tuple(found))
