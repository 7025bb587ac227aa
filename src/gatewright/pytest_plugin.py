"""A pytest plugin: policies as tests.

    # pyproject.toml
    [tool.pytest.ini_options]
    gatewright_manifests = ["deploy/", "policies/"]

    def test_the_database_is_reached_by_the_api_alone(assert_allowed, assert_denied):
        assert_allowed("deploy/api", "svc/db", 3306)
        assert_denied("deploy/web", "svc/db", 3306)

A failed assertion shows what `gatewright explain` shows: both sides, the rule, the file and the line. The fixture
`network_policies` is the loaded set itself (`gatewright.Policies`). Paths are relative to pytest's root directory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import pytest

if TYPE_CHECKING:
    from gatewright.api import Policies

MANIFESTS = "gatewright_manifests"
POD_CIDRS = "gatewright_pod_cidrs"


class Assertion(Protocol):
    """What `assert_allowed` and `assert_denied` take: names and a port as on the command line."""

    def __call__(self, source: str, destination: str, port: int | str) -> None:
        """Fail the test, with the explanation, unless it is so for every connection that the names stand for."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Name the manifests in the configuration file or on the command line."""
    parser.addini(MANIFESTS, "Manifests that the fixtures of gatewright read.", type="args")
    parser.addini(POD_CIDRS, "Ranges of pod addresses, for ipBlocks.", type="args")
    parser.getgroup("gatewright").addoption(
        "--gatewright-manifests",
        action="append",
        metavar="PATH",
        help="A file or directory of manifests, instead of the configured ones. May be given more than once.",
    )


@pytest.fixture(scope="session")
def network_policies(pytestconfig: pytest.Config) -> Policies:
    """The policies of the configured manifests."""
    from gatewright.api import load

    paths = pytestconfig.getoption("--gatewright-manifests") or pytestconfig.getini(MANIFESTS)
    if not paths:
        pytest.fail(
            f"no manifests: set {MANIFESTS} in pytest's configuration, or --gatewright-manifests", pytrace=False
        )
    return load(*(pytestconfig.rootpath / path for path in paths), pod_cidrs=pytestconfig.getini(POD_CIDRS))


@pytest.fixture
def assert_allowed(network_policies: Policies) -> Assertion:
    """Assert that a connection is surely allowed."""

    def check(source: str, destination: str, port: int | str) -> None:
        __tracebackhide__ = True
        if not network_policies.allows(source, destination, port):
            pytest.fail(f"expected allowed\n{network_policies.explain(source, destination, port)}")

    return check


@pytest.fixture
def assert_denied(network_policies: Policies) -> Assertion:
    """Assert that a connection is surely denied."""

    def check(source: str, destination: str, port: int | str) -> None:
        __tracebackhide__ = True
        if not network_policies.denies(source, destination, port):
            pytest.fail(f"expected denied\n{network_policies.explain(source, destination, port)}")

    return check
