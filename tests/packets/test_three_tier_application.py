"""The example application runs in the lab: real programs behind real policies, asked as a user asks them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
EXAMPLE = "examples/three-tier"
GATEWRIGHT = Path(sys.executable).with_name("gatewright")
PROGRAMS = ("nginx", "mariadbd", "my_print_defaults")
PRODUCTS = ["lamp", "chair", "table"]

pytestmark = pytest.mark.packets


def missing() -> list[str]:
    """The example's programs that this machine lacks."""
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    absent = [program for program in PROGRAMS if shutil.which(program, path=path) is None]
    client = subprocess.run(["/usr/bin/python3", "-c", "import pymysql"], check=False, capture_output=True)
    return absent + ["PyMySQL"] * (client.returncode != 0)


class Lab:
    """A lab of the test's own, driven through the command line."""

    name = f"three-tier-test-{os.getpid()}"

    def __call__(self, verb: str, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [GATEWRIGHT, "lab", verb, "--name", self.name, *arguments],
            cwd=ROOT,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )

    def done(self, verb: str, *arguments: str, stdin: str = "") -> str:
        """Run a verb that has to succeed."""
        result = self(verb, *arguments, stdin=stdin)
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    def get(self, url: str, pod: str = "outside") -> tuple[int, str]:
        """Status and body of an HTTP answer, asked from a pod or from outside; status 0 when there is none."""
        result = self("exec", pod, "--", "curl", "--silent", "--max-time", "4", "--write-out", "\n%{http_code}", url)
        body, _, status = result.stdout.rpartition("\n")
        return int(status or 0), body

    def products(self) -> list[str]:
        """The names of the products, as a user outside gets them; none when the application does not answer."""
        status, body = self.get(f"http://{self.node}:30080/api")
        return [row["name"] for row in json.loads(body)["products"]] if status == 200 else []

    @property
    def node(self) -> str:
        """The node's IPv4 address."""
        address: str = json.loads(self.done("status", "-o", "json"))["nodeAddresses"][0]
        return address


@pytest.fixture(scope="module")
def running() -> Iterator[Lab]:
    if absent := missing():
        pytest.skip(f"the example's programs are not all installed: {', '.join(absent)}")
    lab = Lab()
    try:
        lab.done("up", "-f", EXAMPLE)
        yield lab
    finally:
        lab("down")


@pytest.fixture
def lab(running: Lab) -> Iterator[Lab]:
    yield running
    running("delete", "-f", f"{EXAMPLE}/policies")


def policy(name: str, spec: dict[str, Any]) -> str:
    """A NetworkPolicy as YAML."""
    metadata = {"name": name, "namespace": "default"}
    return yaml.safe_dump(
        {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": spec}
    )


def test_every_pod_runs_its_own_program(lab: Lab) -> None:
    pods = json.loads(lab.done("status", "-o", "json"))["pods"]
    assert {pod["name"]: pod["runs"] for pod in pods if pod["namespace"] == "default"} == {
        "web": "nginx",
        "api": "python3",
        "db": "mariadbd",
    }


def test_a_user_gets_the_page_and_the_rows(lab: Lab) -> None:
    status, page = lab.get(f"http://{lab.node}:30080/")
    assert status == 200
    assert "<h1>Products</h1>" in page
    assert lab.products() == PRODUCTS


@pytest.mark.parametrize("policies", [f"{EXAMPLE}/policies/db-policy.yaml", f"{EXAMPLE}/policies"])
def test_the_application_works_behind_its_policies(lab: Lab, policies: str) -> None:
    lab.done("apply", "-f", policies)
    assert lab.products() == PRODUCTS
    assert lab.get("http://api:5000/api", pod="db")[0] == (200 if policies.endswith(".yaml") else 0)


def test_the_api_says_so_when_a_policy_takes_its_database_away(lab: Lab) -> None:
    closed = policy("closed", {"podSelector": {"matchLabels": {"role": "db"}}, "policyTypes": ["Ingress"]})
    lab.done("apply", "-f", "-", stdin=closed)
    try:
        status, body = lab.get(f"http://{lab.node}:30080/api")
        assert status == 503
        assert json.loads(body)["error"].startswith("the database cannot be asked: ")
    finally:
        lab.done("delete", "-f", "-", stdin=closed)
    assert lab.products() == PRODUCTS


def test_without_the_rules_for_dns_the_application_fails(lab: Lab) -> None:
    forgetful = []
    for name in ("web-policy", "api-policy"):
        document = yaml.safe_load((ROOT / EXAMPLE / "policies" / f"{name}.yaml").read_text())
        document["spec"]["egress"] = document["spec"]["egress"][:1]
        forgetful.append(document)
    lab.done("apply", "-f", "-", stdin=yaml.safe_dump_all(forgetful))
    assert lab.products() == []
    lab.done("apply", "-f", f"{EXAMPLE}/policies")
    assert lab.products() == PRODUCTS
