"""The lab's service proxy: which addresses Services have, which pods stand behind them, and the nftables program.

Pure. One table of its own, `gatewright_lab_services`, replaced whole in one transaction: a Service port is an element
of a verdict map that jumps to the port's chain, which picks a backend at random and translates the destination. This is
what kube-proxy's nftables mode does, so policies see what they see in a cluster: the backend pod and its target port.
A port without ready backends is refused at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from gatewright.engine.addresses import IPAddress, IPNetwork, parse_address
from gatewright.engine.selectors import matches
from gatewright.errors import Problem
from gatewright.lab.addresses import DNS_ADDRESS, NODE_ADDRESSES, SERVICE_CIDRS, service_address
from gatewright.lab.errors import LabError
from gatewright.objects.core import Pod, Service, ServicePort
from gatewright.objects.meta import LabelSelector

TABLE = "gatewright_lab_services"
_FIRST_NODE_PORT, _LAST_NODE_PORT = 30000, 32767
_HEADLESS = "None"
_EXTERNAL = "external_"
_MASQUERADE = 0x4000
"""The bit of the connection mark that says: came by a node port, is to look as if the node had sent it."""


@dataclass(frozen=True, slots=True)
class Allocation:
    """What a Service was given: cluster addresses (none: headless or ExternalName), and a node port for each port."""

    addresses: tuple[IPAddress, ...] = ()
    node_ports: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Backend:
    """A pod as a backend: what it is, its addresses, whether it is ready."""

    pod: Pod
    hostname: str
    addresses: tuple[IPAddress, ...]
    ready: bool


def is_headless(service: Service) -> bool:
    """Whether the Service has no address of its own on purpose."""
    return service.spec.cluster_ip == _HEADLESS


def allocate(
    services: Iterable[Service], before: Mapping[str, Allocation], families: Iterable[int]
) -> tuple[dict[str, Allocation], list[Problem]]:
    """An allocation for every Service (by `namespace/name`), those of `before` kept; and what cannot be given."""
    wanted = sorted(services, key=lambda one: (not one.spec.cluster_ip, one.namespace, one.name))
    networks = [network for network in SERVICE_CIDRS if network.version in set(families)]
    problems: list[Problem] = []
    owners: dict[IPAddress | int, str] = {DNS_ADDRESS: "kube-system/kube-dns"}
    names = {_key(service) for service in wanted}
    for key, allocation in before.items():
        if key in names:
            owners |= dict.fromkeys(allocation.addresses, key)
            owners |= dict.fromkeys(filter(None, allocation.node_ports), key)
    result: dict[str, Allocation] = {}
    for service in wanted:
        try:
            addresses = _addresses(service, before.get(_key(service)), owners, networks)
            result[_key(service)] = Allocation(addresses, _node_ports(service, before.get(_key(service)), owners))
        except LabError as error:
            problems.append(Problem(str(service.origin or ""), f"Service {service.name}: {error}"))
    return result, problems


def _key(service: Service) -> str:
    return f"{service.namespace}/{service.name}"


def _addresses(
    service: Service, before: Allocation | None, owners: dict[IPAddress | int, str], networks: list[IPNetwork]
) -> tuple[IPAddress, ...]:
    spec = service.spec
    if spec.type == "ExternalName" or is_headless(service):
        return ()
    written = spec.cluster_ips or ((spec.cluster_ip,) if spec.cluster_ip else ())
    given: list[IPAddress] = []
    for text in written:
        try:
            address = parse_address(text)
        except ValueError as error:
            raise LabError(f'spec.clusterIPs: Invalid value: "{text}": must be a valid IP address') from error
        if not any(address.version == network.version and address in network for network in networks):
            ranges = " and ".join(map(str, networks))
            raise LabError(f'spec.clusterIPs: Invalid value: "{text}": not in the Service ranges of the lab, {ranges}')
        if owners.setdefault(address, _key(service)) != _key(service):
            raise LabError(f'spec.clusterIPs: Invalid value: "{text}": provided IP is already allocated')
        given.append(address)
    if given:
        return tuple(given)
    if before and before.addresses and {one.version for one in before.addresses} == set(_versions(service, networks)):
        return before.addresses
    taken = {owner for owner in owners if not isinstance(owner, int)}
    for network in networks:
        if network.version in _versions(service, networks):
            address = service_address(taken, network)
            owners[address] = _key(service)
            given.append(address)
    return tuple(given)


def _versions(service: Service, networks: list[IPNetwork]) -> tuple[int, ...]:
    """The families a Service gets: those it names, both for dual stack, else the first."""
    named = tuple(6 if family == "IPv6" else 4 for family in service.spec.ip_families)
    every = tuple(network.version for network in networks)
    if service.spec.ip_family_policy in ("PreferDualStack", "RequireDualStack"):
        return every
    return tuple(version for version in named if version in every)[:1] or every[:1]


def _node_ports(service: Service, before: Allocation | None, owners: dict[IPAddress | int, str]) -> tuple[int, ...]:
    if service.spec.type not in ("NodePort", "LoadBalancer"):
        return tuple(0 for _ in service.spec.ports)
    old = before.node_ports if before and len(before.node_ports) == len(service.spec.ports) else ()
    result = []
    for index, port in enumerate(service.spec.ports):
        number = port.node_port or (old[index] if old else 0) or _free_node_port(owners)
        if not _FIRST_NODE_PORT <= number <= _LAST_NODE_PORT:
            where = f"spec.ports[{index}].nodePort: Invalid value: {number}"
            raise LabError(f"{where}: provided port is not in the valid range {_FIRST_NODE_PORT}-{_LAST_NODE_PORT}")
        if owners.setdefault(number, _key(service)) != _key(service):
            raise LabError(f"spec.ports[{index}].nodePort: Invalid value: {number}: provided port is already allocated")
        result.append(number)
    return tuple(result)


def _free_node_port(owners: Mapping[IPAddress | int, str]) -> int:
    for number in range(_FIRST_NODE_PORT, _LAST_NODE_PORT + 1):
        if number not in owners:
            return number
    raise LabError("no free node port is left")


def backends_of(service: Service, backends: Iterable[Backend]) -> tuple[Backend, ...]:
    """The pods that the Service selects, ready or not; none without a selector."""
    if not service.spec.selector or service.spec.type == "ExternalName":
        return ()
    selector = LabelSelector(match_labels=service.spec.selector)
    return tuple(
        backend
        for backend in backends
        if backend.pod.namespace == service.namespace and matches(selector, backend.pod.labels)
    )


def serving(service: Service, backends: Iterable[Backend]) -> tuple[Backend, ...]:
    """The backends that get connections: the ready ones, all where `publishNotReadyAddresses` says so."""
    found = backends_of(service, backends)
    return tuple(one for one in found if one.ready or service.spec.publish_not_ready_addresses)


def target_port(port: ServicePort, pod: Pod) -> int | None:
    """The port's number on this pod; None where the pod has no container port of that name and protocol."""
    target = port.target_port
    if not target:
        return port.port
    if isinstance(target, int):
        return target
    for container in (*pod.spec.containers, *pod.spec.init_containers):
        for candidate in container.ports:
            if candidate.name == target and candidate.protocol == port.protocol:
                return candidate.container_port
    return None


