"""What can be reached from outside, as text and as a document: by workload and port, way by way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from gatewright.engine.addresses import ALL_ADDRESSES
from gatewright.engine.exposure import Exposure
from gatewright.engine.model import Endpoint, RuleOrigin
from gatewright.engine.verdict import Outcome, Reason, Side
from gatewright.engine.ways import Nowhere, Way
from gatewright.report.words import address_ranges

SCHEMA = "gatewright/exposure/v1"
MOST_NAMED = 4
"""Sources that a line of text names; the document has all."""


@dataclass(frozen=True, slots=True)
class Line:
    """An exposure under the name of its workload (`shop/web[Deployment]`), `at` gives the endpoint at a position."""

    workload: str
    exposure: Exposure
    at: Callable[[int], Endpoint]


def to_text(lines: list[Line], nowhere: tuple[Nowhere, ...]) -> str:
    """A block for every workload and port; at the end what leads nowhere."""
    blocks: dict[str, dict[str, None]] = {}
    for line in lines:
        one = line.exposure
        text = f"  {one.outcome}: {_way(one.way)}, from {_from(line)}: {_why(one.side)}{_hidden(one)}"
        blocks.setdefault(f"{line.workload} {one.way.protocol} {one.port}", {})[text] = None
    for lost in nowhere:
        where = f" ({lost.origin})" if lost.origin else ""
        blocks.setdefault("(nowhere)", {})[f"  {lost.holder}{where}, {lost.entry}: {lost.why}"] = None
    return "\n".join(f"{head}\n" + "".join(f"{text}\n" for text in texts) for head, texts in blocks.items())


def document(lines: list[Line], nowhere: tuple[Nowhere, ...]) -> dict[str, Any]:
    """A document of schema `gatewright/exposure/v1`."""
    return {
        "schema": SCHEMA,
        "exposures": [_item(line) for line in lines],
        "nowhere": [
            {"object": lost.holder, "entry": lost.entry, "why": lost.why, **_place(lost.origin)} for lost in nowhere
        ],
    }


def _way(way: Way) -> str:
    if way.entrance.proxied:
        return f"{way.holder} {way.entry} to {way.service}"
    return f"{way.entrance} {way.entry}" + (f" to {way.service}" if way.service else "")


def _from(line: Line) -> str:
    """Who opens the connection that the pod sees."""
    one = line.exposure
    if one.outcome is Outcome.DEPENDS:
        return f"{', '.join(_named(line))} only"
    if one.way.entrance.proxied:
        return "the ingress controller"
    return "any address outside"


def _hidden(one: Exposure) -> str:
    """What has to be said where the client's address decides, and may not be the one that the pod sees."""
    if one.outcome is Outcome.ALLOWED or not one.way.hides_client:
        return ""
    return "; a node's address may stand for the client's (externalTrafficPolicy Cluster)"


def _named(line: Line) -> Iterator[str]:
    one = line.exposure
    names = ["any address outside"] if one.addresses == ALL_ADDRESSES else address_ranges(one.addresses)
    names += [str(line.at(index)) for index in islice(one.pods, MOST_NAMED)]
    count = len(names) - min(MOST_NAMED, len(one.pods)) + len(one.pods)
    yield from names[:MOST_NAMED]
    if count > MOST_NAMED:
        yield f"{count - MOST_NAMED} more"


def _why(side: Side) -> str:
    if side.reason is Reason.RULE and side.rule:
        return f"by {side.rule.policy} {_field(side.rule)}"
    if side.reason is Reason.ISOLATED:
        policies = ", ".join(f"{one.policy}{_where(one)}" for one in side.policies)
        return f"isolated by {policies}, and no rule matches"
    return str(side.reason)


def _field(rule: RuleOrigin) -> str:
    return f"{rule.field}{_where(rule)}"


def _where(rule: RuleOrigin) -> str:
    return f" ({rule.where})" if rule.where else ""


def _item(line: Line) -> dict[str, Any]:
    one, way = line.exposure, line.exposure.way
    item: dict[str, Any] = {
        "workload": line.workload,
        "endpoint": str(one.endpoint),
        "protocol": way.protocol.value,
        "port": one.port,
        "through": way.entrance.value,
        "object": way.holder,
        "entry": way.entry,
        **({"service": way.service} if way.service else {}),
        **_place(way.origin),
        "hidesClient": way.hides_client,
        "outcome": one.outcome.value,
        "reason": one.side.reason.value,
        "policies": [policy.policy for policy in one.side.policies],
    }
    if one.side.rule:
        item["rule"] = {"policy": one.side.rule.policy, "field": one.side.rule.field, "where": one.side.rule.where}
    if one.outcome is Outcome.DEPENDS:
        item["from"] = {
            "external": address_ranges(one.addresses),
            "endpoints": [str(line.at(index)) for index in one.pods],
        }
    return item


def _place(origin: object) -> dict[str, str]:
    return {"where": str(origin)} if origin else {}
