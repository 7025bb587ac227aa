"""Whether policies do what a model says: every gap, in every address family that the model or the cluster uses."""

from __future__ import annotations

from dataclasses import dataclass

from gatewright.engine.addresses import FAMILIES
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
    models = {family: model_of(stage, compiled, family, closed) for family in families(stage, compiled)}
    found = [gap for family, model in models.items() for gap in gaps(compiled, model, family, exact=exact)]
    return Proof(stage, compiled, models, tuple(found))


def families(stage: Stage, compiled: Compiled) -> tuple[int, ...]:
    """The families in use, and those of the addresses that the model names, where pods may have any."""
    used = set(families_in_use(compiled))
    if not any(endpoint.addresses for endpoint in compiled.endpoints):
        blocks = [party.addresses for party in stage.bound.parties if party.pods is None and not party.is_anywhere]
        used |= {family for family in FAMILIES if any(one.ranges(family) for one in blocks)}
    return tuple(sorted(used))