@dataclass(frozen=True, slots=True)
class _Front:
    """One Service port in one family: where it is reached, and where it leads."""

    chain: str
    address: IPAddress
    protocol: str
    port: int
    node_port: int
    local: bool
    targets: tuple[tuple[IPAddress, int], ...]


def program(
    services: Iterable[Service],
    allocations: Mapping[str, Allocation],
    backends: Iterable[Backend],
    families: Iterable[int],
) -> str:
    """The nftables text that puts exactly these Services in force, replacing what stood, in one transaction."""
    known = tuple(backends)
    versions = tuple(families)
    fronts = [
        front
        for number, service in enumerate(sorted(services, key=lambda one: (one.namespace, one.name)))
        for front in _fronts(service, number, allocations[_key(service)], known)
    ]
    lines = [f"add table inet {TABLE}", f"delete table inet {TABLE}", f"table inet {TABLE} {{"]
    for version in versions:
        lines += _maps(version, [front for front in fronts if front.address.version == version])
    for front in fronts:
        if front.targets:
            lines += _chain(front)
    lines += _base_chains(versions)
    return "\n".join([*lines, "}"]) + "\n"


def _fronts(service: Service, number: int, allocation: Allocation, backends: tuple[Backend, ...]) -> Iterator[_Front]:
    ready = serving(service, backends)
    for index, port in enumerate(service.spec.ports):
        for address in allocation.addresses:
            targets = tuple(
                (own, target)
                for backend in ready
                if (target := target_port(port, backend.pod)) is not None
                for own in backend.addresses
                if own.version == address.version
            )
            yield _Front(
                chain=f"service_{number}_{index}_v{address.version}",
                address=address,
                protocol=port.protocol.lower(),
                port=port.port,
                node_port=allocation.node_ports[index] if index < len(allocation.node_ports) else 0,
                local=service.spec.external_traffic_policy == "Local",
                targets=targets,
            )


