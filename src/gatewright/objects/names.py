"""The rules for names, labels, ports and CIDRs, in the API server's own words.

Each function takes a value and returns what is wrong with it: empty when it is right. The texts are the API server's
(apimachinery `validation`), so that what a user reads here is what a cluster would say.
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache

_SUBDOMAIN = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
_LABEL_1123 = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_NAME_PART = r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_VALUE = r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?"
_NAME_EXAMPLES = f"(e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '{_NAME_PART}')"
_NAME_RULE = f"must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character {_NAME_EXAMPLES}"  # noqa: E501
_SUBDOMAIN_RULE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    f"end with an alphanumeric character (e.g. 'example.com', regex used for validation is '{_SUBDOMAIN}')"
)
_LABEL_1123_RULE = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with "
    f"an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '{_LABEL_1123}')"
)
_VALUE_RULE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and "
    f"end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '{_VALUE}')"  # noqa: E501
)
PORT_RANGE_RULE = "must be between 1 and 65535, inclusive"
CIDR_RULE = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"

_BYTE = "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IPV4 = re.compile(rf"{_BYTE}(\.{_BYTE}){{3}}", re.ASCII)


def _full(pattern: str, text: str) -> bool:
    return re.fullmatch(pattern, text, re.ASCII) is not None


def subdomain_faults(name: str) -> list[str]:
    """RFC 1123 subdomain: what most object names must be."""
    faults = [] if len(name) <= 253 else ["must be no more than 253 characters"]
    return faults if _full(_SUBDOMAIN, name) else [*faults, _SUBDOMAIN_RULE]


def dns_label_faults(name: str) -> list[str]:
    """RFC 1123 label: what namespace names must be."""
    faults = [] if len(name) <= 63 else ["must be no more than 63 characters"]
    return faults if _full(_LABEL_1123, name) else [*faults, _LABEL_1123_RULE]


@lru_cache(maxsize=16384)
def label_key_faults(key: str) -> tuple[str, ...]:
    """A label key: an optional DNS prefix, a slash, a name."""
    parts = key.split("/")
    if len(parts) > 2:
        rule = _NAME_RULE + " with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
        return (f"a valid label key {rule}",)
    faults = []
    if len(parts) == 2:
        prefix = parts[0]
        faults += [f"prefix part {fault}" for fault in subdomain_faults(prefix)] if prefix else []
        faults += [] if prefix else ["prefix part must be non-empty"]
    name = parts[-1]
    if not name:
        faults.append("name part must be non-empty")
    elif len(name.encode()) > 63:
        faults.append("name part must be no more than 63 bytes")
    if not _full(_NAME_PART, name):
        faults.append(f"name part {_NAME_RULE}")
    return tuple(faults)


@lru_cache(maxsize=16384)
def label_value_faults(value: str) -> tuple[str, ...]:
    """A label value: at most 63 bytes, empty or a name."""
    faults = [] if len(value.encode()) <= 63 else ["must be no more than 63 bytes"]
    return tuple(faults if _full(_VALUE, value) else [*faults, _VALUE_RULE])


def port_name_faults(name: str) -> list[str]:
    """RFC 6335 service name, as container ports and named ports must be."""
    faults = [] if len(name) <= 15 else ["must be no more than 15 characters"]
    if not _full(r"[-a-z0-9]+", name):
        faults.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not re.search("[a-z]", name):
        faults.append("must contain at least one letter (a-z)")
    if "--" in name:
        faults.append("must not contain consecutive hyphens")
    if name.startswith("-") or name.endswith("-"):
        faults.append("must not begin or end with a hyphen")
    return faults


def is_address(text: str) -> bool:
    """An address of either family, without a zone: one that means the same on every machine."""
    if _IPV4.fullmatch(text):
        return True
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return "%" not in text


def cidr_faults(cidr: str) -> list[str]:
    """A CIDR of either family, host bits allowed, no leading zeros."""
    address, slash, prefix = cidr.partition("/")
    if not slash or "%" in address or not _full("[0-9]+", prefix):
        return [CIDR_RULE]
    try:
        ipaddress.ip_network(f"{_strip_zeros(address)}/{int(prefix)}", strict=False)
    except ValueError:
        return [CIDR_RULE]
    if _strip_zeros(address) != address or str(int(prefix)) != prefix:
        return ["must not have leading 0s in IP or prefix length"]
    return []


def _strip_zeros(address: str) -> str:
    if ":" in address:
        return address
    return ".".join(str(int(part)) if _full("[0-9]+", part) else part for part in address.split("."))
