"""How a model file names pods and addresses: labels, selectors, workloads, Services, namespaces, CIDRs."""

from __future__ import annotations

from gatewright.engine.addresses import AddressSet, block_range
from gatewright.engine.selectors import OPERATORS
from gatewright.engine.targets import KIND_NAMES, SERVICE
from gatewright.intent.fields import Node
from gatewright.intent.model import PodsOf
from gatewright.objects.meta import LabelSelector, LabelSelectorRequirement
from gatewright.objects.names import cidr_faults, dns_label_faults, label_key_faults, label_value_faults
from gatewright.objects.policy import IPBlock

POD_FIELDS = ("labels", "selector", "workload", "service", "namespace", "namespaceSelector")
ANYWHERE = "anywhere"
WORKLOADS = sorted(set(KIND_NAMES.values()) - {"Pod", SERVICE, "Ingress"})


def read_pods(owner: Node, fields: dict[str, Node], namespace: str) -> PodsOf | None:
    """The pods that the fields of an entry name; None after noting why they name none.

    `namespace` is that of entries that do not name theirs.
    """
    given = [name for name in POD_FIELDS if name in fields]
    ways = [name for name in ("labels", "selector", "workload", "service") if name in fields]
    if not given:
        owner.fault("names no pods: give labels, a workload, a service or a namespace")
        return None
    if len(ways) > 1:
        fields[ways[1]].fault(f"{ways[0]} names the pods already; keep one of them")
        return None
    namespaces = read_selector(fields["namespaceSelector"]) if "namespaceSelector" in fields else None
    if "namespaceSelector" in fields and ("namespace" in fields or ways in (["workload"], ["service"])):
        other = "namespace" if "namespace" in fields else ways[0]
        fields["namespaceSelector"].fault(f"does not go with {other}; keep one of them")
        return None
    if "namespace" in fields:
        namespace = read_name(fields["namespace"], "the name of a namespace")
    if "namespaceSelector" in fields:
        namespace = ""
    if ways in (["workload"], ["service"]):
        kind, name = _owner(fields[ways[0]])
        return PodsOf(namespace, kind=kind, name=name) if name else None
    labels: LabelSelector | None = LabelSelector()
    if ways:
        node = fields[ways[0]]
        labels = read_selector(node) if ways == ["selector"] else _labels(node)
    return None if labels is None else PodsOf(namespace, namespaces, labels)


def read_name(node: Node, what: str) -> str:
    """A name as Kubernetes has them (RFC 1123 label)."""
    text = node.text(what)
    for fault in dns_label_faults(text)[:1] if text else ():
        node.fault(f"{text!r} is not a name: {fault}")
    return text


def read_selector(node: Node) -> LabelSelector | None:
    """A label selector with matchLabels and matchExpressions."""
    fields = node.fields(("matchLabels", "matchExpressions"), "a label selector")
    if not isinstance(node.value, dict):
        return None
    labels = _labels(fields["matchLabels"]) if "matchLabels" in fields else LabelSelector()
    expressions = [_expression(one) for one in _items(fields)]
    if labels is None or None in expressions:
        return None
    return LabelSelector(
        match_labels=labels.match_labels, match_expressions=tuple(one for one in expressions if one is not None)
    )


def read_blocks(node: Node) -> tuple[IPBlock, ...] | None:
    """Addresses: `anywhere` (no block at all), a CIDR, or a list of CIDRs and `{cidr, except}`; None after a fault."""
    if node.value == ANYWHERE:
        return ()
    if isinstance(node.value, str):
        block = _block(node)
        return (block,) if block else None
    blocks = [_block(one) for one in node.items("CIDRs")]
    if not blocks and isinstance(node.value, list):
        node.fault(f"holds no address; write {ANYWHERE} for every address")
    found = tuple(block for block in blocks if block is not None)
    return found if found and len(found) == len(blocks) else None


def _owner(node: Node) -> tuple[str, str]:
    """(kind, name) of a workload (`deploy/web`) or Service (`web`, `svc/web`)."""
    service = node.path.endswith(".service")
    text = node.text("the name of a Service" if service else "a workload, as deploy/web")
    kind_text, slash, name = text.rpartition("/")
    kind = KIND_NAMES.get(kind_text.lower(), "") if slash else SERVICE if service else ""
    if text and (not name or (kind != SERVICE if service else kind not in WORKLOADS)):
        node.fault(f"{text!r} is not a {'Service' if service else 'workload; write its kind too: deploy/web, sts/db'}")
        return "", ""
    return kind, name


def _labels(node: Node) -> LabelSelector | None:
    labels: dict[str, str] = {}
    children = node.children("a mapping of labels")
    for key, child in children.items():
        value = "" if child.value == "" else child.text("the value of a label")
        faults = [*label_key_faults(key), *label_value_faults(value)]
        for fault in faults[:1]:
            child.fault(f"not a label: {fault}")
        if not faults and isinstance(child.value, str):
            labels[key] = value
    if not children:
        if isinstance(node.value, dict):
            node.fault("holds no label; leave it out to mean every pod of a namespace")
        return None
    return LabelSelector(match_labels=labels) if len(labels) == len(children) else None


def _items(fields: dict[str, Node]) -> list[Node]:
    return list(fields["matchExpressions"].items("requirements")) if "matchExpressions" in fields else []


def _expression(node: Node) -> LabelSelectorRequirement | None:
    fields = node.fields(("key", "operator", "values"), "a requirement with key and operator")
    key = fields["key"].text("a label key") if "key" in fields else ""
    operator = fields["operator"].text("an operator") if "operator" in fields else ""
    values = (
        tuple(one.text("the value of a label") for one in fields["values"].items("values"))
        if ("values" in fields)
        else ()
    )
    if not key or label_key_faults(key):
        node.fault("key must be a label key")
    elif operator not in OPERATORS:
        node.fault(f"operator must be one of {', '.join(OPERATORS)}")
    elif bool(values) != (operator in ("In", "NotIn")):
        node.fault(f"operator {operator} {'needs values' if not values else 'takes no values'}")
    else:
        return LabelSelectorRequirement(key=key, operator=operator, values=values)
    return None


def _block(node: Node) -> IPBlock | None:
    if isinstance(node.value, str):
        return IPBlock(cidr=node.value) if _is_cidr(node) else None
    fields = node.fields(("cidr", "except"), "a CIDR, or a mapping with cidr and except")
    if "cidr" not in fields:
        if isinstance(node.value, dict):
            node.fault("needs a cidr")
        return None
    excepts = list(fields["except"].items("CIDRs")) if "except" in fields else []
    refused = [one for one in (fields["cidr"], *excepts) if not _is_cidr(one)]
    if refused:
        return None
    family, (first, last) = block_range(fields["cidr"].value)
    for one in excepts:
        other, (begin, end) = block_range(one.value)
        if family != other or not (first <= begin and end <= last) or (first, last) == (begin, end):
            one.fault(f"must be a strict subset of {fields['cidr'].value}")
            return None
    block = IPBlock(cidr=fields["cidr"].value, except_=tuple(sorted(one.value for one in excepts)))
    if not AddressSet.of_block(block.cidr, block.except_):
        node.fault("covers no address: its excepts cut all of it out")
        return None
    return block


def _is_cidr(node: Node) -> bool:
    text = node.text("a CIDR, as 203.0.113.0/24")
    faults = cidr_faults(text) if text else []
    for fault in faults[:1]:
        node.fault(f"{text!r} is not a CIDR: {fault}")
    return bool(text) and not faults
