"""What the program's counters have counted, without listing anything else of it.

One question to the kernel, whose answer is as long as there are counters, however many elements the sets have. A
counter begins at nothing when its class or the table is made anew; readers such as Prometheus know that of counters.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from gatewright.kernel.errors import NetlinkFailed
from gatewright.kernel.netlink import NETLINK_NETFILTER, attribute, attributes, dump
from gatewright.kernel.options import Options

_GET_OBJECT = 10 << 8 | 19
_HEADER = struct.pack("=BBH", 1, 0, 0)
"""Of the family inet."""
_TABLE, _NAME, _TYPE, _DATA, _COUNTER = 1, 2, 3, 4, 1
_BYTES, _PACKETS = 1, 2


@dataclass(frozen=True, slots=True)
class Counted:
    """What one counter has counted."""

    packets: int
    bytes: int


def counts(table: str = Options().table) -> dict[str, Counted]:
    """The counters of our table by name (`denial.counter_name`); none, where the table is not there.

    Raises NotPermitted, NetlinkFailed.
    """
    question = attribute(_TABLE, table.encode() + b"\0") + attribute(_TYPE, struct.pack(">I", _COUNTER))
    try:
        answers = dump(NETLINK_NETFILTER, _GET_OBJECT, _HEADER + question)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise NetlinkFailed(f"counters cannot be read: {error.strerror}") from error
    return dict(_counter(attributes(answer[4:])) for answer in answers)


def _counter(item: dict[int, bytes]) -> tuple[str, Counted]:
    data = attributes(item[_DATA])
    packets, size = (int.from_bytes(data[kind], "big") for kind in (_PACKETS, _BYTES))
    return item[_NAME].rstrip(b"\0").decode(), Counted(packets, size)
