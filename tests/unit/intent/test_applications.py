"""Models of real applications: the plan lets the documented calls pass, and nothing else between any two pods.

What passes is asked of the engine's list of connections, not of the comparison that plans prove themselves with. The
manifests here are the applications' workloads and Services in small; where the published ones are at hand, the same
models are held against them.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from gatewright.engine.addresses import AddressSet
from gatewright.engine.compile import compile_snapshot
from gatewright.engine.connectivity import connections
from gatewright.engine.model import Endpoint
from gatewright.engine.snapshot import Changes, Snapshot
from gatewright.intent.bind import bind
from gatewright.intent.check import check
from gatewright.intent.include import load_model
from gatewright.intent.plan import Style
from gatewright.intent.propose import propose, without_policies
from gatewright.objects.read import parse
from gatewright.sources.files import read

ROOT = Path(__file__).parents[3]
CORPUS = ROOT.parent / "shared" / "corpus"
PUBLISHED = {
    "voting-app": CORPUS / "voting-app" / "k8s-specifications",
    "online-boutique": CORPUS / "online-boutique" / "release",
}

SERVICES: dict[str, dict[str, tuple[int, str, int]]] = {
    "voting-app": {
        "vote": (8080, "vote", 80),
        "result": (8081, "result", 80),
        "redis": (6379, "redis", 6379),
        "db": (5432, "db", 5432),
    },
    "online-boutique": {
        "frontend": (80, "frontend", 8080),
        "adservice": (9555, "adservice", 9555),
        "cartservice": (7070, "cartservice", 7070),
        "productcatalogservice": (3550, "productcatalogservice", 3550),
        "checkoutservice": (5050, "checkoutservice", 5050),
        "currencyservice": (7000, "currencyservice", 7000),
        "emailservice": (5000, "emailservice", 8080),
        "paymentservice": (50051, "paymentservice", 50051),
        "recommendationservice": (8080, "recommendationservice", 8080),
        "redis-cart": (6379, "redis-cart", 6379),
        "shippingservice": (50051, "shippingservice", 50051),
    },
}
"""By Service: its port, its workload, and the port of the pods."""
CALLERS = {"voting-app": ("worker",), "online-boutique": ("loadgenerator",)}

CALLS: dict[str, dict[str, str]] = {
    "voting-app": {"vote": "redis", "worker": "redis db", "result": "db", "outside": "vote result"},
    "online-boutique": {
        "outside": "frontend",
        "loadgenerator": "frontend",
        "frontend": "adservice cartservice productcatalogservice checkoutservice currencyservice"
        " recommendationservice shippingservice",
        "checkoutservice": "cartservice productcatalogservice currencyservice emailservice paymentservice"
        " shippingservice",
        "recommendationservice": "productcatalogservice",
        "cartservice": "redis-cart",
    },
}
"""By caller: the Services it calls, as the applications' documentation says."""


def manifests(name: str) -> Snapshot:
    """The application's workloads and Services in small."""
    documents: list[dict[str, object]] = []
    for workload in (*(one for _, one, _ in SERVICES[name].values()), *CALLERS[name]):
        ports = [{"containerPort": target} for _, owner, target in SERVICES[name].values() if owner == workload]
        containers = [{"name": "c", "image": "i", "ports": ports}]
        template = {"metadata": {"labels": {"app": workload}}, "spec": {"containers": containers}}
        spec = {"selector": {"matchLabels": {"app": workload}}, "template": template}
        documents.append({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": workload}, "spec": spec})
    for service, (port, workload, target) in SERVICES[name].items():
        spec = {"selector": {"app": workload}, "ports": [{"port": port, "targetPort": target}]}
        documents.append({"apiVersion": "v1", "kind": "Service", "metadata": {"name": service}, "spec": spec})
    return Snapshot.of(parse(yaml.safe_dump_all(documents), "manifests.yaml").require())


def published(name: str) -> Snapshot:
    if not PUBLISHED[name].exists():
        pytest.skip(f"{PUBLISHED[name]} is not there")
    return without_policies(Snapshot.of(read([str(PUBLISHED[name])]).objects))


def documented(name: str) -> set[tuple[str, str, str]]:
    """(caller, workload, ports) of each call."""
    services = SERVICES[name]
    return {
        (caller, services[service][1], f"TCP {services[service][2]}")
        for caller, called in CALLS[name].items()
        for service in called.split()
    }


def text_of(path: str) -> str:
    return Path(path).read_text(encoding="utf-8")


@pytest.mark.parametrize("style", Style)
@pytest.mark.parametrize("source", [manifests, published])
@pytest.mark.parametrize("name", SERVICES)
def test_the_documented_calls_pass_and_nothing_else(name: str, source: object, style: Style) -> None:
    snapshot = manifests(name) if source is manifests else published(name)
    model = load_model(str(ROOT / "examples" / "traffic" / f"{name}.yaml"), text_of)
    made = propose(model, snapshot, style=style)
    assert made.failures == ()
    whole = snapshot.apply(Changes(tuple(policy.object for policy in made.policies)))
    assert passing(whole) == documented(name)
    assert check(bind(model, whole), whole, exact=True).failures == ()


def passing(snapshot: Snapshot) -> set[tuple[str, str, str]]:
    """(source, destination, ports) of what may pass between the workloads, and from outside to them."""
    found = set()
    for one in connections(compile_snapshot(snapshot)):
        if isinstance(one.destination, Endpoint):
            source = "outside" if isinstance(one.source, AddressSet) else one.source.name
            found.add((source, one.destination.name, str(one.access.ports)))
        else:
            pytest.fail(f"{one.source} may leave the cluster")
    return found
