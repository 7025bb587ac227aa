"""One model file: text in, the model and every fault out.

The file is read strictly: an unknown field, a doubled key, an entry of the wrong shape are faults with their line and,
where there is one, the nearest right word. An entry with a fault is left out, but its name is known. Names are not
looked up here: another file may say what they stand for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from gatewright.errors import Problem
from gatewright.intent.comments import Comments
from gatewright.intent.fields import File, Node
from gatewright.intent.model import API_VERSION, KIND, Component, Entry, Flow, Outside, Port, PortWord, Traffic
from gatewright.intent.ports import NotAPort, parse_port, parse_ports, split_ports
from gatewright.intent.selectors import POD_FIELDS, read_blocks, read_name, read_pods
from gatewright.objects.names import dns_label_faults
from gatewright.objects.origin import Origin
from gatewright.objects.yaml import documents

FIELDS = ("apiVersion", "kind", "namespace", "extends", "components", "outside", "dns", "flows", "never")
_ARROW = re.compile(r"(?P<source>[^:>]+?)\s*->\s*(?P<destination>[^:>]+?)(?:\s*:\s*(?P<ports>.+))?")
HOW = "write FROM -> TO, FROM -> TO: PORTS, or a mapping with from and to"


@dataclass(frozen=True, slots=True)
class Include:
    """A file that another one extends, as it is written, and where."""

    path: str
    entry: Entry


@dataclass(frozen=True, slots=True)
class ModelFile:
    """What stands in one file. `names` are those of its parties, also of such as cannot be read.

    None where nothing can be known of them.
    """

    traffic: Traffic
    includes: tuple[Include, ...] = ()
    names: frozenset[str] | None = None

    @classmethod
    def refused(cls, *problems: Problem) -> ModelFile:
        """A file of which nothing can be read."""
        return cls(Traffic(Origin("", 0), problems=problems))


def read_model(text: str, name: str) -> ModelFile:
    """The model of one file. `name` is how messages call it."""
    found = list(documents(text, name))
    if problems := [problem for document in found for problem in document.problems]:
        return ModelFile.refused(*problems)
    if len(found) != 1:
        many = "the file is empty; write components and flows" if not found else "more than one document"
        return ModelFile.refused(Problem(f"{name}:{found[1].line if found else 1}", f"not a traffic model: {many}"))
    file = File(name, Comments(text))
    top = Node(file, found[0].tree, found[0].line, "")
    if not isinstance(top.value, dict):
        what = f"not a traffic model: expected apiVersion: {API_VERSION}, kind: {KIND}, components and flows"
        return ModelFile.refused(Problem(f"{name}:{top.line}", what))
    fields = top.fields(FIELDS, "a mapping")
    _check_head(top, fields)
    namespace = read_name(fields["namespace"], "the name of a namespace") if "namespace" in fields else "default"
    components, outside = (_named(fields, field) for field in ("components", "outside"))
    dns = _dns(fields["dns"], namespace) if "dns" in fields else None
    traffic = Traffic(
        Origin(name, top.line),
        components=tuple(one for node in components if (one := _component(node, namespace)) is not None),
        outside=tuple(party for node in outside if (party := _outside(node, namespace)) is not None),
        flows=tuple(_flows(fields, "flows")),
        never=tuple(_flows(fields, "never")),
        dns=dns,
        uses_dns="dns" not in fields or fields["dns"].value != "none",
    )
    includes = tuple(_includes(fields))
    parties = [fields[field].value for field in ("components", "outside") if field in fields]
    named = all(isinstance(one, dict) for one in parties)
    names = frozenset(name for one in parties for name in one) if named else None
    return ModelFile(replace(traffic, problems=tuple(file.problems)), includes, names)


def _named(fields: dict[str, Node], field: str) -> list[Node]:
    return list(fields[field].children("a mapping by name").values()) if field in fields else []


def _check_head(top: Node, fields: dict[str, Node]) -> None:
    for field, wanted in (("apiVersion", API_VERSION), ("kind", KIND)):
        if field not in fields:
            Node(top.file, None, top.line, field).fault(f"is missing; write {field}: {wanted}")
        elif fields[field].value != wanted:
            fields[field].fault(f"must be {wanted}, not {fields[field].value!r}")


def _includes(fields: dict[str, Node]) -> Iterator[Include]:
    node = fields.get("extends")
    if node is None:
        return
    for one in [node] if isinstance(node.value, str) else node.items("paths"):
        if path := one.text("the path of a model file"):
            yield Include(path, one.entry)


def _component(node: Node, namespace: str) -> Component | None:
    before = len(node.file.problems)
    name = _party_name(node)
    fields = node.fields((*POD_FIELDS, "ports", "dns"), "a mapping that says which pods it is")
    if not isinstance(node.value, dict):
        return None
    ports = _ports(fields)
    by_name = fields["dns"].flag() if "dns" in fields else None
    pods = read_pods(node, fields, namespace)
    return Component(name, pods, ports, by_name, node.entry) if pods and node.file.is_sound(before) else None


def _outside(node: Node, namespace: str) -> Outside | None:
    """A party outside: addresses (in short or under `addresses`), or somebody else's pods."""
    before = len(node.file.problems)
    party = _read_outside(node, namespace)
    return party if node.file.is_sound(before) else None


