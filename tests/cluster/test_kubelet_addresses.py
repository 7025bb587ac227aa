"""Where the endpoint looks for kubelets: on this machine and in networks that it was told of, whatever a Node says."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gatewright.kubeapi.failure import Failure
from gatewright.lab.api.kubelets import Kubelets
from tests.cluster.endpoint import endpoint
from tests.cluster.kubelets import create_node

pytestmark = pytest.mark.cluster
NETWORKS = ("192.0.2.0/24", "2001:db8:31::/64")


@pytest.mark.parametrize(
    ("addresses", "networks", "wanted"),
    [
        (("192.0.2.11",), NETWORKS, "192.0.2.11"),
        (("198.51.100.7", "2001:db8:31::b"), NETWORKS, "2001:db8:31::b"),
        (("198.51.100.7", "127.0.0.1"), (), "127.0.0.1"),
        (("198.51.100.7",), NETWORKS, "on this machine and in 192.0.2.0/24, 2001:db8:31::/64 alone"),
        (("192.0.2.11",), (), "on this machine alone"),
        (("not an address",), NETWORKS, "not an address"),
    ],
)
def test_only_allowed_addresses_are_called(
    tmp_path: Path, addresses: tuple[str, ...], networks: tuple[str, ...], wanted: str
) -> None:
    with endpoint(tmp_path) as api:
        status = {"addresses": [{"type": "InternalIP", "address": address} for address in addresses]}
        create_node(api, "far", status)
        assert api.running
        kubelets = Kubelets(api.running.verbs, tmp_path, networks)
        try:
            found = asyncio.run(kubelets.of("far")).host
        except Failure as refused:
            found = str(refused)
        assert wanted in found
        assert (found in addresses) == (wanted in addresses and wanted != "not an address")
