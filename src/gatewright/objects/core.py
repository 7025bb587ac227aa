"""Pods, and what pods stand on: Namespace, Node, Pod, Service, EndpointSlice, ConfigMap (core/v1, discovery/v1)."""

from __future__ import annotations

from typing import Any

import msgspec

from gatewright.objects.meta import IntOrString, Lenient, Object


class Namespace(Object, frozen=True):
    """core/v1 Namespace. Selectors see its labels and `kubernetes.io/metadata.name`, which every namespace has."""


class ContainerPort(Lenient, frozen=True):
    """core/v1 ContainerPort. Declaring a port documents it and gives it its name; it opens nothing."""

    container_port: int = 0
    name: str = ""
    protocol: str = "TCP"
    host_port: int = 0


class EnvVar(Lenient, frozen=True):
    """core/v1 EnvVar with a literal value."""

    name: str = ""
    value: str = ""


class VolumeMount(Lenient, frozen=True):
    """core/v1 VolumeMount."""

    name: str = ""
    mount_path: str = ""
    sub_path: str = ""
    read_only: bool = False


class Container(Lenient, frozen=True):
    """core/v1 Container. An init container with restartPolicy Always is a sidecar, and its ports count."""

    name: str = ""
    image: str = ""
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    working_dir: str = ""
    env: tuple[EnvVar, ...] = ()
    ports: tuple[ContainerPort, ...] = ()
    volume_mounts: tuple[VolumeMount, ...] = ()
    restart_policy: str | None = None


class KeyToPath(Lenient, frozen=True):
    """core/v1 KeyToPath: one key of a ConfigMap as one file of a volume."""

    key: str = ""
    path: str = ""


class ConfigMapVolumeSource(Lenient, frozen=True):
    """core/v1 ConfigMapVolumeSource."""

    name: str = ""
    items: tuple[KeyToPath, ...] = ()
    optional: bool = False


class Volume(Lenient, frozen=True):
    """core/v1 Volume: configMap and emptyDir are read, every other source is kept as `None`."""

    name: str = ""
    config_map: ConfigMapVolumeSource | None = None
    empty_dir: dict[str, Any] | None = None


class PodSpec(Lenient, frozen=True):
    """core/v1 PodSpec, the fields that decide something here."""

    containers: tuple[Container, ...] = ()
    init_containers: tuple[Container, ...] = ()
    volumes: tuple[Volume, ...] = ()
    node_name: str = ""
    node_selector: dict[str, str] = {}
    host_network: bool = False
    hostname: str = ""
    subdomain: str = ""
    restart_policy: str = "Always"


class PodIP(Lenient, frozen=True):
    """core/v1 PodIP."""

    ip: str = ""


class PodStatus(Lenient, frozen=True):
    """core/v1 PodStatus. Manifests have none: their pods' addresses are not known yet."""

    phase: str = ""
    pod_ip: str = msgspec.field(default="", name="podIP")
    pod_ips: tuple[PodIP, ...] = msgspec.field(default=(), name="podIPs")
    host_ip: str = msgspec.field(default="", name="hostIP")
    host_ips: tuple[PodIP, ...] = msgspec.field(default=(), name="hostIPs")


class Pod(Object, frozen=True):
    """core/v1 Pod."""

    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()

    @property
    def ips(self) -> tuple[str, ...]:
        """Its addresses, at most one a family; empty while it has none."""
        return _addresses(self.status.pod_ips, self.status.pod_ip)

    @property
    def host_ips(self) -> tuple[str, ...]:
        """The addresses of its node, at most one a family."""
        return _addresses(self.status.host_ips, self.status.host_ip)


def _addresses(listed: tuple[PodIP, ...], single: str) -> tuple[str, ...]:
    found = tuple([entry.ip for entry in listed if entry.ip])
    return found or ((single,) if single else ())


class NodeAddress(Lenient, frozen=True):
    """core/v1 NodeAddress."""

    type: str = ""
    address: str = ""


class NodeStatus(Lenient, frozen=True):
    """core/v1 NodeStatus."""

    addresses: tuple[NodeAddress, ...] = ()


class NodeSpec(Lenient, frozen=True):
    """core/v1 NodeSpec."""

    pod_cidr: str = msgspec.field(default="", name="podCIDR")
    pod_cidrs: tuple[str, ...] = msgspec.field(default=(), name="podCIDRs")


class Node(Object, frozen=True):
    """core/v1 Node."""

    spec: NodeSpec = NodeSpec()
    status: NodeStatus = NodeStatus()


class ServicePort(Lenient, frozen=True):
    """core/v1 ServicePort. An absent targetPort is the port itself; a name is resolved on each backend pod."""

    name: str = ""
    protocol: str = "TCP"
    port: int = 0
    target_port: IntOrString | None = None
    node_port: int = 0


class ClientIPConfig(Lenient, frozen=True):
    """core/v1 ClientIPConfig."""

    timeout_seconds: int = 10800


class SessionAffinityConfig(Lenient, frozen=True):
    """core/v1 SessionAffinityConfig."""

    client_ip: ClientIPConfig | None = msgspec.field(default=None, name="clientIP")


class ServiceSpec(Lenient, frozen=True):
    """core/v1 ServiceSpec, the fields that decide where a connection ends."""

    type: str = "ClusterIP"
    selector: dict[str, str] = {}
    ports: tuple[ServicePort, ...] = ()
    cluster_ip: str = msgspec.field(default="", name="clusterIP")
    cluster_ips: tuple[str, ...] = msgspec.field(default=(), name="clusterIPs")
    external_ips: tuple[str, ...] = msgspec.field(default=(), name="externalIPs")
    allocate_load_balancer_node_ports: bool = True
    load_balancer_source_ranges: tuple[str, ...] = ()
    external_name: str = ""
    external_traffic_policy: str = "Cluster"
    internal_traffic_policy: str = "Cluster"
    session_affinity: str = "None"
    session_affinity_config: SessionAffinityConfig | None = None
    publish_not_ready_addresses: bool = False
    ip_families: tuple[str, ...] = ()
    ip_family_policy: str = ""


class Service(Object, frozen=True):
    """core/v1 Service."""

    spec: ServiceSpec = ServiceSpec()


class ConfigMap(Object, frozen=True):
    """core/v1 ConfigMap."""

    data: dict[str, str] = {}
