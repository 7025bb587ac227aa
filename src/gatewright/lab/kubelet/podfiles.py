"""The files that a kubelet writes into a pod: what it is called, and where names are answered. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from gatewright.lab.api.resources import Tree
from gatewright.lab.kubelet.podspec import PodSpec

DOMAIN = "cluster.local"
_HOSTS = """# Kubernetes-managed hosts file.
127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::0\tip6-localnet
fe00::0\tip6-mcastprefix
fe00::1\tip6-allnodes
fe00::2\tip6-allrouters
"""
_MOST_NAMESERVERS, _MOST_SEARCHES = 3, 32


def pod_files(pod: PodSpec, addresses: Sequence[str], node: str, resolver: str) -> dict[str, str]:
    """Path (without the first slash) to text. A pod on its node's network is called what the node is called."""
    hostname = node if pod.host_network else pod.hostname
    return {
        "etc/hosts": hosts(pod, addresses, hostname),
        "etc/hostname": f"{hostname}\n",
        "etc/resolv.conf": resolv_conf(pod, resolver),
    }


def hosts(pod: PodSpec, addresses: Sequence[str], hostname: str) -> str:
    """etc/hosts: the pod's own name, then its hostAliases."""
    subdomain = "" if pod.host_network else pod.spec.get("subdomain") or ""
    full = f"{hostname}.{subdomain}.{pod.namespace}.svc.{DOMAIN}\t" if subdomain else ""
    own = "".join(f"{address}\t{full}{hostname}\n" for address in addresses)
    aliases = pod.spec.get("hostAliases") or ()
    more = "".join(f"{one['ip']}\t{chr(9).join(one.get('hostnames') or ())}\n" for one in aliases)
    return _HOSTS + own + (f"\n# Entries added by HostAliases.\n{more}" if more else "")


def resolv_conf(pod: PodSpec, resolver: str) -> str:
    """etc/resolv.conf by dnsPolicy and dnsConfig. A node of the lab asks the cluster's resolver itself (Default)."""
    policy = pod.spec.get("dnsPolicy") or "ClusterFirst"
    if policy == "ClusterFirst" and pod.host_network:
        policy = "Default"
    nameservers = [] if policy == "None" else [resolver]
    searches: list[str] = []
    options: dict[str, str | None] = {}
    if policy in ("ClusterFirst", "ClusterFirstWithHostNet"):
        searches = [f"{pod.namespace}.svc.{DOMAIN}", f"svc.{DOMAIN}", DOMAIN]
        options = {"ndots": "5"}
    config: Tree = pod.spec.get("dnsConfig") or {}
    nameservers = list(dict.fromkeys([*nameservers, *(config.get("nameservers") or ())]))[:_MOST_NAMESERVERS]
    searches = list(dict.fromkeys([*searches, *(config.get("searches") or ())]))[:_MOST_SEARCHES]
    options |= {str(one.get("name")): one.get("value") for one in config.get("options") or ()}
    lines = [f"search {' '.join(searches)}"] if searches else []
    lines += [f"nameserver {one}" for one in nameservers]
    if options:
        words = (name if value is None else f"{name}:{value}" for name, value in options.items())
        lines.append(f"options {' '.join(words)}")
    return "".join(f"{line}\n" for line in lines)
