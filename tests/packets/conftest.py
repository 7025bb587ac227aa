"""Packet tests need network namespaces: as root, or inside a user namespace (`unshare -Urn python -m pytest ...`)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gatewright.kernel.nft import Command, Library, Nft
from tests.packets.netns import Namespace, NodeNamespace, node

POD_COUNT = 4


@pytest.fixture(scope="session")
def namespaces() -> None:
    """Skips where network namespaces cannot be made."""
    try:
        Namespace().close()
    except OSError as error:
        pytest.skip(f"network namespaces cannot be made here ({error}): run as root or under `unshare -Urn`")


@pytest.fixture(scope="module")
def node_with_pods(namespaces: None) -> Iterator[NodeNamespace]:
    """A node with four pods, shared by the tests of a module; each leaves its own program behind."""
    with node(POD_COUNT) as made:
        yield made


@pytest.fixture
def empty(namespaces: None) -> Iterator[Namespace]:
    """A network namespace with nothing in it."""
    namespace = Namespace()
    yield namespace
    namespace.close()


@pytest.fixture(params=[Library, Command], ids=["library", "command"])
def nft(request: pytest.FixtureRequest) -> Nft:
    """Both ways to run nftables."""
    return Nft(request.param())
