"""The files that the kubelet writes into a pod: what it is called, and where names are answered. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from gatewright.engine.addresses import IPAddress
from gatewright.lab.addresses import DNS_ADDRESS
from gatewright.lab.network.plan import OUTSIDE
from gatewright.lab.workloads import PodPlan
from gatewright.lab.zone import DOMAIN
from gatewright.objects.core import Container, Pod, PodSpec
from gatewright.objects.meta import ObjectMeta

OUTSIDE_HOST = PodPlan(Pod(metadata=ObjectMeta(name=OUTSIDE), spec=PodSpec(containers=(Container(name=OUTSIDE),))))
"""The host outside the cluster: made like a pod, but no pod; nothing in the cluster knows it."""
_LOCAL = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"


def pod_files(plan: PodPlan, addresses: Iterable[IPAddress]) -> dict[str, str]:
    """Path (without the first slash) to text."""
    pod = plan.pod
    if plan is OUTSIDE_HOST:
        return {
            "etc/hosts": _LOCAL,
            "etc/hostname": f"{OUTSIDE}\n",
            "etc/resolv.conf": "# The cluster's names are not known outside.\n",
        }
    search = f"{pod.namespace}.svc.{DOMAIN} svc.{DOMAIN} {DOMAIN}"
    full = f"{plan.hostname}.{pod.spec.subdomain}.{pod.namespace}.svc.{DOMAIN}\t" if pod.spec.subdomain else ""
    own = "".join(f"{address}\t{full}{plan.hostname}\n" for address in addresses)
    return {
        "etc/hosts": _LOCAL + own,
        "etc/hostname": f"{plan.hostname}\n",
        "etc/resolv.conf": f"search {search}\nnameserver {DNS_ADDRESS}\noptions ndots:5\n",
    }
