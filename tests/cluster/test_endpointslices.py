"""The EndpointSlice controller at work on the lab's endpoint: pods and Services in, few writes out."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gatewright.lab.api.resources import BY_PLURAL
from gatewright.lab.apiclient.working import run_controllers
from gatewright.lab.apiclient.writing import Refused, Writer
from gatewright.lab.controllers.endpointslices import EndpointSlices
from gatewright.sources.kubeconfig import Where
from tests.cluster.endpoint import Endpoint, kubectl

pytestmark = pytest.mark.cluster
Tree = dict[str, Any]
SERVICES, PODS = BY_PLURAL["", "services"], BY_PLURAL["", "pods"]
SLICES, ENDPOINTS = BY_PLURAL["discovery.k8s.io", "endpointslices"], BY_PLURAL["", "endpoints"]
WITHIN = 20.0


@pytest.fixture(scope="module")
def at_work(api: Endpoint) -> Iterator[Writer]:
    """The controller, and somebody who writes."""
    stop, ready = threading.Event(), threading.Event()
    where = Where(str(api.kubeconfig))
    thread = threading.Thread(target=run_controllers, args=(where, [EndpointSlices()], stop, ready.set), daemon=True)
    thread.start()
    assert ready.wait(WITHIN)
    writer = Writer(where)
    yield writer
    writer.close()
    stop.set()
    thread.join(WITHIN)
    assert not thread.is_alive()


@pytest.fixture
def space(at_work: Writer, request: pytest.FixtureRequest) -> str:
    """A namespace of the test's own."""
    name = f"s{abs(hash(request.node.name)) % 10**8}"
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    at_work.create(BY_PLURAL["", "namespaces"], "", namespace)
    return name


def service(name: str, **spec: Any) -> Tree:
    made: Tree = {"selector": {"app": name}, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]} | spec
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": made}


def run_pod(writer: Writer, space: str, app: str, number: int, *, ready: bool = True) -> Tree:
    name = f"{app}-{number}"
    container = {"name": "c", "image": "i", "ports": [{"name": "http", "containerPort": 8080}]}
    metadata = {"name": name, "labels": {"app": app}}
    tree = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container]}}
    writer.create(PODS, space, tree)
    return set_ready(writer, space, app, number, ready=ready)


def set_ready(writer: Writer, space: str, app: str, number: int, *, ready: bool) -> Tree:
    address = f"10.244.{number // 200}.{number % 200 + 1}"
    status = {
        "phase": "Running",
        "podIP": address,
        "podIPs": [{"ip": address}],
        "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
    }
    return writer.patch(PODS, space, f"{app}-{number}", {"status": status}, "status")


def becomes(expected: object, look: Callable[[], object]) -> None:
    deadline = time.monotonic() + WITHIN
    while (found := look()) != expected:
        assert time.monotonic() < deadline, f"{expected!r}; at last {found!r}"
        time.sleep(0.02)


def slices(writer: Writer, space: str, name: str) -> list[Tree]:
    return writer.list(SLICES, space, labelSelector=f"kubernetes.io/service-name={name}")


def addresses(writer: Writer, space: str, name: str, condition: str = "ready") -> list[str]:
    found = (one for tree in slices(writer, space, name) for one in tree.get("endpoints") or ())
    return sorted(one["addresses"][0] for one in found if one["conditions"][condition])


def subset(writer: Writer, space: str, name: str) -> Tree:
    found: Tree = writer.get(ENDPOINTS, space, name)["subsets"][0]
    return found


def test_pods_become_endpoints_as_they_become_ready(at_work: Writer, space: str) -> None:
    at_work.create(SERVICES, space, service("web"))
    becomes(1, lambda: len(slices(at_work, space, "web")))
    run_pod(at_work, space, "web", 0)
    run_pod(at_work, space, "web", 1, ready=False)
    becomes(["10.244.0.1"], lambda: addresses(at_work, space, "web"))
    set_ready(at_work, space, "web", 1, ready=True)
    becomes(["10.244.0.1", "10.244.0.2"], lambda: addresses(at_work, space, "web"))
    (found,) = slices(at_work, space, "web")
    assert found["ports"] == [{"name": "http", "port": 8080, "protocol": "TCP"}]
    both = [{"ip": "10.244.0.1"}, {"ip": "10.244.0.2"}]
    becomes(both, lambda: [{"ip": one["ip"]} for one in subset(at_work, space, "web")["addresses"]])


