"""Patches: JSON patch and merge patch by their RFCs' examples, strategic merge and server-side apply by case."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewright.kubeapi.failure import Failure
from gatewright.kubeapi.patch.field_sets import changed, difference, intersection, merged, owned, paths, union, without
from gatewright.kubeapi.patch.json_patch import PatchError, apply_json_patch
from gatewright.kubeapi.patch.managed import Manager, after_update, apply_configuration
from gatewright.kubeapi.patch.merge import apply_merge_patch
from gatewright.kubeapi.patch.strategic import apply_strategic_patch
from gatewright.kubeapi.types import Type, type_table

Tree = dict[str, Any]
NOW = "2026-01-01T00:00:00Z"

# RFC 6902, appendix A.
JSON_PATCHES: list[tuple[str, Any, list[Tree], Any]] = [
    ("A.1 adding a member", {"a": 1}, [{"op": "add", "path": "/b", "value": 2}], {"a": 1, "b": 2}),
    ("A.2 adding an element", {"a": [1, 3]}, [{"op": "add", "path": "/a/1", "value": 2}], {"a": [1, 2, 3]}),
    ("A.3 removing a member", {"a": 1, "b": 2}, [{"op": "remove", "path": "/b"}], {"a": 1}),
    ("A.4 removing an element", {"a": [1, 2, 3]}, [{"op": "remove", "path": "/a/1"}], {"a": [1, 3]}),
    ("A.5 replacing a value", {"a": 1}, [{"op": "replace", "path": "/a", "value": 2}], {"a": 2}),
    (
        "A.6 moving",
        {"a": {"b": 1}, "c": {}},
        [{"op": "move", "from": "/a/b", "path": "/c/d"}],
        {"a": {}, "c": {"d": 1}},
    ),
    ("A.7 moving an element", {"a": [1, 2, 3]}, [{"op": "move", "from": "/a/0", "path": "/a/2"}], {"a": [2, 3, 1]}),
    ("A.8 testing", {"a": [1, "x"]}, [{"op": "test", "path": "/a/1", "value": "x"}], {"a": [1, "x"]}),
    (
        "A.10 adding a nested member",
        {"a": 1},
        [{"op": "add", "path": "/c", "value": {"d": {}}}],
        {"a": 1, "c": {"d": {}}},
    ),
    ("A.14 escapes", {"/": 9, "~1": 10}, [{"op": "replace", "path": "/~01", "value": 1}], {"/": 9, "~1": 1}),
    ("A.16 adding at the end", {"a": [1]}, [{"op": "add", "path": "/a/-", "value": [2]}], {"a": [1, [2]]}),
    ("copying", {"a": {"b": 1}}, [{"op": "copy", "from": "/a", "path": "/c"}], {"a": {"b": 1}, "c": {"b": 1}}),
    ("replacing the whole", {"a": 1}, [{"op": "replace", "path": "", "value": {"b": 2}}], {"b": 2}),
]


@pytest.mark.parametrize(
    ("tree", "patch", "wanted"), [case[1:] for case in JSON_PATCHES], ids=[c[0] for c in JSON_PATCHES]
)
def test_json_patch(tree: Any, patch: list[Tree], wanted: Any) -> None:
    before = json.dumps(tree)
    assert apply_json_patch(tree, patch) == wanted
    assert json.dumps(tree) == before


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "test", "path": "/a", "value": 2},
        {"op": "test", "path": "/a", "value": True},
        {"op": "add", "path": "/x/y", "value": 1},
        {"op": "remove", "path": "/x"},
        {"op": "replace", "path": "/x", "value": 1},
        {"op": "add", "path": "/l/01", "value": 1},
        {"op": "add", "path": "/l/2", "value": 1},
        {"op": "add", "path": "/l/x", "value": 1},
        {"op": "add", "path": "a", "value": 1},
        {"op": "add", "path": "/a"},
        {"op": "move", "from": "/l", "path": "/l/0"},
        {"op": "dance", "path": "/a"},
        {"path": "/a"},
    ],
    ids=json.dumps,
)
def test_a_json_patch_that_does_not_fit(operation: Tree) -> None:
    with pytest.raises(PatchError):
        apply_json_patch({"a": 1, "l": [0]}, [operation])


def test_copies_cannot_double_without_end() -> None:
    doubling = [{"op": "copy", "from": "/a", "path": f"/a/{number}"} for number in range(60)]
    with pytest.raises(PatchError, match="copies"):
        apply_json_patch({"a": {"x": "y" * 100}}, doubling)


# RFC 7386, appendix A.
MERGES = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    (["a", "b"], ["c", "d"], ["c", "d"]),
    ({"a": "b"}, ["c"], ["c"]),
    ({"a": "foo"}, "bar", "bar"),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]


@pytest.mark.parametrize(("tree", "patch", "wanted"), MERGES)
def test_merge_patch(tree: Any, patch: Any, wanted: Any) -> None:
    assert apply_merge_patch(tree, patch) == wanted


def _pod(**spec: Any) -> Tree:
    return {"spec": spec}


A, B = {"name": "a", "image": "1"}, {"name": "b", "image": "1"}
STRATEGIC: list[tuple[str, Tree, Tree, Tree]] = [
    ("items merge by key", _pod(containers=[A, B]), _pod(containers=[{"name": "b", "image": "2"}]),
     _pod(containers=[A, {"name": "b", "image": "2"}])),
    ("new items come first", _pod(containers=[A]), _pod(containers=[B]), _pod(containers=[B, A])),
    ("an item is deleted", _pod(containers=[A, B]), _pod(containers=[{"name": "a", "$patch": "delete"}]),
     _pod(containers=[B])),
    ("a list is replaced", _pod(containers=[A]), _pod(containers=[{"$patch": "replace"}, B]), _pod(containers=[B])),
    ("a map is replaced", {"metadata": {"labels": {"a": "1"}}},
     {"metadata": {"labels": {"$patch": "replace", "b": "2"}}}, {"metadata": {"labels": {"b": "2"}}}),
    ("a map is deleted", _pod(securityContext={"fsGroup": 1}, a=1), _pod(securityContext={"$patch": "delete"}),
     _pod(a=1)),
    ("null deletes", _pod(nodeName="n", containers=[A]), _pod(nodeName=None), _pod(containers=[A])),
    ("an atomic list is replaced", _pod(tolerations=[{"key": "a"}]), _pod(tolerations=[{"key": "b"}]),
     _pod(tolerations=[{"key": "b"}])),
    ("the order is set", _pod(containers=[A, B]),
     {"spec": {"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]}}, _pod(containers=[B, A])),
    ("plain values merge", {"metadata": {"finalizers": ["a"]}}, {"metadata": {"finalizers": ["b"]}},
     {"metadata": {"finalizers": ["b", "a"]}}),
    ("plain values are deleted", {"metadata": {"finalizers": ["a", "b"]}},
     {"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"]}}, {"metadata": {"finalizers": ["b"]}}),
    ("keys are retained", _pod(volumes=[{"name": "v", "emptyDir": {}}]),
     _pod(volumes=[{"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/"}}]),
     _pod(volumes=[{"name": "v", "hostPath": {"path": "/"}}])),
]  # fmt: skip


@pytest.mark.parametrize(
    ("tree", "patch", "wanted"), [case[1:] for case in STRATEGIC], ids=[case[0] for case in STRATEGIC]
)
def test_strategic_merge_patch(tree: Tree, patch: Tree, wanted: Tree) -> None:
    before = json.dumps(tree)
    assert apply_strategic_patch(tree, patch, type_table()["core.v1.Pod"]) == wanted
    assert json.dumps(tree) == before


# Server-side apply.

POD = type_table()["core.v1.Pod"]
CONFIG = type_table()["core.v1.ConfigMap"]
ONE, TWO = Manager("one", "Apply", "v1"), Manager("two", "Apply", "v1")
WRITER = Manager("writer", "Update", "v1")


def _applied(live: Tree | None, manager: Manager, force: bool = False, wanted: Type = CONFIG, **fields: Any) -> Tree:
    return apply_configuration(wanted, live, {"metadata": {"name": "a"}, **fields}, manager, NOW, force)


def _owners(tree: Tree) -> dict[str, Any]:
    return {entry["manager"]: entry["fieldsV1"] for entry in tree["metadata"]["managedFields"]}


def test_two_who_apply_the_same_value_share_it() -> None:
    live = _applied(_applied(None, ONE, data={"x": "1"}), TWO, data={"x": "1"})
    assert _owners(live) == {"one": {"f:data": {"f:x": {}}}, "two": {"f:data": {"f:x": {}}}}


def test_a_shared_field_stays_until_the_last_owner_leaves_it() -> None:
    live = _applied(_applied(None, ONE, data={"x": "1"}), TWO, data={"x": "1"})
    live = _applied(live, ONE)
    assert live["data"] == {"x": "1"}
    live = _applied(live, TWO)
    assert "data" not in live or live["data"] == {}


def test_another_value_of_an_owned_field_is_a_conflict_that_names_owner_and_field() -> None:
    live = _applied(None, ONE, data={"x": "1", "y": "1"})
    with pytest.raises(Failure) as refused:
        _applied(live, TWO, data={"x": "2", "y": "2"})
    assert refused.value.status.message == 'Apply failed with 2 conflicts: conflict with "one":\n- .data.x\n- .data.y'


def test_a_conflict_with_an_update_says_so() -> None:
    live: Tree = {"metadata": {"name": "a"}, "data": {"x": "1"}}
    live["metadata"] = {"name": "a", "managedFields": after_update(CONFIG, None, live, WRITER, NOW)}
    with pytest.raises(Failure, match=r'conflict with "writer" using v1: \.data\.x'):
        _applied(live, ONE, data={"x": "2"})


def test_force_takes_the_field() -> None:
    live = _applied(_applied(None, ONE, data={"x": "1", "y": "1"}), TWO, force=True, data={"x": "2"})
    assert live["data"] == {"x": "2", "y": "1"}
    assert _owners(live) == {"one": {"f:data": {"f:y": {}}}, "two": {"f:data": {"f:x": {}}}}


def test_an_update_takes_what_it_changes() -> None:
    live = _applied(None, ONE, data={"x": "1", "y": "1"})
    changed_ = {**live, "data": {"x": "2", "y": "1"}}
    owners = {entry["manager"]: entry["fieldsV1"] for entry in after_update(CONFIG, live, changed_, WRITER, NOW)}
    assert owners == {"one": {"f:data": {"f:y": {}}}, "writer": {"f:data": {"f:x": {}}}}


def test_items_of_keyed_lists_have_owners_of_their_own() -> None:
    live = _applied(None, ONE, wanted=POD, spec={"containers": [{"name": "a", "image": "1"}]})
    live = _applied(live, TWO, wanted=POD, spec={"containers": [{"name": "b", "image": "1"}]})
    assert [one["name"] for one in live["spec"]["containers"]] == ["a", "b"]
    live = _applied(live, ONE, wanted=POD, spec={"containers": []})
    assert [one["name"] for one in live["spec"]["containers"]] == ["b"]


def test_nothing_changes_when_the_same_is_applied_again() -> None:
    live = _applied(None, ONE, data={"x": "1"})
    again = apply_configuration(CONFIG, live, {"metadata": {"name": "a"}, "data": {"x": "1"}}, ONE, "later", False)
    assert again == live


def test_conflicts_name_list_items_by_their_keys() -> None:
    fields = owned(POD, {"spec": {"containers": [{"name": "c", "ports": [{"containerPort": 80, "protocol": "TCP"}]}]}})
    shown = list(paths(fields))
    assert '.spec.containers[name="c"].ports[containerPort=80,protocol="TCP"].containerPort' in shown


# Laws of sets of fields.

DATA = st.dictionaries(st.sampled_from("abcd"), st.sampled_from("12"), max_size=4)
PODS = st.builds(
    lambda labels, names: {
        "metadata": {"labels": labels},
        "spec": {"containers": [{"name": name, "image": image} for name, image in names.items()]},
    },
    DATA,
    st.dictionaries(st.sampled_from("xyz"), st.sampled_from("12"), max_size=3),
)


@given(PODS, PODS)
def test_what_is_owned_by_either_is_in_the_union_and_by_both_in_the_intersection(one: Tree, other: Tree) -> None:
    first, second = owned(POD, one), owned(POD, other)
    both = intersection(first, second)
    assert difference(both, first) == {}
    assert difference(both, second) == {}
    assert difference(first, union(first, second)) == {}
    assert set(paths(union(first, second))) == set(paths(first)) | set(paths(second))
    assert set(paths(difference(first, second))) == set(paths(first)) - set(paths(second))


@given(PODS, PODS)
def test_merging_twice_is_merging_once(live: Tree, applied: Tree) -> None:
    once = merged(POD, live, applied)
    assert merged(POD, once, applied) == once
    assert changed(POD, once, merged(POD, once, applied)) == {}


@given(PODS)
def test_without_what_it_owns_nothing_is_left(tree: Tree) -> None:
    left = without(POD, tree, owned(POD, tree))
    assert set(paths(owned(POD, left))) <= {".metadata.labels", ".spec.containers", ".metadata", ".spec"}
