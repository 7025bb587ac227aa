"""Text to objects: what every source of manifests goes through.

`parse` never raises for what stands in the text: it returns the objects it could read and every problem it met, each
with file and line, so that one bad document never hides the others.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import msgspec

from gatewright.errors import InvalidInput, Problem
from gatewright.objects.decode import Fault, convert
from gatewright.objects.kinds import FORMER_GROUPS, KINDS, Kind, group_version, scoped
from gatewright.objects.meta import Object
from gatewright.objects.origin import Origin, Path, format_path, line_of
from gatewright.objects.schema import structural_faults
from gatewright.objects.validation import METADATA_FIELDS, faults_of
from gatewright.objects.yaml import documents

_whole: ContextVar[bool] = ContextVar("whole", default=False)


@contextlib.contextmanager
def keeping_trees() -> Iterator[None]:
    """Within the block every object keeps its tree (`origin.tree`), not only policies: ten thousand take 70 MB more.

    For who hands the objects on to an API, which wants them as they were written.
    """
    token = _whole.set(True)
    try:
        yield
    finally:
        _whole.reset(token)


@dataclass(frozen=True, slots=True)
class Other:
    """A document that is no object of the product's: a kind it does not read, or a version no server serves any more.

    Kept as it stands, since it may say something about the objects beside it: an operator makes pods of it.
    """

    api_version: str
    kind: str
    tree: dict[str, Any]
    origin: Origin

    @property
    def namespace(self) -> str:
        """metadata.namespace, or `default`."""
        return self._metadata("namespace") or "default"

    @property
    def name(self) -> str:
        """metadata.name; empty where it has none."""
        return self._metadata("name")

    def _metadata(self, field: str) -> str:
        metadata = self.tree.get("metadata")
        value = metadata.get(field) if isinstance(metadata, dict) else None
        return value if isinstance(value, str) else ""


@dataclass(frozen=True, slots=True)
class Parsed:
    """What was read: the objects, in order, the problems, and what is worth a warning.

    `documents` counts everything that stood there; `others` are those that gave no object because of their kind.
    """

    objects: tuple[Object, ...] = ()
    problems: tuple[Problem, ...] = ()
    documents: int = 0
    warnings: tuple[Problem, ...] = ()
    others: tuple[Other, ...] = ()

    def require(self) -> tuple[Object, ...]:
        """The objects. Raises InvalidInput with every problem when there is one."""
        if self.problems:
            raise InvalidInput(self.problems)
        return self.objects

    @classmethod
    def merge(cls, parts: Iterable[Parsed]) -> Parsed:
        """Several results as one. Of an object that stands twice the later one counts, as `kubectl apply` does it."""
        every = list(parts)
        warnings = list(itertools.chain.from_iterable(part.warnings for part in every))
        objects = _latest(itertools.chain.from_iterable(part.objects for part in every), warnings)
        problems = tuple(itertools.chain.from_iterable(part.problems for part in every))
        others = tuple(itertools.chain.from_iterable(part.others for part in every))
        return cls(objects, problems, sum(part.documents for part in every), tuple(warnings), others)


def parse(text: str | bytes, file: str) -> Parsed:
    """The objects of one YAML or JSON text. `file` is how messages name it."""
    if isinstance(text, bytes):
        data = text
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            return Parsed(problems=(Problem(f"{file}:{line}", "not YAML: the text is not UTF-8"),))
    objects: list[Object] = []
    problems: list[Problem] = []
    others: list[Other] = []
    count = 0
    for document in documents(text, file):
        count += 1
        problems += [_named(problem, document.tree) for problem in document.problems]
        if document.tree is not None and not document.problems:
            objects += _items(document.tree, Origin(file, document.line, document.index), problems, others)
    return Parsed(tuple(objects), tuple(problems), count, others=tuple(others))


def _named(problem: Problem, tree: Any) -> Problem:
    """The problem with the name of the object it was met in, where the tree says one."""
    kind = tree.get("kind") if isinstance(tree, dict) else None
    return Problem(problem.where, f"{_label(tree, kind)}: {problem.what}") if isinstance(kind, str) else problem


def decode(tree: dict[str, Any], origin: Origin | None = None) -> Object | None:
    """One object from its JSON; None for a kind the product does not read. Raises InvalidInput with every problem."""
    problems: list[Problem] = []
    found = list(_items(tree, origin or Origin("", 0), problems, []))
    if problems:
        raise InvalidInput(problems)
    return found[0] if found else None


def _items(tree: Any, origin: Origin, problems: list[Problem], others: list[Other]) -> Iterator[Object]:
    """The objects of one document: itself, or the items of a List."""
    if not isinstance(tree, dict):
        problems.append(Problem(str(origin), "not a Kubernetes object: expected a mapping with apiVersion and kind"))
        return
    kind = tree.get("kind")
    if not isinstance(kind, str) or not kind:
        problems.append(Problem(str(origin), "not a Kubernetes object: Object 'Kind' is missing"))
        return
    if not isinstance(tree.get("apiVersion"), str) or not tree["apiVersion"]:
        problems.append(Problem(str(origin), f"{kind}: not a Kubernetes object: apiVersion not set"))
        return
    if kind.endswith("List") and isinstance(tree.get("items"), list):
        for i, item in enumerate(tree["items"]):
            line = line_of(tree, ("items", i)) or origin.line
            yield from _items(_item_of(tree, item), Origin(origin.file, line, origin.document), problems, others)
        return
    item = _object(tree, kind, origin, problems, others)
    if item is not None:
        yield item


def _item_of(tree: dict[str, Any], item: Any) -> Any:
    """An item of a typed list (PodList), as API servers write them, may leave out its own kind and apiVersion."""
    if isinstance(item, dict) and "kind" not in item and tree["kind"] != "List":
        item["kind"] = tree["kind"].removesuffix("List")
        item.setdefault("apiVersion", tree["apiVersion"])
    return item


def _object(
    tree: dict[str, Any], kind_name: str, origin: Origin, problems: list[Problem], others: list[Other]
) -> Object | None:
    group, version = group_version(tree["apiVersion"])
    kind = KINDS.get((FORMER_GROUPS.get((group, kind_name), group), kind_name))
    if kind is None:
        others.append(Other(tree["apiVersion"], kind_name, tree, origin))
        return None
    label = _label(tree, kind_name)
    if kind.version and (group, version) != (_group_of(kind_name), kind.version):
        served = f"{_group_of(kind_name)}/{kind.version}"
        at = Problem(
            str(_at(tree, origin, ("apiVersion",))),
            f"{label}: the API version in the data ({tree['apiVersion']}) does not match the expected API version"
            f" ({served})",
        )
        problems.append(at)
        others.append(Other(tree["apiVersion"], kind_name, tree, origin))
        return None
    item, faults = None, _strict_faults(tree, kind) if kind.strict else []
    if not faults or kind.spec_schema is None:
        item, mismatches = convert(tree, kind.struct)
        faults = faults + mismatches
    if item is not None and not faults:
        faults = faults_of(item)
    if item is None or faults:
        problems += [Problem(str(_at(tree, origin, fault.path)), f"{label}: {_phrase(fault)}") for fault in faults]
        return None
    return _placed(item, kind, tree, origin)


def _group_of(kind_name: str) -> str:
    return next(group for group, name in KINDS if name == kind_name)


def _placed(item: Object, kind: Kind, tree: dict[str, Any], origin: Origin) -> Object:
    """The object with its origin, and in the namespace `default` when it names none."""
    placed = None
    if origin.file:
        line = getattr(tree, "line", 0) or origin.line
        homeless = kind.namespaced and not item.namespace
        placed = Origin(origin.file, line, origin.document, tree if kind.strict or _whole.get() else None, homeless)
    return msgspec.structs.replace(scoped(item, kind), origin=placed)


def _at(tree: Any, origin: Origin, path: Path) -> Origin | str:
    if not origin.file:
        return ""
    return Origin(origin.file, line_of(tree, path) or origin.line, origin.document)


def _label(tree: dict[str, Any], kind: str) -> str:
    metadata = tree.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    return f"{kind} {name}" if isinstance(name, str) and name else kind


def _phrase(fault: Fault) -> str:
    if fault.what.startswith(("json: ", "unknown field ")):
        return fault.what
    return f"{format_path(fault.path)}: {fault.what}" if fault.path else fault.what


def _strict_faults(tree: dict[str, Any], kind: Kind) -> list[Fault]:
    faults = _metadata_fields(tree)
    if kind.spec_schema is None:
        return faults
    if tree.get("spec") is None:
        return [*faults, Fault(("spec",), "Required value")]
    return faults + structural_faults(kind.spec_schema, tree["spec"], ("spec",))


def _metadata_fields(tree: dict[str, Any]) -> list[Fault]:
    metadata = tree.get("metadata")
    if not isinstance(metadata, dict):
        return []
    unknown = [key for key in metadata if key not in METADATA_FIELDS]
    return [Fault(("metadata", key), f'unknown field "metadata.{key}"') for key in unknown]


def _latest(objects: Iterable[Object], warnings: list[Problem]) -> tuple[Object, ...]:
    """The objects, the last of each name; a warning where an earlier one differs."""
    kept: dict[object, Object] = {}
    for item in objects:
        key = item.key if item.name else id(item)
        first = kept.get(key)
        if first is not None and not _same(first, item):
            what = f"{item}: replaces another declaration of it at {first.origin}; keep one of them"
            warnings.append(Problem(str(item.origin or ""), what))
        kept[key] = item
    return tuple(kept.values())


def _same(left: Object, right: Object) -> bool:
    return bool(msgspec.structs.replace(left, origin=None) == msgspec.structs.replace(right, origin=None))
