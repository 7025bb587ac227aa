"""The example application runs in the lab: real programs behind real policies, asked as a user asks them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.packets.labs import Lab, lab_of

EXAMPLE = Path(__file__).parents[2] / "examples" / "three-tier"
POLICIES = EXAMPLE / "policies"
DB_POLICY = POLICIES / "db-policy.yaml"
PROGRAMS = ("nginx", "mariadbd", "my_print_defaults")
PRODUCTS = ["lamp", "chair", "table"]

pytestmark = pytest.mark.packets


def missing() -> list[str]:
    """The example's programs that this machine lacks."""
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    absent = [program for program in PROGRAMS if shutil.which(program, path=path) is None]
    client = subprocess.run(["/usr/bin/python3", "-c", "import pymysql"], check=False, capture_output=True)
    return absent + ["PyMySQL"] * (client.returncode != 0)


@dataclass(frozen=True)
class Shop:
    """The application in a lab, and what users of it do."""

    lab: Lab
    node: str

    def get(self, url: str, pod: str = "outside") -> tuple[int, str]:
        """Status and body of an HTTP answer, asked from a pod or from outside; status 0 when there is none."""
        curl = ("curl", "--silent", "--max-time", "4", "--write-out", "\n%{http_code}", url)
        body, _, status = self.lab.exec(pod, *curl, code=None).rpartition("\n")
        return int(status or 0), body

    def products(self) -> list[str]:
        """The names of the products, as a user outside gets them; none when the application does not answer."""
        status, body = self.get(f"http://{self.node}:30080/api")
        return [row["name"] for row in json.loads(body)["products"]] if status == 200 else []


@pytest.fixture(scope="module", params=["root", "user"])
def running(request: pytest.FixtureRequest) -> Iterator[Shop]:
    if absent := missing():
        pytest.skip(f"the example's programs are not all installed: {', '.join(absent)}")
    with lab_of(request.param) as lab:
        lab.run("up", "--nodes", "3", "-f", str(EXAMPLE))
        yield Shop(lab, lab.node_address())


@pytest.fixture
def shop(running: Shop) -> Iterator[Shop]:
    yield running
    running.lab.run("delete", "-f", str(POLICIES), code=None)


def policy(name: str, spec: dict[str, Any]) -> str:
    """A NetworkPolicy as YAML."""
    metadata = {"name": name, "namespace": "default"}
    return yaml.safe_dump(
        {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": spec}
    )


def test_every_pod_runs_its_own_program(shop: Shop) -> None:
    pods = shop.lab.status()["pods"]
    assert {pod["owner"]: pod["runs"] for pod in pods if pod["namespace"] == "default"} == {
        "Deployment/web": "nginx",
        "Deployment/api": "python3",
        "Deployment/db": "mariadbd",
    }
    assert len({pod["node"] for pod in pods if pod["namespace"] == "default"}) == 3


def test_a_user_gets_the_page_and_the_rows(shop: Shop) -> None:
    status, page = shop.get(f"http://{shop.node}:30080/")
    assert status == 200
    assert "<h1>Products</h1>" in page
    assert shop.products() == PRODUCTS


@pytest.mark.parametrize("policies", [DB_POLICY, POLICIES], ids=["db-policy", "all policies"])
def test_the_application_works_behind_its_policies(shop: Shop, policies: Path) -> None:
    shop.lab.run("apply", "-f", str(policies))
    assert shop.products() == PRODUCTS
    assert shop.get("http://api:5000/api", pod="deploy/db")[0] == (200 if policies == DB_POLICY else 0)


def test_the_api_says_so_when_a_policy_takes_its_database_away(shop: Shop) -> None:
    closed = policy("closed", {"podSelector": {"matchLabels": {"role": "db"}}, "policyTypes": ["Ingress"]})
    shop.lab.run("apply", "-f", "-", stdin=closed)
    try:
        status, body = shop.get(f"http://{shop.node}:30080/api")
        assert status == 503
        assert json.loads(body)["error"].startswith("the database cannot be asked: ")
    finally:
        shop.lab.run("delete", "-f", "-", stdin=closed)
    assert shop.products() == PRODUCTS


def test_without_the_rules_for_dns_the_application_fails(shop: Shop) -> None:
    forgetful = []
    for name in ("web-policy", "api-policy"):
        document = yaml.safe_load((POLICIES / f"{name}.yaml").read_text())
        document["spec"]["egress"] = document["spec"]["egress"][:1]
        forgetful.append(document)
    shop.lab.run("apply", "-f", "-", stdin=yaml.safe_dump_all(forgetful))
    assert shop.products() == []
    shop.lab.run("apply", "-f", str(POLICIES))
    assert shop.products() == PRODUCTS


def test_without_its_programs_the_stand_ins_answer_and_live_through_a_probe() -> None:
    with lab_of("root") as lab:
        manifests = EXAMPLE.glob("*.yaml")
        documents = [document for path in manifests for document in yaml.safe_load_all(path.read_text())]
        for document in (one for one in documents if one["kind"] == "Deployment"):
            pod = document["spec"]["template"]["spec"]
            for container in (*pod["containers"], *pod.get("initContainers", ())):
                container["command"] = ["a-program-that-no-machine-has"]
        lab.up(yaml.safe_dump_all(documents))
        assert lab.run("probe").endswith("16 connections: 16 open, 0 denied, 0 differ\n")
        assert lab.run("probe").endswith("16 connections: 16 open, 0 denied, 0 differ\n")
        pods = [pod for pod in lab.status()["pods"] if pod["namespace"] == "default"]
        assert {(pod["owner"], pod["runs"], pod["restarts"], pod["isReady"]) for pod in pods} == {
            ("Deployment/web", "stand-in", 0, True),
            ("Deployment/api", "stand-in", 0, True),
            ("Deployment/db", "stand-in", 0, True),
        }
