"""The desired state: checked whole before anything happens, and compared with what stands."""

from __future__ import annotations

import pytest

from gatewright.errors import InvalidInput
from gatewright.lab.addresses import Plan
from gatewright.lab.cluster import NAME_SERVER, Desired, changed, desire, without
from gatewright.lab.errors import LabError
from gatewright.objects.core import Namespace, Pod
from tests.unit.lab.clusters import objects, pod, service

PLAN = Plan.of(["10.244.0.0/24", "fd00:10:244::/64"])


def desired(text: str, before: Desired | None = None) -> Desired:
    return desire({item.key: item for item in objects(text)}, PLAN, before)


def problems(text: str) -> list[str]:
    with pytest.raises(InvalidInput) as caught:
        desired(text)
    return [str(problem) for problem in caught.value.problems]


def test_every_lab_has_its_name_server() -> None:
    state = desired("")
    assert list(state.pods) == [NAME_SERVER]
    assert [str(one) for one in state.allocations[NAME_SERVER].addresses] == ["10.96.0.10"]


def test_all_problems_are_listed_with_their_places() -> None:
    wrong = pod("a").replace("namespace: default", "namespace: x") + service(
        "s", "clusterIP: 1.2.3.4, ports: [{port: 1}]"
    )
    found = problems(wrong + pod("b", spec="volumes: [{name: ../v, emptyDir: {}}], "))
    assert len(found) == 3
    assert found[0].startswith("test.yaml:")
    assert any('namespaces "x" not found' in line for line in found)
    assert any("not in the Service ranges" in line for line in found)
    assert any('"../v"' in line for line in found)


@pytest.mark.parametrize("name", ["../x", "a/b", "", "ä"])
def test_a_container_cannot_be_called_what_is_no_label(name: str) -> None:
    assert any("spec.containers" in line for line in problems(pod("a").replace("name: main", f"name: '{name}'")))


def test_the_engine_sees_pods_with_addresses_on_the_node() -> None:
    found = next(item for item in desired(pod("a")).snapshot_objects({}) if isinstance(item, Pod) and item.name == "a")
    assert found.ips == ("10.244.0.1", "fd00:10:244::1")
    assert (found.spec.node_name, found.status.phase) == ("lab", "Running")


def test_the_engine_is_told_who_has_ended_and_who_is_leaving() -> None:
    state = desired(pod("a"))
    leaving = next(iter(objects(pod("old"))))
    assert isinstance(leaving, Pod)
    found = {item.name: item for item in state.snapshot_objects({"default/a": "Succeeded"}, [leaving])
             if isinstance(item, Pod)}  # fmt: skip
    assert found["a"].status.phase == "Succeeded"
    assert "old" in found


def test_a_changed_spec_replaces_the_pod_and_a_changed_label_does_not() -> None:
    before = desired(pod("a") + pod("b") + pod("c"))
    after = desired(pod("a", labels="app: new") + pod("b", ports="[{containerPort: 81}]") + pod("d"), before)
    assert changed(before, after) == ({"default/b", "default/c"}, {"default/b", "default/d"})


def test_a_host_network_pod_has_the_nodes_addresses_and_takes_none() -> None:
    state = desired(pod("a", spec="hostNetwork: true, "))
    assert [str(address) for address in state.addresses["default/a"]] == ["172.31.255.1", "fd00:10:31::1"]
    assert "default/a" not in state.ring.held


def test_a_deleted_namespace_takes_everything_in_it_along() -> None:
    text = "{apiVersion: v1, kind: Namespace, metadata: {name: x}}\n" + pod("a").replace(": default", ": x") + pod("b")
    every = {item.key: item for item in objects(text)}
    namespace = next(key for key, item in every.items() if isinstance(item, Namespace))
    assert [item.name for item in without(every, [namespace]).values()] == ["b"]


def test_what_belongs_to_the_lab_stays() -> None:
    with pytest.raises(LabError, match="belongs to the lab"):
        without({}, [("Namespace", "", "kube-system")])
