"""What a person means by `web`, `default/web`, `deploy/web`, `svc/api`, `10.0.0.7` or `app=web`.

One grammar for every place where an endpoint is named: `[NAMESPACE/]NAME`, `[NAMESPACE/]KIND/NAME`, an address, or a
label selector of equalities. A Service stands for its backends on their target ports.
"""

from __future__ import annotations

from dataclasses import dataclass

from gatewright.engine.addresses import parse_address
from gatewright.engine.compile import Compiled
from gatewright.engine.model import Endpoint
from gatewright.engine.ports import LAST_PORT, Protocol
from gatewright.engine.verdict import Party
from gatewright.errors import GatewrightError
from gatewright.objects.core import Service, ServicePort

SERVICE = "Service"
KIND_NAMES = {
    alias: kind
    for kind, aliases in {
        "Pod": "pod pods po",
        "Deployment": "deployment deployments deploy",
        "ReplicaSet": "replicaset replicasets rs",
        "StatefulSet": "statefulset statefulsets sts",
        "DaemonSet": "daemonset daemonsets ds",
        "ReplicationController": "replicationcontroller replicationcontrollers rc",
        "Job": "job jobs",
        "CronJob": "cronjob cronjobs cj",
        SERVICE: "service services svc",
    }.items()
    for alias in aliases.split()
}


class UnknownTarget(GatewrightError):
    """What was named is not among the objects."""


class BadPort(GatewrightError):
    """A port that is not `[PROTOCOL/]NUMBER`, or that a Service does not have."""


@dataclass(frozen=True, slots=True)
class Target:
    """What a name stands for: one or more parties, and the Service it was reached through, if any."""

    text: str
    parties: tuple[Party, ...]
    service: Service | None = None


def parse_port(text: str) -> tuple[Protocol | None, int]:
    """`80`, `tcp/80`, `UDP/53`; `icmp` (no protocol, port 0) is traffic without ports. Raises BadPort."""
    if text.lower() == "icmp":
        return None, 0
    protocol, slash, number = text.rpartition("/")
    name = protocol.upper() if slash else "TCP"
    if name not in Protocol.__members__ or not number.isascii() or not number.isdigit():
        raise BadPort(
            f"{text!r} is not a port: write PORT or PROTOCOL/PORT, with TCP, UDP or SCTP (80, udp/53), or icmp"
        )
    if not 1 <= int(number) <= LAST_PORT:
        raise BadPort(f"{text!r} is not a port: ports are 1 to {LAST_PORT}")
    return Protocol(name), int(number)


def find(compiled: Compiled, text: str, namespace: str = "default") -> Target:
    """The parties that a text names. Raises UnknownTarget, saying which names there are."""
    try:
        return Target(text, (parse_address(text),))
    except ValueError:
        pass
    if "=" in text:
        return _by_labels(compiled, text, namespace)
    parts = text.split("/")
    kind = None
    if len(parts) > 1 and parts[-2].lower() in KIND_NAMES:
        kind = KIND_NAMES[parts.pop(-2).lower()]
    if len(parts) > 2 or not all(parts):
        raise UnknownTarget(f"{text!r} names nothing: write NAME, NAMESPACE/NAME, KIND/NAME, an address, or key=value")
    place = (parts[0] if len(parts) == 2 else namespace, parts[-1])
    if kind == SERVICE:
        return _service(compiled, text, *place)
    found = [e for e in compiled.endpoints if (e.namespace, e.name) == place and kind in (None, e.kind)]
    if not found:
        raise UnknownTarget(_nothing(compiled, text, place[0]))
    if len(found) > 1:
        kinds = ", ".join(f"{e.kind.lower()}/{e.name}" for e in found)
        raise UnknownTarget(f"{text!r} names more than one endpoint: write one of {kinds}")
    return Target(text, (found[0],))


def _nothing(compiled: Compiled, text: str, namespace: str) -> str:
    names = sorted({e.name for e in compiled.endpoints if e.namespace == namespace})
    if names:
        shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
        return f"{text!r} names no pod or workload; namespace {namespace} has {shown}"
    spaces = sorted({e.namespace for e in compiled.endpoints})
    return f"{text!r} names no pod or workload; namespace {namespace} has none (namespaces: {', '.join(spaces) or '-'})"


def _by_labels(compiled: Compiled, text: str, namespace: str) -> Target:
    first, slash, rest = text.partition("/")
    scoped = bool(slash) and "=" not in first and "=" in rest.partition("/")[0]
    where, pairs = (first, rest) if scoped else (namespace, text)
    wanted = dict(pair.replace("==", "=").split("=", 1) for pair in pairs.split(",") if "=" in pair)
    found = [
        e for e in compiled.endpoints if e.namespace == where and all(e.labels.get(k) == v for k, v in wanted.items())
    ]
    if not found:
        raise UnknownTarget(f"no pod or workload of namespace {where} has the labels {pairs}")
    return Target(text, tuple(found))


def _service(compiled: Compiled, text: str, namespace: str, name: str) -> Target:
    service = compiled.snapshot.objects.get((SERVICE, namespace, name))
    if not isinstance(service, Service):
        names = sorted(s.name for s in compiled.snapshot.services if s.namespace == namespace)
        raise UnknownTarget(f"{text!r} names no Service; namespace {namespace} has {', '.join(names) or 'none'}")
    if not service.spec.selector:
        raise UnknownTarget(f"{text!r} has no selector, hence no pods behind it: name an address instead")
    return Target(text, backends(compiled, service), service)


def backends(compiled: Compiled, service: Service) -> tuple[Endpoint, ...]:
    """The endpoints behind a Service's selector."""
    wanted = service.spec.selector.items()
    return tuple(
        e
        for e in compiled.endpoints
        if wanted and e.namespace == service.namespace and all(e.labels.get(key) == value for key, value in wanted)
    )


def service_port(service: Service, protocol: Protocol | None, port: int) -> ServicePort:
    """The Service's port of this number. Raises BadPort, saying which it has."""
    for one in service.spec.ports:
        if (one.protocol, one.port) == (protocol, port):
            return one
    has = ", ".join(f"{one.protocol} {one.port}" for one in service.spec.ports) or "none"
    raise BadPort(f"{service} has no port {protocol} {port}; it has {has}")


def target_ports(service: Service, port: ServicePort, backend: Endpoint) -> tuple[int, ...]:
    """The numbers on which a backend serves a Service's port: empty when it lacks the named port.

    A headless Service translates nothing: its name resolves to pods, which are called on the port itself.
    """
    if service.spec.cluster_ip == "None":
        return (port.port,)
    if isinstance(port.target_port, str):
        ranges = backend.named_ports.get((port.target_port, Protocol(port.protocol)), ())
        return tuple(number for first, last in ranges for number in range(first, last + 1))[:1]
    return (port.target_port or port.port,)
