"""Tests of the cluster's parts against each other; those that send packets need network namespaces."""

from __future__ import annotations

from tests.packets.conftest import namespaces

__all__ = ["namespaces"]