def test_a_pod_on_its_way_out_still_serves_and_then_is_gone(at_work: Writer, space: str) -> None:
    at_work.create(SERVICES, space, service("web"))
    pod = run_pod(at_work, space, "web", 0)
    bind = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "web-0"}, "target": {"name": "n"}}
    at_work.post(PODS, space, "web-0", "binding", bind)
    becomes(["10.244.0.1"], lambda: addresses(at_work, space, "web"))
    at_work.delete(PODS, space, "web-0")
    becomes(["10.244.0.1"], lambda: addresses(at_work, space, "web", "terminating"))
    assert addresses(at_work, space, "web") == []
    assert addresses(at_work, space, "web", "serving") == ["10.244.0.1"]
    at_work.delete(PODS, space, "web-0", uid=pod["metadata"]["uid"], grace=0)
    becomes([], lambda: addresses(at_work, space, "web", "serving"))


def test_a_hundred_pods_that_become_ready_make_few_writes(at_work: Writer, space: str) -> None:
    at_work.create(SERVICES, space, service("web"))
    for number in range(100):
        run_pod(at_work, space, "web", number, ready=False)
    becomes(100, lambda: sum(len(one.get("endpoints") or ()) for one in slices(at_work, space, "web")))
    time.sleep(0.5)
    before = [one["metadata"]["generation"] for one in slices(at_work, space, "web")]
    began = time.monotonic()
    for number in range(100):
        set_ready(at_work, space, "web", number, ready=True)
    took = time.monotonic() - began
    becomes(100, lambda: len(addresses(at_work, space, "web")))
    after = [one["metadata"]["generation"] for one in slices(at_work, space, "web")]
    assert len(before) == len(after) == 1
    assert after[0] - before[0] <= 2 + took / 0.2


def test_more_than_a_hundred_endpoints_take_a_second_slice(at_work: Writer, space: str) -> None:
    at_work.create(SERVICES, space, service("web"))
    for number in range(130):
        run_pod(at_work, space, "web", number)
    becomes(130, lambda: len(addresses(at_work, space, "web")))
    sizes = [len(one["endpoints"]) for one in slices(at_work, space, "web")]
    assert sorted(sizes)[1:] == [max(sizes)]
    assert max(sizes) <= 100


def test_slices_go_with_their_service_and_so_do_its_endpoints(at_work: Writer, space: str) -> None:
    at_work.create(SERVICES, space, service("web"))
    run_pod(at_work, space, "web", 0)
    becomes(["10.244.0.1"], lambda: addresses(at_work, space, "web"))
    at_work.delete(SERVICES, space, "web")
    becomes(0, lambda: len(slices(at_work, space, "web")))

    def gone() -> bool:
        try:
            at_work.get(ENDPOINTS, space, "web")
        except Refused as error:
            return error.reason == "NotFound"
        return False

    becomes(True, gone)


def test_a_slice_that_somebody_deletes_or_empties_is_put_back(at_work: Writer, space: str) -> None:
    at_work.create(SERVICES, space, service("web"))
    run_pod(at_work, space, "web", 0)
    becomes(["10.244.0.1"], lambda: addresses(at_work, space, "web"))
    (found,) = slices(at_work, space, "web")
    at_work.delete(SLICES, space, found["metadata"]["name"])
    becomes(["10.244.0.1"], lambda: addresses(at_work, space, "web"))
    (found,) = slices(at_work, space, "web")
    at_work.patch(SLICES, space, found["metadata"]["name"], {"endpoints": []})
    becomes(["10.244.0.1"], lambda: addresses(at_work, space, "web"))


def test_slices_of_a_service_without_selector_are_left_alone(at_work: Writer, space: str) -> None:
    at_work.create(SERVICES, space, {**service("own"), "spec": {"ports": [{"port": 80}]}})
    labels = {"kubernetes.io/service-name": "own"}
    made = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "mine", "labels": labels},
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["192.0.2.1"], "conditions": {"ready": True}}],
        "ports": [{"port": 80}],
    }
    at_work.create(SLICES, space, made)
    run_pod(at_work, space, "own", 0)
    at_work.create(SERVICES, space, service("marker"))
    becomes(1, lambda: len(slices(at_work, space, "marker")))
    assert [one["metadata"]["name"] for one in slices(at_work, space, "own")] == ["mine"]


def test_a_pod_that_no_longer_has_the_label_is_no_endpoint(at_work: Writer, space: str, api: Endpoint) -> None:
    at_work.create(SERVICES, space, service("web"))
    run_pod(at_work, space, "web", 0)
    becomes(["10.244.0.1"], lambda: addresses(at_work, space, "web"))
    kubectl(api.kubeconfig, "label", "pod", "web-0", "-n", space, "app=other", "--overwrite")
    becomes([], lambda: addresses(at_work, space, "web"))
