"""How a lab's state reads on a terminal: tables as `kubectl get` prints them, and what has to be said plainly. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Json = Mapping[str, Any]


def table(rows: Iterable[Sequence[str]]) -> str:
    """Columns of equal width, three spaces apart; the first row is the heading."""
    lines = [tuple(row) for row in rows]
    if not lines:
        return ""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "   ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def enforcement_line(state: Json) -> str:
    """Whether policies are in force, in one line."""
    count = len(state["policies"])
    noun = "NetworkPolicy" if count == 1 else "NetworkPolicies"
    if state["enforces"]:
        return f"{count} {noun} enforced: network '{state['network']}'"
    if not count:
        return f"no policy would be enforced: network '{state['network']}' has no policy support"
    return f"{count} {noun} accepted, NOT enforced: network '{state['network']}' has no policy support"


def status_text(name: str, state: Json, namespace: str | None = None) -> str:
    """The whole of `lab status`."""
    wanted = [one for one in state["pods"] if namespace in (None, one["namespace"])]
    services = [one for one in state["services"] if namespace in (None, one["namespace"])]
    policies = [one for one in state["policies"] if namespace in (None, one.partition("/")[0])]
    outside, ranges = ", ".join(state["outsideAddresses"]), ", ".join(state["podCIDRs"])
    parts = [
        f"Lab {name}: {enforcement_line(state)}",
        f"outside {outside}; pods {ranges}; kubeconfig {state['kubeconfig']}",
        "",
        table([_NODE_HEADING, *(_node_row(one) for one in state["nodes"])]),
        "",
        table([_POD_HEADING, *(_pod_row(one) for one in wanted)]),
        "",
        table([_SERVICE_HEADING, *(_service_row(one) for one in services)]),
    ]
    if policies:
        parts += ["", table([("NETWORKPOLICY", "ENFORCED"), *((one, _yes(state["enforces"])) for one in policies)])]
    notes = [f"{one['namespace']}/{one['name']}: {note}" for one in wanted for note in one["notes"]]
    notes += [f"node {one['name']}: {problem}" for one in state["nodes"] for problem in one["agentProblems"]]
    restarted = [one for one in state["components"] if one["restarts"]]
    notes += [f"{one['name']} was started again {_times(one['restarts'])}{_when(one)}" for one in restarted]
    if notes:
        parts += ["", *(f"Note: {line}" for line in notes)]
    return "\n".join(parts)


def _when(component: Json) -> str:
    again = component.get("againIn")
    return "" if again is None else f"; it is down, and is tried again in {again} s"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


_NODE_HEADING = ("NODE", "STATE", "READY", "ADDRESSES", "POD CIDRS", "AGENT")
_POD_HEADING = ("NAMESPACE", "POD", "READY", "STATUS", "RESTARTS", "IP", "NODE", "RUNS")
_SERVICE_HEADING = ("NAMESPACE", "SERVICE", "TYPE", "CLUSTER-IP", "PORT(S)", "BACKENDS")


def _node_row(node: Json) -> tuple[str, ...]:
    return (
        node["name"],
        node["state"],
        "yes" if node["ready"] else "no",
        ",".join(node["addresses"]),
        ",".join(node["podCIDRs"]) or "-",
        node["agent"] or "none",
    )


def _pod_row(pod: Json) -> tuple[str, ...]:
    return (
        pod["namespace"],
        pod["name"],
        pod["ready"],
        pod["status"],
        str(pod["restarts"]),
        ",".join(pod["addresses"]) or "-",
        pod["node"] or "-",
        pod["runs"] or "-",
    )


def _service_row(service: Json) -> tuple[str, ...]:
    addresses = ",".join(service["addresses"]) or (service["externalName"] or "None")
    ports = ",".join(
        f"{port['port']}{':' + str(port['nodePort']) if port['nodePort'] else ''}/{port['protocol']}"
        for port in service["ports"]
    )
    return (
        service["namespace"],
        service["name"],
        service["type"],
        addresses,
        ports or "-",
        str(len(service["backends"])),
    )


def _yes(value: bool) -> str:
    return "yes" if value else "NO"
