"""The names of a cluster as plain data, and what is to be said to a question.

Pure. Follows the Kubernetes DNS specification 1.1.0 as CoreDNS serves it: A, AAAA, SRV and PTR of Services and their
endpoints, CNAME of ExternalName Services, and the address in a pod's dashed name wherever its namespace exists (CoreDNS
`pods insecure`, which is what clusters run with). A Service's names are worked out from that Service alone, so a change
costs as much as what it changes. A name that only has names below it exists too and is empty (RFC 8020).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from gatewright.engine.addresses import IPAddress
from gatewright.lab.backing import Owner, addresses_of, cluster_addresses, is_headless
from gatewright.objects.core import Service
from gatewright.objects.routing import EndpointSlice

DOMAIN = "cluster.local"
REVERSE = ("in-addr.arpa", "ip6.arpa")
ZONES = (DOMAIN, *REVERSE)
TTL = 5
"""Seconds that answers may be kept, also those that something does not exist (CoreDNS's default)."""
NAME_SERVER = f"ns.dns.{DOMAIN}"
NAME_SERVICE = ("kube-system", "kube-dns")
"""The Service whose addresses are those of the name server."""
VERSION = "1.1.0"
"""Of the specification, as `dns-version` tells it."""
LONGEST_CHAIN = 8
"""Aliases that are followed within the zone."""

Records = dict[str, tuple[str, ...]]
"""Record type to record texts."""
Share = dict[str, Records]
"""The names of one Service."""
RecordSet = tuple[str, str, tuple[str, ...]]
"""Name, type, texts."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What to answer: the response code, records, records that help, and the zone whose SOA says that it is nothing."""

    code: str
    records: tuple[RecordSet, ...] = ()
    additional: tuple[RecordSet, ...] = ()
    negative: str = ""


class Zone:
    """Every name of the cluster with its records. Changed in place, Service by Service.

    `complete` says whether everything was listed: before, nothing may be said not to exist.
    """

    def __init__(self) -> None:
        self.complete = False
        self.serial = 1
        self._shares: dict[Owner, Share] = {}
        self._names: dict[str, dict[Owner, Records]] = {}
        self._existing: Counter[str] = Counter()
        self._namespaces: set[str] = set()
        for name in (DOMAIN, f"svc.{DOMAIN}", f"pod.{DOMAIN}", *REVERSE):
            self._existing[name] += 1
        self.put(("", ""), {f"dns-version.{DOMAIN}": {"TXT": (f'"{VERSION}"',)}})

    def put(self, owner: Owner, share: Share) -> None:
        """These are the names of a Service now; none of one that is gone."""
        before = self._shares.pop(owner, {})
        if before == share:
            self._put(owner, before)
            return
        self.serial += 1
        for name in before:
            owners = self._names[name]
            del owners[owner]
            if not owners:
                del self._names[name]
            self._existing.subtract(_upwards(name))
        for name, records in share.items():
            self._names.setdefault(name, {})[owner] = records
            self._existing.update(_upwards(name))
        self._put(owner, share)

    def _put(self, owner: Owner, share: Share) -> None:
        if share:
            self._shares[owner] = share

    def put_namespace(self, name: str, there: bool) -> None:
        """A namespace is there, or it is gone."""
        if there != (name in self._namespaces):
            self.serial += 1
            names = (f"{name}.svc.{DOMAIN}", f"{name}.pod.{DOMAIN}")
            if there:
                self._namespaces.add(name)
                self._existing.update(names)
            else:
                self._namespaces.remove(name)
                self._existing.subtract(names)

    def exists(self, name: str) -> bool:
        """Whether there is such a name, or one below it."""
        return self._existing[name] > 0 if name in self._existing else False

    def records(self, name: str) -> Records | None:
        """The records of a name; None where it has none."""
        owners = self._names.get(name)
        if owners is None:
            return self._pod(name)
        if len(owners) == 1:
            return next(iter(owners.values()))
        merged: dict[str, dict[str, None]] = {}
        for _, records in sorted(owners.items()):
            for kind, texts in records.items():
                merged.setdefault(kind, {}).update(dict.fromkeys(texts))
        return {kind: tuple(texts) for kind, texts in merged.items()}

    def _pod(self, name: str) -> Records | None:
        label, _, rest = name.partition(".")
        namespace = rest.removesuffix(f".pod.{DOMAIN}")
        if namespace == rest or namespace not in self._namespaces:
            return None
        for separator, kind in ((".", "A"), (":", "AAAA")):
            found = addresses_of([label.replace("-", separator)])
            if found:
                return {kind: (str(found[0]),)}
        return None


def _upwards(name: str) -> Iterator[str]:
    """The name and those above it, down from the zone's."""
    while name not in ZONES:
        yield name
        name = name.partition(".")[2]


def share(service: Service | None, slices: Iterable[EndpointSlice]) -> Share:
    """The names of a Service with these EndpointSlices."""
    if service is None:
        return {}
    base = f"{service.name}.{service.namespace}.svc.{DOMAIN}"
    if service.spec.type == "ExternalName":
        return {base: {"CNAME": (f"{service.spec.external_name.lower().rstrip('.')}.",)}}
    made = _Share()
    made.name(base)
    for address in cluster_addresses(service):
        made.address(base, address)
        made.add(_reverse(address), "PTR", f"{base}.")
        if (service.namespace, service.name) == NAME_SERVICE:
            made.address(NAME_SERVER, address)
    if not is_headless(service):
        for port in service.spec.ports:
            made.service_record(base, port.name, port.protocol, port.port, base)
    _add_endpoints(made, base, slices, is_headless(service))
    return made.share


def _add_endpoints(made: _Share, base: str, slices: Iterable[EndpointSlice], headless: bool) -> None:
    """The ready endpoints, each by a name of its own; of a headless Service they are what its name stands for."""
    for part in slices:
        for one in part.endpoints:
            for address in addresses_of(one.addresses[:1]) if one.ready else ():
                host = f"{one.hostname.lower() or dashed(address)}.{base}"
                made.address(host, address)
                made.add(_reverse(address), "PTR", f"{host}.")
                if headless:
                    made.address(base, address)
                    for port in part.ports:
                        made.service_record(base, port.name, port.protocol, port.port or 0, host)


class _Share:
    """Names that are being gathered."""

    def __init__(self) -> None:
        self._names: dict[str, dict[str, dict[str, None]]] = {}

    def name(self, name: str) -> None:
        self._names.setdefault(name, {})

    def add(self, name: str, kind: str, text: str) -> None:
        self._names.setdefault(name, {}).setdefault(kind, {})[text] = None

    def address(self, name: str, address: IPAddress) -> None:
        self.add(name, "A" if address.version == 4 else "AAAA", str(address))

    def service_record(self, base: str, port: str, protocol: str, number: int, target: str) -> None:
        if port:
            self.add(f"_{port}._{protocol.lower()}.{base}", "SRV", f"0 100 {number} {target}.")

    @property
    def share(self) -> Share:
        return {name: {kind: tuple(texts) for kind, texts in kinds.items()} for name, kinds in self._names.items()}


def _reverse(address: IPAddress) -> str:
    return address.reverse_pointer


def dashed(address: IPAddress) -> str:
    """An address as one label: `10-244-0-5`."""
    return str(address).replace(".", "-").replace(":", "-")


def lookup(zone: Zone, name: str, kind: str) -> Answer:
    """What the name server says to one question; `name` in any case, without the last dot."""
    name = name.lower()
    apex = next((one for one in ZONES if name == one or name.endswith(f".{one}")), "")
    if not apex:
        return Answer("REFUSED")
    if not zone.complete:
        return Answer("SERVFAIL")
    if name == apex and kind in ("SOA", "NS"):
        texts = (soa(zone, apex),) if kind == "SOA" else (f"{NAME_SERVER}.",)
        return Answer("NOERROR", ((name, kind, texts),), () if kind == "SOA" else _addresses(zone, NAME_SERVER))
    return _follow(zone, name, kind, apex, LONGEST_CHAIN)


def _follow(zone: Zone, name: str, kind: str, apex: str, steps: int) -> Answer:
    records = zone.records(name)
    if records is None:
        return Answer("NOERROR" if zone.exists(name) else "NXDOMAIN", negative=apex)
    if "CNAME" in records and kind != "CNAME":
        alias = (name, "CNAME", records["CNAME"])
        target = records["CNAME"][0].rstrip(".")
        if not target.endswith(f".{DOMAIN}"):
            return Answer("NOERROR", (alias,))
        if not steps:
            return Answer("SERVFAIL")
        followed = _follow(zone, target, kind, DOMAIN, steps - 1)
        return replace(followed, records=(alias, *followed.records))
    texts = records.get(kind, ())
    if not texts:
        return Answer("NOERROR", negative=apex)
    hosts = dict.fromkeys(text.rpartition(" ")[2].rstrip(".") for text in texts) if kind == "SRV" else ()
    return Answer("NOERROR", ((name, kind, texts),), tuple(one for host in hosts for one in _addresses(zone, host)))


def _addresses(zone: Zone, name: str) -> tuple[RecordSet, ...]:
    records = zone.records(name) or {}
    return tuple((name, kind, records[kind]) for kind in ("A", "AAAA") if kind in records)


def soa(zone: Zone, apex: str) -> str:
    """The SOA record of one of the zones."""
    return f"{NAME_SERVER}. hostmaster.{apex}. {zone.serial} 7200 1800 86400 {TTL}"