def _maps(version: int, fronts: list[_Front]) -> Iterator[str]:
    kind = f"ipv{version}_addr"
    ports = [f"{one.address} . {one.protocol} . {one.port} : goto {one.chain}" for one in fronts if one.targets]
    nodes = [
        f"{one.protocol} . {one.node_port} : goto {one.chain if one.local else _EXTERNAL + one.chain}"
        for one in fronts
        if one.node_port and one.targets
    ]
    refused = [f"{one.protocol} . {one.node_port}" for one in fronts if one.node_port and not one.targets]
    pods = sorted({address for one in fronts for address, _ in one.targets})
    yield from _collection(f"map ports_v{version}", f"{kind} . inet_proto . inet_service : verdict", ports)
    yield from _collection(f"map node_ports_v{version}", "inet_proto . inet_service : verdict", nodes)
    yield from _collection(f"set refused_v{version}", "inet_proto . inet_service", refused)
    yield from _collection(f"set hairpin_v{version}", f"{kind} . {kind}", [f"{one} . {one}" for one in pods])


def _collection(name: str, kind: str, elements: list[str]) -> Iterator[str]:
    yield f"  {name} {{"
    yield f"    type {kind}"
    if elements:
        yield f"    elements = {{ {', '.join(elements)} }}"
    yield "  }"


def _chain(front: _Front) -> Iterator[str]:
    family = "ip" if front.address.version == 4 else "ip6"
    yield f"  chain {front.chain} {{"
    if len(front.targets) == 1:
        address, port = front.targets[0]
        place = f"[{address}]" if address.version == 6 else str(address)
        yield f"    meta l4proto {front.protocol} dnat {family} to {place}:{port}"
    else:
        pairs = ", ".join(f"{index} : {address} . {port}" for index, (address, port) in enumerate(front.targets))
        choice = f"numgen random mod {len(front.targets)} map {{ {pairs} }}"
        yield f"    meta l4proto {front.protocol} dnat {family} addr . port to {choice}"
    yield "  }"
    if front.node_port and not front.local:
        yield f"  chain {_EXTERNAL}{front.chain} {{"
        yield f"    ct mark set ct mark or {_MASQUERADE:#x}"
        yield f"    goto {front.chain}"
        yield "  }"


def _base_chains(versions: tuple[int, ...]) -> Iterator[str]:
    """The hooks."""
    words = {4: "ip", 6: "ip6"}
    nodes: dict[int, IPAddress] = {address.version: address for address in NODE_ADDRESSES}
    ranges: dict[int, IPNetwork] = {network.version: network for network in SERVICE_CIDRS}
    yield "  chain services {"
    for version in versions:
        word = words[version]
        yield f"    {word} daddr . meta l4proto . th dport vmap @ports_v{version}"
        yield f"    {word} daddr {nodes[version]} meta l4proto . th dport vmap @node_ports_v{version}"
    yield "  }"
    yield "  chain nat_prerouting {"
    yield "    type nat hook prerouting priority dstnat; policy accept;"
    yield "    jump services"
    yield "  }"
    yield "  chain nat_output {"
    yield "    type nat hook output priority -100; policy accept;"
    yield "    jump services"
    yield "  }"
    yield "  chain nat_postrouting {"
    yield "    type nat hook postrouting priority srcnat; policy accept;"
    for version in versions:
        word = words[version]
        node = nodes[version]
        yield f"    ct status dnat {word} saddr . {word} daddr @hairpin_v{version} snat {word} to {node}"
        kind = f"ipv{version}"
        yield f"    meta nfproto {kind} ct mark and {_MASQUERADE:#x} != 0 snat {word} to {node}"
    yield "  }"
    for hook in ("prerouting", "output"):
        yield f"  chain no_backends_{hook} {{"
        yield f"    type filter hook {hook} priority -90; policy accept;"
        for version in versions:
            word = words[version]
            refused = f"{word} daddr {nodes[version]} meta l4proto . th dport @refused_v{version}"
            for where in (f"{word} daddr {ranges[version]}", refused):
                yield f"    {where} meta l4proto tcp reject with tcp reset"
                yield f"    {where} reject"
        yield "  }"
