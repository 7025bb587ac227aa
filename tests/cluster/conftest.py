"""What the tests of this folder share: an API for each module, and a namespace of its own for each test."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.endpoint import Endpoint, cluster, endpoint, kubectl
from tests.packets.conftest import namespaces

__all__ = ["namespaces"]


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    """The lab's endpoint."""
    with endpoint(tmp_path_factory.mktemp("api")) as found:
        yield found


@pytest.fixture(scope="module")
def kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Any API server: the one that GATEWRIGHT_TEST_KUBECONFIG names, else the lab's endpoint."""
    with cluster(tmp_path_factory.mktemp("cluster")) as found:
        yield found


@pytest.fixture
def namespace(kubeconfig: Path) -> Iterator[str]:
    """A namespace of the test's own."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    kubectl(kubeconfig, "create", "namespace", name)
    yield name
    kubectl(kubeconfig, "delete", "namespace", name, "--wait=false")
