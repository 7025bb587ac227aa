"""What a person means by `web`, `default/web`, `deploy/web`, `svc/api`, `10.0.0.7` or `app=web`.

One grammar for every place where an endpoint is named: `[NAMESPACE/]NAME`, `[NAMESPACE/]KIND/NAME`, an address, or a
label selector as kubectl's `-l` takes it. A workload with live pods stands for these, a Service for its backends on
their target ports.
"""

from __future__ import annotations

from dataclasses import dataclass

from gatewright.engine.addresses import parse_address
from gatewright.engine.backends import Backends
from gatewright.engine.compile import Compiled
from gatewright.engine.label_query import parse_selector
from gatewright.engine.model import Endpoint
from gatewright.engine.owners import by_owner, standing
from gatewright.engine.ports import LAST_PORT, Protocol
from gatewright.engine.selectors import matches
from gatewright.engine.verdict import Party
from gatewright.errors import GatewrightError
from gatewright.objects.core import Service, ServicePort
from gatewright.objects.meta import Key

SERVICE = "Service"
INGRESS = "Ingress"
INGRESS_PORTS = (80, 443)
"""Where the controller of an Ingress listens; networking/v1 IngressSpec knows no other ports."""
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
        INGRESS: "ingress ingresses ing",
    }.items()
    for alias in aliases.split()
}


class UnknownTarget(GatewrightError):
    """What was named is not among the objects."""


class BadPort(GatewrightError):
    """A port that is not `[PROTOCOL/]NUMBER`, or that a Service does not have."""


@dataclass(frozen=True, slots=True)
class Target:
    """What a name stands for: one or more parties, and the Service it was reached through, if any.

    `ends` are the endpoints and TCP ports that an Ingress leads to, empty for anything else.
    """

    text: str
    parties: tuple[Party, ...]
    service: Service | None = None
    ends: tuple[tuple[Endpoint, int], ...] = ()


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
    if set(text) & set("=!("):
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
    if kind == INGRESS:
        return _ingress(compiled, text, *place)
    found = _named(compiled, kind, *place)
    if not found:
        raise UnknownTarget(_nothing(compiled, text, place[0]))
    if len(found) > 1:
        kinds = ", ".join(f"{found_kind.lower()}/{name}" for found_kind, _, name in sorted(found))
        raise UnknownTarget(f"{text!r} names more than one endpoint: write one of {kinds}")
    return Target(text, next(iter(found.values())))


def _named(compiled: Compiled, kind: str | None, namespace: str, name: str) -> dict[Key, tuple[Endpoint, ...]]:
    """What has the name: endpoints of their own, and workloads, which their live pods stand for."""
    found: dict[Key, tuple[Endpoint, ...]] = {
        (e.kind, namespace, name): (e,)
        for e in compiled.endpoints
        if (e.namespace, e.name) == (namespace, name) and kind in (None, e.kind)
    }
    if kind != "Pod":
        owned = by_owner(compiled).items()
        found |= {key: e for key, e in owned if key[1:] == (namespace, name) and kind in (None, key[0])}
    return found


def _nothing(compiled: Compiled, text: str, namespace: str) -> str:
    names = sorted({name for _, owned_in, name in by_owner(compiled) if owned_in == namespace})
    if names:
        shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
        return f"{text!r} names no pod or workload; namespace {namespace} has {shown}"
    spaces = sorted({e.namespace for e in compiled.endpoints})
    return f"{text!r} names no pod or workload; namespace {namespace} has none (namespaces: {', '.join(spaces) or '-'})"


def _by_labels(compiled: Compiled, text: str, namespace: str) -> Target:
    """The prefix of a label key has a dot: `shop/app=web` starts with a namespace, `example.com/app=web` does not."""
    first, slash, rest = text.partition("/")
    scoped = bool(slash) and not set(first) & set("=.!, ")
    where, selector_text = (first, rest) if scoped else (namespace, text)
    selector = parse_selector(selector_text)
    found = [e for e in standing(compiled) if e.namespace == where and matches(selector, e.labels)]
    if not found:
        raise UnknownTarget(f"no pod or workload of namespace {where} has the labels {selector_text}")
    return Target(text, tuple(found))


def _service(compiled: Compiled, text: str, namespace: str, name: str) -> Target:
    service = compiled.snapshot.objects.get((SERVICE, namespace, name))
    if not isinstance(service, Service):
        names = sorted(s.name for s in compiled.snapshot.services if s.namespace == namespace)
        raise UnknownTarget(f"{text!r} names no Service; namespace {namespace} has {', '.join(names) or 'none'}")
    if service.spec.type == "ExternalName":
        raise UnknownTarget(f"{text!r} is a name for {service.spec.external_name}, outside: name an address instead")
    backends = Backends(compiled)
    if not service.spec.selector and not backends.slices(service):
        what = "has no selector and no EndpointSlice, hence nothing behind it: name an address instead"
        raise UnknownTarget(f"{text!r} {what}")
    return Target(text, backends.of(service), service)


def _ingress(compiled: Compiled, text: str, namespace: str, name: str) -> Target:
    """Every endpoint that an Ingress leads to, on the port its controller calls."""
    from gatewright.engine.ways import Way, ways

    if (INGRESS, namespace, name) not in compiled.snapshot.objects:
        names = sorted(key[2] for key in compiled.snapshot.objects if key[:2] == (INGRESS, namespace))
        raise UnknownTarget(f"{text!r} names no Ingress; namespace {namespace} has {', '.join(names) or 'none'}")
    holder = f"{INGRESS} {namespace}/{name}"
    found = (way for way in ways(compiled) if isinstance(way, Way) and way.holder == holder)
    ends = tuple(dict.fromkeys(end for way in found for end in way.ends))
    if not ends:
        raise UnknownTarget(f"{text!r} leads to no pod; `gatewright exposure` says why")
    return Target(text, tuple(dict.fromkeys(endpoint for endpoint, _ in ends)), ends=ends)


def service_port(service: Service, protocol: Protocol | None, port: int) -> ServicePort:
    """The Service's port of this number. Raises BadPort, saying which it has."""
    for one in service.spec.ports:
        if (one.protocol, one.port) == (protocol, port):
            return one
    has = ", ".join(f"{one.protocol} {one.port}" for one in service.spec.ports) or "none"
    raise BadPort(f"{service} has no port {protocol} {port}; it has {has}")
