"""Tables, as `kubectl get` asks for them: the columns of each kind, and the cells of an object."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

Tree = dict[str, Any]
NONE = "<none>"
UNKNOWN = "<unknown>"


@dataclass(frozen=True, slots=True)
class Column:
    """One column; priority 1 is shown with `-o wide` alone."""

    name: str
    cell: Callable[[Tree], Any]
    priority: int = 0
    type: str = "string"
    format: str = ""

    def definition(self) -> Tree:
        """As a Table has it."""
        return {
            "name": self.name,
            "type": self.type,
            "format": self.format,
            "description": "",
            "priority": self.priority,
        }


def definitions(kind: str) -> list[Tree]:
    """The columnDefinitions of a kind."""
    return [column.definition() for column in _columns(kind)]


def cells(kind: str, tree: Tree) -> list[Any]:
    """An object's row."""
    return [column.cell(tree) for column in _columns(kind)]


def _columns(kind: str) -> tuple[Column, ...]:
    return COLUMNS.get(kind, _PLAIN)


def age(then: str | None, now: datetime | None = None) -> str:
    """How long ago a time is, as kubectl says it: `12s`, `3m5s`, `4h`, `2d3h`, `400d`."""
    moment = moment_of(then)
    if moment is None:
        return UNKNOWN
    return duration(int(((now or datetime.now(UTC)) - moment).total_seconds()))


def moment_of(text: str | None) -> datetime | None:
    """The time of an object's field; None where there is none."""
    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00")) if text else None
    except ValueError:
        return None


