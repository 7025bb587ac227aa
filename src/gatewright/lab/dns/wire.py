"""One query in wire form to its answer in wire form. Pure: dnspython on both sides, the zone between.

dnspython is imported with the record types it would otherwise look for later, when the package may be out of sight.
"""

from __future__ import annotations

import random
from functools import lru_cache

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
import dns.rdtypes.ANY.NS
import dns.rdtypes.ANY.OPT
import dns.rdtypes.ANY.PTR
import dns.rdtypes.ANY.SOA
import dns.rdtypes.ANY.TXT
import dns.rdtypes.IN.A
import dns.rdtypes.IN.AAAA
import dns.rdtypes.IN.SRV
import dns.rrset

from gatewright.lab.dns.zone import TTL, Answer, RecordSet, Zone, lookup, soa

PLAIN_UDP = 512
"""Bytes of an answer by UDP to who names no size (RFC 1035, 4.2.1)."""
LONGEST = 65535
_HEADER = 12


def answer(data: bytes, zone: Zone, *, udp: bool = True) -> bytes | None:
    """The answer to one query; None for what is none. What does not fit into a UDP answer is said to be cut off."""
    try:
        query = dns.message.from_wire(data, ignore_trailing=True)
    except dns.exception.DNSException:
        return _malformed(data)
    if query.flags & dns.flags.QR:
        return None
    response = dns.message.make_response(query, recursion_available=True)
    if query.opcode() != dns.opcode.QUERY:
        response.set_rcode(dns.rcode.NOTIMP)
    elif len(query.question) != 1:
        response.set_rcode(dns.rcode.FORMERR)
    elif query.question[0].rdclass != dns.rdataclass.IN:
        response.set_rcode(dns.rcode.REFUSED)
    else:
        _fill(response, zone)
    try:
        return response.to_wire(max_size=max(PLAIN_UDP, query.payload) if udp else LONGEST)
    except dns.exception.TooBig:
        return _cut_off(query)


def _malformed(data: bytes) -> bytes | None:
    """FORMERR to what at least begins as a query does."""
    if len(data) < _HEADER or data[2] & 0x80:
        return None
    return data[:2] + bytes([0x80 | data[2] & 0x79, 0x80 | dns.rcode.FORMERR]) + bytes(8)


def _fill(response: dns.message.Message, zone: Zone) -> None:
    question = response.question[0]
    asked = question.name.to_text(omit_final_dot=True).lower()
    found = lookup(zone, asked, dns.rdatatype.to_text(question.rdtype))
    response.set_rcode(dns.rcode.from_text(found.code))
    if found.code in ("NOERROR", "NXDOMAIN"):
        response.flags |= dns.flags.AA
    _add(response, found, asked, zone)


def _add(response: dns.message.Message, found: Answer, asked: str, zone: Zone) -> None:
    name = response.question[0].name
    response.answer += [_rrset(name if one[0] == asked else _name(one[0]), one) for one in found.records]
    response.additional += [_rrset(_name(one[0]), one) for one in found.additional]
    if found.negative:
        authority = (found.negative, "SOA", (soa(zone, found.negative),))
        response.authority.append(_rrset(_name(found.negative), authority))


def _rrset(name: dns.name.Name, records: RecordSet) -> dns.rrset.RRset:
    """The records of one name and type, in another order every time: clients take the first."""
    kind = dns.rdatatype.from_text(records[1])
    made = dns.rrset.RRset(name, dns.rdataclass.IN, kind)
    for text in random.sample(records[2], len(records[2])):
        made.add(_rdata(kind, text), TTL)
    return made


@lru_cache(maxsize=8192)
def _rdata(kind: dns.rdatatype.RdataType, text: str) -> dns.rdata.Rdata:
    return dns.rdata.from_text(dns.rdataclass.IN, kind, text)


@lru_cache(maxsize=8192)
def _name(text: str) -> dns.name.Name:
    return dns.name.from_text(text)


def _cut_off(query: dns.message.Message) -> bytes:
    """The client asks again by TCP."""
    short = dns.message.make_response(query, recursion_available=True)
    short.flags |= dns.flags.AA | dns.flags.TC
    return short.to_wire()