def _read_outside(node: Node, namespace: str) -> Outside | None:
    name = _party_name(node)
    if not isinstance(node.value, dict):
        blocks = read_blocks(node)
        return None if blocks is None else Outside(name, None, blocks, (), node.entry)
    fields = node.fields((*POD_FIELDS, "addresses", "ports"), "addresses or pods")
    ports = _ports(fields)
    if "addresses" not in fields:
        pods = read_pods(node, fields, namespace)
        return Outside(name, pods, (), ports, node.entry) if pods else None
    if also := [field for field in POD_FIELDS if field in fields]:
        fields[also[0]].fault("does not go with addresses; make two parties of them")
    blocks = read_blocks(fields["addresses"])
    return None if blocks is None else Outside(name, None, blocks, ports, node.entry)


def _dns(node: Node, namespace: str) -> Outside | None:
    if node.value == "none":
        return None
    if not isinstance(node.value, dict):
        node.fault("must be none, or a mapping that says where DNS is answered: pods or addresses, and ports")
        return None
    return _outside(node, namespace)


def _party_name(node: Node) -> str:
    name = node.path.rpartition(".")[2]
    for fault in dns_label_faults(name)[:1]:
        node.fault(f"{name!r} cannot be a name: {fault}")
        return ""
    return name


def _ports(fields: dict[str, Node]) -> tuple[Port, ...]:
    node = fields.get("ports")
    if node is None:
        return ()
    if isinstance(node.value, str | int) and not isinstance(node.value, bool):
        return tuple(_port(Node(node.file, one, node.line, node.path)) for one in split_ports(node.value))
    return tuple(port for one in node.items("ports") for port in _entry_ports(one))


def _entry_ports(node: Node) -> list[Port]:
    try:
        return [parse_port(node.value)] if isinstance(node.value, dict) else parse_ports(node.value)
    except NotAPort as error:
        node.fault(str(error))
        return []


def _port(node: Node) -> Port:
    found = _entry_ports(node)
    return found[0] if found else Port(None)


def _flows(fields: dict[str, Node], field: str) -> Iterator[Flow]:
    for node in fields[field].items("flows") if field in fields else ():
        before = len(node.file.problems)
        found = [*_flow(node)]
        yield from found if node.file.is_sound(before) else ()


def _flow(node: Node) -> Iterator[Flow]:
    """The flows of one entry: one for each source and each destination it names."""
    if isinstance(node.value, str):
        yield from _written(node, node.value, None, node.entry)
        return
    fields = node.children("a flow")
    arrows = [key for key in fields if "->" in key]
    known = ("why",) if arrows else ("from", "to", "ports", "why")
    for key in [key for key in fields if key not in known and key not in arrows[:1]]:
        fields.pop(key).fault(f"unknown field of a flow; {HOW}")
    if not fields:
        if isinstance(node.value, dict):
            node.fault(f"is no flow; {HOW}")
        return
    why = fields["why"].text("a text") if "why" in fields else ""
    entry = replace(node.entry, comment=(*node.entry.comment, *((why,) if why else ())))
    if arrows:
        yield from _written(node, arrows[0], fields[arrows[0]], entry)
    elif "from" in fields and "to" in fields:
        sources, destinations = (_names(fields[side]) for side in ("from", "to"))
        yield from _made(node, sources, destinations, fields.get("ports"), entry)
    else:
        node.fault(f"is no flow; {HOW}")


def _written(node: Node, text: str, ports: Node | None, entry: Entry) -> Iterator[Flow]:
    found = _ARROW.fullmatch(text.strip())
    if found is None:
        node.fault(f"{text!r} is no flow; {HOW}")
        return
    if found["ports"] is not None:
        ports = Node(node.file, found["ports"], node.line, node.path)
    sources, destinations = ([one.strip() for one in found[side].split(",")] for side in ("source", "destination"))
    yield from _made(node, sources, destinations, ports, entry)


def _names(node: Node) -> list[str]:
    if isinstance(node.value, str):
        return [one.strip() for one in node.value.split(",")]
    return [one.text("the name of a component or party") for one in node.items("names")]


def _made(node: Node, sources: list[str], destinations: list[str], ports: Node | None, entry: Entry) -> Iterator[Flow]:
    words = tuple(_words(ports)) if ports is not None and ports.value is not None else ()
    if not all(sources) or not all(destinations):
        node.fault(f"names nobody on one side; {HOW}")
        return
    for source in sources:
        for destination in destinations:
            yield Flow(source, destination, words, entry)


def _words(node: Node) -> Iterator[PortWord]:
    for value in split_ports(node.value):
        try:
            yield PortWord(parse_port(value), _word(value))
        except NotAPort as error:
            node.fault(str(error))


def _word(value: object) -> str:
    if isinstance(value, dict):
        return str(value.get("name") or f"{value.get('protocol', 'TCP')}/{value.get('port')}")
    return str(value)
