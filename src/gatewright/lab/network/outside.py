"""The outside host: a machine that is no part of the cluster, routed behind the fabric's router.

It reaches nodes and pods by their addresses, and they it by its own, without NAT on the way.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from gatewright.lab.errors import LabError
from gatewright.lab.network.links import attach
from gatewright.lab.network.namespaces import new_namespace, within
from gatewright.lab.network.plan import OUTSIDE, OUTSIDE_ADDRESSES, of_families
from gatewright.lab.network.rtnetlink import Netlink, of_descriptor


def make_outside(fabric: int, families: Iterable[int]) -> int:
    """A descriptor of the outside host's new network namespace, connected to the fabric's (a descriptor).

    Raises LabError.
    """
    namespace = new_namespace()
    try:
        with within(fabric, Netlink) as here, within(namespace, Netlink) as there:
            attach(here, OUTSIDE, there, of_descriptor(namespace), of_families(OUTSIDE_ADDRESSES, families))
    except OSError as error:
        os.close(namespace)
        raise LabError(f"cannot connect the outside host: {error.filename}: {error.strerror}") from error
    return namespace
