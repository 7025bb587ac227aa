"""Packets made by hand, for what sockets do not send: borrowed addresses, protocols without sockets, strange heads."""

from __future__ import annotations

import fcntl
import socket
import struct
from collections.abc import Sequence

from gatewright.engine.addresses import IPAddress

_SIOCGIFHWADDR = 0x8927
ETHERNET = {4: 0x0800, 6: 0x86DD}


def ipv4(source: IPAddress, destination: IPAddress, protocol: int, payload: bytes, ttl: int = 64) -> bytes:
    """An IPv4 packet without options."""
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(payload), 1, 0, ttl, protocol, 0)
    head += source.packed + destination.packed
    return head[:10] + struct.pack(">H", checksum(head)) + head[12:] + payload


def ipv6(source: IPAddress, destination: IPAddress, protocol: int, payload: bytes, hop_limit: int = 64) -> bytes:
    """An IPv6 packet; `protocol` may be an extension header's, which then begins the payload."""
    return (
        struct.pack(">IHBB", 6 << 28, len(payload), protocol, hop_limit) + source.packed + destination.packed + payload
    )


def packet(source: IPAddress, destination: IPAddress, protocol: int, payload: bytes, hop_limit: int = 64) -> bytes:
    """An IP packet of the addresses' family."""
    make = ipv4 if source.version == 4 else ipv6
    return make(source, destination, protocol, payload, hop_limit)


def udp(source: IPAddress, destination: IPAddress, ports: tuple[int, int], payload: bytes = b"hello") -> bytes:
    """A UDP packet, with the checksum that IPv6 asks for."""
    head = struct.pack(">HHHH", *ports, 8 + len(payload), 0)
    summed = checksum(_pseudo(source, destination, 17, head + payload)) or 0xFFFF
    return packet(source, destination, 17, head[:6] + struct.pack(">H", summed) + payload)


def icmp6(source: IPAddress, destination: IPAddress, body: bytes, hop_limit: int = 64) -> bytes:
    """An ICMPv6 packet whose checksum field (bytes 2 and 3 of the body) is filled in."""
    summed = checksum(_pseudo(source, destination, 58, body))
    return ipv6(source, destination, 58, body[:2] + struct.pack(">H", summed) + body[4:], hop_limit)


def send(link: str, packets: Sequence[bytes], mac: bytes) -> None:
    """Puts packets on a link, to this hardware address, as they are. In the network namespace of the calling thread."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM) as out:
        for data in packets:
            out.sendto(data, (link, ETHERNET[data[0] >> 4], 0, 0, mac))


def mac_of(link: str) -> bytes:
    """The hardware address of a link in the network namespace of the calling thread."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        answer = fcntl.ioctl(any_socket, _SIOCGIFHWADDR, struct.pack("16s240x", link.encode()))
    return answer[18:24]


def checksum(data: bytes) -> int:
    """The internet checksum (RFC 1071)."""
    padded = data + bytes(len(data) % 2)
    total: int = sum(struct.unpack(f">{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total >> 16) + (total & 0xFFFF)
    return ~total & 0xFFFF


def _pseudo(source: IPAddress, destination: IPAddress, protocol: int, body: bytes) -> bytes:
    """The body with the addresses in front, which the checksum covers; numbers of four bytes add up the same."""
    return source.packed + destination.packed + struct.pack(">II", len(body), protocol) + body