def duration(seconds: int) -> str:
    """Seconds as kubectl says them (apimachinery, util/duration HumanDuration)."""
    seconds = max(seconds, 0)
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if seconds < 120:
        return f"{seconds}s"
    if minutes < 10:
        return _two(minutes, "m", seconds % 60, "s")
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return _two(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    if hours < 192:
        return _two(days, "d", hours % 24, "h")
    if days < 730:
        return f"{days}d"
    return _two(days // 365, "y", days % 365, "d") if days < 2920 else f"{days // 365}y"


def _two(large: int, unit: str, small: int, smaller: str) -> str:
    return f"{large}{unit}{small}{smaller}" if small else f"{large}{unit}"


def _at(tree: Any, *path: str | int) -> Any:
    for part in path:
        if isinstance(tree, dict):
            tree = tree.get(part)
        elif isinstance(tree, list) and isinstance(part, int) and part < len(tree):
            tree = tree[part]
        else:
            return None
    return tree


def _text(*path: str | int, otherwise: str = NONE) -> Callable[[Tree], Any]:
    return lambda tree: str(_at(tree, *path) or otherwise)


def _count(*path: str) -> Callable[[Tree], Any]:
    return lambda tree: _at(tree, *path) or 0


def _age(tree: Tree) -> str:
    return age(_at(tree, "metadata", "creationTimestamp"))


def selector_text(selector: Any) -> str:
    """A label selector, or a map of labels, as kubectl prints it."""
    selector = selector or {}
    labels = (
        selector
        if "matchLabels" not in selector and "matchExpressions" not in selector
        else selector.get("matchLabels")
    )
    parts = [f"{key}={value}" for key, value in sorted((labels or {}).items())]
    for one in selector.get("matchExpressions") or () if isinstance(selector, dict) else ():
        key, operator, values = one.get("key"), one.get("operator"), ",".join(one.get("values") or ())
        words = {"In": f"{key} in ({values})", "NotIn": f"{key} notin ({values})", "Exists": f"{key}"}
        parts.append(words.get(str(operator), f"!{key}"))
    return ",".join(parts) or NONE


def _selector(*path: str) -> Callable[[Tree], Any]:
    return lambda tree: selector_text(_at(tree, *path))


def _containers(what: str, *path: str) -> Callable[[Tree], Any]:
    return lambda tree: ",".join(str(one.get(what, "")) for one in _at(tree, *path, "containers") or ())


def _pod_ready(tree: Tree) -> str:
    statuses = _at(tree, "status", "containerStatuses") or ()
    ready = sum(1 for one in statuses if one.get("ready"))
    return f"{ready}/{len(_at(tree, 'spec', 'containers') or ())}"


def _pod_status(tree: Tree) -> str:
    reason = _at(tree, "status", "reason") or _at(tree, "status", "phase") or ""
    for status in reversed(_at(tree, "status", "containerStatuses") or []):
        state = status.get("state") or {}
        if waiting := _at(state, "waiting", "reason"):
            reason = waiting
        elif ended := state.get("terminated"):
            reason = ended.get("reason") or f"ExitCode:{ended.get('exitCode', 0)}"
    return "Terminating" if _at(tree, "metadata", "deletionTimestamp") else str(reason)


def _restarts(tree: Tree) -> str:
    statuses = _at(tree, "status", "containerStatuses") or ()
    total = sum(one.get("restartCount", 0) for one in statuses)
    ends = [_at(one, "lastState", "terminated", "finishedAt") for one in statuses]
    last = max((end for end in ends if end), default=None)
    return f"{total} ({age(last)} ago)" if total and last else str(total)


def _gates(tree: Tree) -> str:
    gates = _at(tree, "spec", "readinessGates") or ()
    true = {one.get("type") for one in _at(tree, "status", "conditions") or () if one.get("status") == "True"}
    return f"{sum(1 for one in gates if one.get('conditionType') in true)}/{len(gates)}" if gates else NONE


def _service_address(tree: Tree) -> str:
    kind = _at(tree, "spec", "type")
    if kind == "ExternalName":
        return str(_at(tree, "spec", "externalName"))
    given = [one.get("ip") or one.get("hostname", "") for one in _at(tree, "status", "loadBalancer", "ingress") or ()]
    given += _at(tree, "spec", "externalIPs") or []
    return ",".join(given) or ("<pending>" if kind == "LoadBalancer" else NONE)


def _service_ports(tree: Tree) -> str:
    shown = []
    for port in _at(tree, "spec", "ports") or ():
        node = f":{port['nodePort']}" if port.get("nodePort") else ""
        shown.append(f"{port.get('port')}{node}/{port.get('protocol')}")
    return ",".join(shown) or NONE


def _ready_of(wanted: str, *path: str) -> Callable[[Tree], Any]:
    return lambda tree: f"{_at(tree, 'status', *path) or 0}/{_at(tree, 'spec', wanted) or 0}"


def _node_status(tree: Tree) -> str:
    conditions = {one.get("type"): one.get("status") for one in _at(tree, "status", "conditions") or ()}
    ready = {"True": "Ready", None: "Unknown"}.get(conditions.get("Ready"), "NotReady")
    return ready + (",SchedulingDisabled" if _at(tree, "spec", "unschedulable") else "")


def _node_roles(tree: Tree) -> str:
    prefix = "node-role.kubernetes.io/"
    labels = _at(tree, "metadata", "labels") or {}
    return ",".join(sorted(key.removeprefix(prefix) for key in labels if key.startswith(prefix))) or NONE


def _node_address(kind: str) -> Callable[[Tree], Any]:
    return lambda tree: next(
        (one.get("address") for one in _at(tree, "status", "addresses") or () if one.get("type") == kind), NONE
    )


def _endpoints(tree: Tree) -> str:
    found = [
        f"{address.get('ip')}:{port.get('port')}"
        for subset in _at(tree, "subsets") or ()
        for address in subset.get("addresses") or ()
        for port in subset.get("ports") or ()
    ]
    return _some(found)


def _slice_ports(tree: Tree) -> str:
    ports = [str(one.get("port", "*")) for one in tree.get("ports") or ()]
    return _some(ports, "<unset>")


def _slice_endpoints(tree: Tree) -> str:
    return _some([address for one in tree.get("endpoints") or () for address in one.get("addresses") or ()], "<unset>")


def _some(values: list[str], otherwise: str = NONE) -> str:
    """At most three of them."""
    more = f" + {len(values) - 3} more..." if len(values) > 3 else ""
    return ",".join(values[:3]) + more or otherwise


def _hosts(tree: Tree) -> str:
    return _some([one["host"] for one in _at(tree, "spec", "rules") or () if one.get("host")], "*")


def _ingress_address(tree: Tree) -> str:
    found = _at(tree, "status", "loadBalancer", "ingress") or ()
    return ",".join(one.get("ip") or one.get("hostname", "") for one in found)


def _job_status(tree: Tree) -> str:
    true = {one.get("type") for one in _at(tree, "status", "conditions") or () if one.get("status") == "True"}
    for condition in ("Complete", "Failed", "Suspended"):
        if condition in true:
            return condition
    return "Terminating" if _at(tree, "metadata", "deletionTimestamp") else "Running"


def _job_duration(tree: Tree) -> str:
    begin, end = (moment_of(_at(tree, "status", name)) for name in ("startTime", "completionTime"))
    if begin is None:
        return ""
    return duration(int(((end or datetime.now(UTC)) - begin).total_seconds()))


def _controller(tree: Tree) -> str:
    """Its controller, as a real server prints it: `daemonset.apps/agent`."""
    for owner in _at(tree, "metadata", "ownerReferences") or ():
        if owner.get("controller"):
            group = str(owner.get("apiVersion", "")).rpartition("/")[0]
            kind = str(owner.get("kind", "")).lower()
            return f"{kind}.{group}/{owner.get('name')}" if group else f"{kind}/{owner.get('name')}"
    return NONE


def _data(tree: Tree) -> str:
    return str(len(tree.get("data") or {}) + len(tree.get("binaryData") or {}))


def _event_age(tree: Tree) -> str:
    return age(tree.get("lastTimestamp") or tree.get("eventTime") or _at(tree, "metadata", "creationTimestamp"))


def _event_object(tree: Tree) -> str:
    about = tree.get("involvedObject") or {}
    return f"{str(about.get('kind', '')).lower()}/{about.get('name', '')}"


_NAME = Column("Name", _text("metadata", "name", otherwise=""), format="name")
_AGE = Column("Age", _age)
_PLAIN = (_NAME, _AGE)
_TEMPLATE = (
    Column("Containers", _containers("name", "spec", "template", "spec"), 1),
    Column("Images", _containers("image", "spec", "template", "spec"), 1),
)
_SELECTS = Column("Selector", _selector("spec", "selector"), 1)
_DATE = Column("Age", lambda tree: _at(tree, "metadata", "creationTimestamp"), type="date")

COLUMNS: dict[str, tuple[Column, ...]] = {
    "Pod": (
        _NAME,
        Column("Ready", _pod_ready),
        Column("Status", _pod_status),
        Column("Restarts", _restarts),
        _AGE,
        Column("IP", _text("status", "podIP"), 1),
        Column("Node", _text("spec", "nodeName"), 1),
        Column("Nominated Node", _text("status", "nominatedNodeName"), 1),
        Column("Readiness Gates", _gates, 1),
    ),
    "Service": (
        _NAME,
        Column("Type", _text("spec", "type")),
        Column("Cluster-IP", _text("spec", "clusterIP")),
        Column("External-IP", _service_address),
        Column("Port(s)", _service_ports),
        _AGE,
        Column("Selector", _selector("spec", "selector"), 1),
    ),
    "Deployment": (
        _NAME,
        Column("Ready", _ready_of("replicas", "readyReplicas")),
        Column("Up-to-date", _count("status", "updatedReplicas")),
        Column("Available", _count("status", "availableReplicas")),
        *(_AGE, *_TEMPLATE, _SELECTS),
    ),
    "ReplicaSet": (
        _NAME,
        Column("Desired", _count("spec", "replicas"), type="integer"),
        Column("Current", _count("status", "replicas"), type="integer"),
        Column("Ready", _count("status", "readyReplicas"), type="integer"),
        *(_AGE, *_TEMPLATE, _SELECTS),
    ),
    "ControllerRevision": (
        _NAME,
        Column("Controller", _controller),
        Column("Revision", _count("revision"), type="integer"),
        _AGE,
    ),
    "StatefulSet": (_NAME, Column("Ready", _ready_of("replicas", "readyReplicas")), _AGE, *_TEMPLATE),
    "DaemonSet": (
        _NAME,
        Column("Desired", _count("status", "desiredNumberScheduled"), type="integer"),
        Column("Current", _count("status", "currentNumberScheduled"), type="integer"),
        Column("Ready", _count("status", "numberReady"), type="integer"),
        Column("Up-to-date", _count("status", "updatedNumberScheduled"), type="integer"),
        Column("Available", _count("status", "numberAvailable"), type="integer"),
        Column("Node Selector", _selector("spec", "template", "spec", "nodeSelector")),
        *(_AGE, *_TEMPLATE, _SELECTS),
    ),
    "Job": (
        _NAME,
        Column("Status", _job_status),
        Column("Completions", _ready_of("completions", "succeeded")),
        Column("Duration", _job_duration),
        *(_AGE, *_TEMPLATE, _SELECTS),
    ),
    "CronJob": (
        _NAME,
        Column("Schedule", _text("spec", "schedule")),
        Column("Timezone", _text("spec", "timeZone")),
        Column("Suspend", lambda tree: bool(_at(tree, "spec", "suspend")), type="boolean"),
        Column("Active", lambda tree: len(_at(tree, "status", "active") or ()), type="integer"),
        Column("Last Schedule", lambda tree: age(last) if (last := _at(tree, "status", "lastScheduleTime")) else NONE),
        _AGE,
        Column("Containers", _containers("name", "spec", "jobTemplate", "spec", "template", "spec"), 1),
        Column("Images", _containers("image", "spec", "jobTemplate", "spec", "template", "spec"), 1),
        Column("Selector", _selector("spec", "jobTemplate", "spec", "selector"), 1),
    ),
    "Namespace": (_NAME, Column("Status", _text("status", "phase", otherwise="")), _AGE),
    "Node": (
        _NAME,
        Column("Status", _node_status),
        Column("Roles", _node_roles),
        _AGE,
        Column("Version", _text("status", "nodeInfo", "kubeletVersion", otherwise="")),
        Column("Internal-IP", _node_address("InternalIP"), 1),
        Column("External-IP", _node_address("ExternalIP"), 1),
        Column("OS-Image", _text("status", "nodeInfo", "osImage", otherwise=UNKNOWN), 1),
        Column("Kernel-Version", _text("status", "nodeInfo", "kernelVersion", otherwise=UNKNOWN), 1),
        Column("Container-Runtime", _text("status", "nodeInfo", "containerRuntimeVersion", otherwise=UNKNOWN), 1),
    ),
    "Endpoints": (_NAME, Column("Endpoints", _endpoints), _AGE),
    "EndpointSlice": (
        _NAME,
        Column("AddressType", _text("addressType")),
        Column("Ports", _slice_ports),
        Column("Endpoints", _slice_endpoints),
        _AGE,
    ),
    "Ingress": (
        _NAME,
        Column("Class", _text("spec", "ingressClassName")),
        Column("Hosts", _hosts),
        Column("Address", _ingress_address),
        Column("Ports", lambda tree: "80, 443" if _at(tree, "spec", "tls") else "80"),
        _AGE,
    ),
    "ConfigMap": (_NAME, Column("Data", _data), _AGE),
    "Secret": (_NAME, Column("Type", _text("type")), Column("Data", _data), _AGE),
    "ServiceAccount": (_NAME, _AGE),
    "Lease": (_NAME, Column("Holder", _text("spec", "holderIdentity", otherwise="")), _AGE),
    "Event": (
        Column("Last Seen", _event_age),
        Column("Type", _text("type", otherwise="")),
        Column("Reason", _text("reason", otherwise="")),
        Column("Object", _event_object),
        Column("Subobject", _text("involvedObject", "fieldPath", otherwise=""), 1),
        Column("Source", _text("source", "component", otherwise=""), 1),
        Column("Message", lambda tree: str(tree.get("message", "")).strip()),
        Column(
            "First Seen", lambda tree: age(tree.get("firstTimestamp") or _at(tree, "metadata", "creationTimestamp")), 1
        ),
        Column("Count", lambda tree: str(tree.get("count") or 1), 1),
        Column("Name", _text("metadata", "name", otherwise=""), 1, format="name"),
    ),
    "NetworkPolicy": (_NAME, Column("Pod-Selector", _selector("spec", "podSelector")), _AGE),
    "ClusterNetworkPolicy": (
        _NAME,
        Column("Tier", _text("spec", "tier", otherwise="")),
        Column("Priority", _text("spec", "priority", otherwise="0")),
        _DATE,
    ),
    "AdminNetworkPolicy": (_NAME, Column("Priority", _text("spec", "priority", otherwise="0")), _DATE),
    "BaselineAdminNetworkPolicy": (_NAME, _DATE),
}
