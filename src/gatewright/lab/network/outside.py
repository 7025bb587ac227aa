"""The outside host: a machine that is no part of the cluster, routed behind the fabric's router.

It reaches nodes and pods by their addresses, and they it by its own, without NAT on the way. What has no process has no
process id, by which others come into its network; so a small process stands for it.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable

from gatewright.lab import linux
from gatewright.lab.errors import LabError
from gatewright.lab.network.links import attach
from gatewright.lab.network.namespaces import new_namespace, within
from gatewright.lab.network.plan import OUTSIDE, OUTSIDE_ADDRESSES, of_families
from gatewright.lab.rtnetlink import Netlink, of_descriptor


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


def hold(namespace: int) -> int:
    """Fork the process that stands for the outside host; its process id. It ends when the calling process ends.

    The caller waits for it as for any child, and may call this again when it was killed: the network is not its own.
    """
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        try:
            linux.end_with_parent(parent)
            linux.setns(namespace, linux.NEWNET)
            linux.unshare(linux.NEWUTS)
            linux.set_hostname(OUTSIDE)
            linux.set_process_name(OUTSIDE)
            os.closerange(3, 65536)
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_DFL)
            while True:
                signal.pause()
        finally:
            os._exit(1)
    return pid
