"""The cluster's name server: dnspython on the wire, the zone file for answers. Runs as a pod like any other.

The zone file is replaced whole by the lab; every question looks whether it has changed. dnspython is imported with the
record types it would otherwise look for later, when the package is out of sight.
"""

from __future__ import annotations

import contextlib
import json
import selectors
import socket
import struct
from pathlib import Path

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rdtypes.ANY.CNAME
import dns.rdtypes.ANY.OPT
import dns.rdtypes.ANY.PTR
import dns.rdtypes.ANY.SOA
import dns.rdtypes.IN.A
import dns.rdtypes.IN.AAAA
import dns.rdtypes.IN.SRV
import dns.rrset

from gatewright.lab.zone import DOMAIN, SOA, TTL, ZONE_FILE, Zone, lookup

PORT = 53
_PLAIN_UDP, _MOST_CLIENTS = 512, 256


class ZoneFile:
    """The zone as its file says at the moment."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / ZONE_FILE
        self._seen = (0, 0)
        self._zone = Zone()
        self._existing = self._zone.existing()

    def current(self) -> tuple[Zone, frozenset[str]]:
        """The zone, and every name that exists in it."""
        with contextlib.suppress(OSError):
            status = self._path.stat()
            seen = (status.st_ino, status.st_mtime_ns)
            if seen != self._seen:
                self._zone = Zone(**json.loads(self._path.read_bytes()))
                self._existing = self._zone.existing()
                self._seen = seen
        return self._zone, self._existing


def respond(data: bytes, source: ZoneFile, *, udp: bool) -> bytes | None:
    """The answer to one query in wire form; None for what is no query."""
    try:
        query = dns.message.from_wire(data, ignore_trailing=True)
    except dns.exception.DNSException:
        return None
    if query.flags & dns.flags.QR or len(query.question) != 1 or query.opcode() != dns.opcode.QUERY:
        return None
    question = query.question[0]
    zone, existing = source.current()
    found = lookup(zone, existing, question.name.to_text(omit_final_dot=True), dns.rdatatype.to_text(question.rdtype))
    response = dns.message.make_response(query, recursion_available=True)
    response.set_rcode(dns.rcode.from_text(found.code))
    if found.code != "REFUSED":
        response.flags |= dns.flags.AA
    for name, kind, text in found.records:
        kind_number = dns.rdatatype.from_text(kind)
        owner = question.name if name == question.name.to_text(True).lower() else dns.name.from_text(name)
        rrset = response.find_rrset(response.answer, owner, dns.rdataclass.IN, kind_number, create=True)
        rrset.add(dns.rdata.from_text("IN", kind, text), TTL)
    if found.negative:
        response.authority.append(dns.rrset.from_text(f"{DOMAIN}.", TTL, "IN", "SOA", SOA))
    limit = max(_PLAIN_UDP, query.payload) if udp else 65535
    try:
        return response.to_wire(max_size=limit)
    except dns.exception.TooBig:
        short = dns.message.make_response(query, recursion_available=True)
        short.flags |= dns.flags.AA | dns.flags.TC
        return short.to_wire()


def serve(directory: Path) -> None:
    """Answer on port 53, UDP and TCP, for ever."""
    source = ZoneFile(directory)
    selector = selectors.DefaultSelector()
    datagrams, listener = _bound(socket.SOCK_DGRAM), _bound(socket.SOCK_STREAM)
    listener.listen(128)
    for one in (datagrams, listener):
        selector.register(one, selectors.EVENT_READ)
    clients: dict[socket.socket, bytearray] = {}
    while True:
        for key, _ in selector.select():
            handle = key.fileobj
            assert isinstance(handle, socket.socket)
            with contextlib.suppress(OSError):
                if handle is datagrams:
                    data, sender = datagrams.recvfrom(65535)
                    if answer := respond(data, source, udp=True):
                        datagrams.sendto(answer, sender)
                elif handle is listener:
                    connection, _ = listener.accept()
                    connection.settimeout(1)
                    if len(clients) >= _MOST_CLIENTS:
                        oldest = next(iter(clients))
                        _drop(oldest, clients, selector)
                    clients[connection] = bytearray()
                    selector.register(connection, selectors.EVENT_READ)
                elif not _converse(handle, clients[handle], source):
                    _drop(handle, clients, selector)


def _converse(connection: socket.socket, heard: bytearray, source: ZoneFile) -> bool:
    """Read what a TCP client says and answer what is complete; whether it stays (RFC 1035, 4.2.2)."""
    try:
        data = connection.recv(65537)
        heard += data
        while len(heard) >= 2 and len(heard) >= 2 + (length := struct.unpack_from("!H", heard)[0]):
            answer = respond(bytes(heard[2 : 2 + length]), source, udp=False)
            del heard[: 2 + length]
            if answer is None:
                return False
            connection.sendall(struct.pack("!H", len(answer)) + answer)
    except OSError:
        return False
    return bool(data)


def _drop(connection: socket.socket, clients: dict[socket.socket, bytearray], selector: selectors.BaseSelector) -> None:
    selector.unregister(connection)
    del clients[connection]
    connection.close()


def _bound(kind: socket.SocketKind) -> socket.socket:
    try:
        bound = socket.socket(socket.AF_INET6, kind)
        bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        everywhere = "::"
    except OSError:
        bound = socket.socket(socket.AF_INET, kind)
        everywhere = "0.0.0.0"
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind((everywhere, PORT))
    return bound
