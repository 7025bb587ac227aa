"""Proposed manifests over a cluster: what stays of it, what is replaced, what leaves with its workload."""

from __future__ import annotations

from typing import Any

from gatewright.objects.meta import Object
from gatewright.objects.read import Parsed, decode, parse
from gatewright.sources.proposal import over

Json = dict[str, Any]


def made(kind: str, name: str, *, owner: tuple[str, str] | None = None, **spec: Any) -> Object:
    api = "apps/v1" if kind in ("Deployment", "ReplicaSet") else "v1"
    owners = [{"kind": owner[0], "name": owner[1], "controller": True}] if owner else []
    metadata = {"name": name, "namespace": "default", "ownerReferences": owners}
    item = decode({"apiVersion": api, "kind": kind, "metadata": metadata, "spec": spec})
    assert item is not None
    return item


def template(app: str, image: str = "one", port: int = 80) -> Json:
    container = {"name": "c", "image": image, "ports": [{"containerPort": port, "protocol": "TCP"}]}
    return {"metadata": {"labels": {"app": app}}, "spec": {"containers": [container]}}


LIVE = Parsed((
    made("Deployment", "web", template=template("web")),
    made("ReplicaSet", "web-1", owner=("Deployment", "web"), template=template("web")),
    made("Pod", "web-1-a", owner=("ReplicaSet", "web-1"), **template("web")["spec"]),
    made("Pod", "alone", **template("alone")["spec"]),
))  # fmt: skip


def names(parsed: Parsed) -> list[str]:
    return [f"{item.kind}/{item.name}" for item in parsed.objects]


def proposed(spec: Json) -> Parsed:
    return Parsed((made("Deployment", "web", **spec),))


def test_what_policies_do_not_see_keeps_the_pods() -> None:
    parsed = over(LIVE, proposed({"replicas": 5, "template": template("web", image="two")}))
    assert names(parsed) == ["ReplicaSet/web-1", "Pod/web-1-a", "Pod/alone", "Deployment/web"]


def test_other_labels_or_ports_replace_the_pods() -> None:
    for change in (template("shop"), template("web", port=81)):
        assert names(over(LIVE, proposed({"template": change}))) == ["Pod/alone", "Deployment/web"]


def test_what_is_new_is_added_and_nothing_is_warned_of() -> None:
    new = parse("{apiVersion: v1, kind: Namespace, metadata: {name: new}}", "new.yaml")
    parsed = over(LIVE, new)
    assert names(parsed) == [*names(LIVE), "Namespace/new"]
    assert (parsed.problems, parsed.warnings) == ((), ())


def test_what_names_no_namespace_is_in_that_of_the_context() -> None:
    text = "apiVersion: v1\nkind: Pod\nmetadata: {name: NAME}\nspec: {containers: [{name: c, image: i}]}\n"
    named = text.replace("NAME", "named, namespace: default")
    given = parse(
        f"{text.replace('NAME', 'new')}---\n{named}---\n{text.replace('Pod', 'Namespace').replace('NAME', 'space')}",
        "f.yaml",
    )
    parsed = over(LIVE, given, "shop")
    assert [(item.namespace, item.name) for item in parsed.objects[len(LIVE.objects) :]] == [
        ("shop", "new"), ("default", "named"), ("", "space")
    ]  # fmt: skip
    twice = parse(f"{named}---\n{text.replace('NAME', 'named')}".replace("c, image", "d, image", 1), "f.yaml")
    assert len(over(Parsed(), twice).warnings) == 1


def test_the_problems_of_both_are_kept() -> None:
    bad = parse("[", "bad.yaml")
    assert over(bad, bad).problems == bad.problems * 2


def test_owners_in_a_circle_come_to_an_end() -> None:
    one = made("ReplicaSet", "a", owner=("ReplicaSet", "b"), template=template("x"))
    two = made("ReplicaSet", "b", owner=("ReplicaSet", "a"), template=template("x"))
    given = Parsed((made("ReplicaSet", "a", template=template("y")),))
    assert names(over(Parsed((one, two)), given)) == ["ReplicaSet/a"]
