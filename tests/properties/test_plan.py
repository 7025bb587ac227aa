"""Laws of planning: a plan does exactly what its model says, nothing of it is idle, and order does not show."""

from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import given, note, settings
from hypothesis import strategies as st

from gatewright.engine.snapshot import Changes, Snapshot
from gatewright.intent.bind import bind
from gatewright.intent.existing import Existing
from gatewright.intent.include import load_model
from gatewright.intent.parties import Bound
from gatewright.intent.plan import Plan, Style, plan
from gatewright.intent.proof import Proof, prove
from gatewright.intent.stage import build_stage
from gatewright.objects.meta import Json, Object
from gatewright.objects.read import decode, parse
from gatewright.report.policies import to_yaml
from tests.traffic_models import models

styles = st.sampled_from(Style)


def bound_of(document: Json, snapshot: Snapshot | None = None) -> Bound:
    return bind(load_model("traffic.yaml", lambda _: json.dumps(document)), snapshot)


def proof_of(bound: Bound, policies: list[Object], closed: frozenset[str]) -> Proof:
    """The proof of a model with these policies, on stand-ins."""
    return prove(build_stage(bound).with_changes(Changes(tuple(policies))), exact=True, closed=closed)


def planned(document: Json, style: Style) -> tuple[Bound, Plan]:
    bound = bound_of(document)
    found = plan(bound, style)
    note(to_yaml(found.policies))
    return bound, found


def object_of(document: Json) -> Object:
    item = decode(document)
    assert item is not None
    return item


@given(models(), styles)
def test_a_plan_does_exactly_what_its_model_says(document: Json, style: Style) -> None:
    bound, found = planned(document, style)
    assert proof_of(bound, [one.object for one in found.policies], found.closed).gaps == ()


@given(models(), styles, st.data())
@settings(max_examples=150)
def test_without_any_rule_or_policy_of_it_something_breaks_or_opens(
    document: Json, style: Style, data: st.DataObject
) -> None:
    bound, found = planned(document, style)
    documents = [one.document for one in found.policies]
    parts = list(removable(documents))
    if not parts:
        return
    number, side, rule = data.draw(st.sampled_from(parts))
    less = copy.deepcopy(documents)
    if side:
        del less[number]["spec"][side][rule]
    else:
        del less[number]
    assert proof_of(bound, [object_of(one) for one in less], found.closed).gaps, (number, side, rule)


def removable(documents: list[Json]) -> Any:
    """(policy, side, rule) of each rule, and (policy, "", 0) of each policy."""
    for number, document in enumerate(documents):
        yield number, "", 0
        for side in ("ingress", "egress"):
            for rule in range(len(document["spec"].get(side, ()))):
                yield number, side, rule


@given(models(), styles, st.randoms(use_true_random=False))
def test_the_order_of_a_model_does_not_show(document: Json, style: Style, random: Any) -> None:
    mixed = dict(document)
    for field in ("components", "outside"):
        items = list(document[field].items())
        random.shuffle(items)
        mixed[field] = dict(items)
    for field in mixed["components"]:
        one = dict(mixed["components"][field])
        one["ports"] = random.sample(one["ports"], len(one["ports"]))
        mixed["components"][field] = one
    mixed["flows"] = random.sample(document["flows"], len(document["flows"]))
    assert to_yaml(planned(mixed, style)[1].policies) == to_yaml(planned(document, style)[1].policies)


@given(models(), styles)
def test_what_is_printed_is_read_back_as_what_was_planned(document: Json, style: Style) -> None:
    _, found = planned(document, style)
    parsed = parse(to_yaml(found.policies, ["a heading"]), "plan.yaml")
    assert parsed.problems == ()
    assert [one.spec for one in parsed.objects] == [one.object.spec for one in found.policies]  # type: ignore[attr-defined]
    assert [one.key for one in parsed.objects] == [one.object.key for one in found.policies]


@given(models(), styles)
def test_beside_itself_a_plan_lacks_nothing(document: Json, style: Style) -> None:
    bound, found = planned(document, style)
    stage = build_stage(bound).with_changes(Changes(tuple(one.object for one in found.policies)))
    assert plan(bound, style, Existing(stage)).policies == ()


@given(models(), styles, st.data())
def test_what_is_missing_beside_a_part_of_a_plan_completes_it(
    document: Json, style: Style, data: st.DataObject
) -> None:
    bound, found = planned(document, style)
    part = [one.object for one in found.policies if data.draw(st.booleans())]
    stage = build_stage(bound).with_changes(Changes(tuple(part)))
    more = plan(bound, style, Existing(stage))
    note(to_yaml(more.policies))
    keys = [one.object.key for one in more.policies]
    assert not set(keys) & {one.key for one in part}
    assert proof_of(bound, [*part, *(one.object for one in more.policies)], more.closed).gaps == ()
