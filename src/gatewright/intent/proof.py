"""Whether policies do what a model says: every gap, in every address family of the stage."""

from __future__ import annotations

from dataclasses import dataclass

from gatewright.engine.compile import Compiled, compile_snapshot
from gatewright.engine.connectivity import families_in_use
from gatewright.intent.compare import Gap, gaps
from gatewright.intent.groups import Model, model_of
from gatewright.intent.stage import Stage


@dataclass(frozen=True, eq=False)
class Proof:
    """A stage with policies, and how they differ from its model."""

    stage: Stage
    compiled: Compiled
    models: dict[int, Model]
    """What the model says, by address family."""
    gaps: tuple[Gap, ...]


def prove(stage: Stage, *, exact: bool, closed: frozenset[str] = frozenset()) -> Proof:
    """Hold the policies of a stage against its model. `closed` are namespaces in which all is denied by default."""
    compiled = compile_snapshot(stage.snapshot)
    models = {family: model_of(stage, compiled, family, closed) for family in families_in_use(compiled)}
    found = [gap for family, model in models.items() for gap in gaps(compiled, model, family, exact=exact)]
    return Proof(stage, compiled, models, tuple(found))
