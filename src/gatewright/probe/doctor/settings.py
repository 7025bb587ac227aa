"""The value of a setting in force on a node: a flag of its pod, an environment variable, a ConfigMap's key, a field.

Every reading comes with its evidence. What cannot be read, or hangs on something that is not in the objects, has no
value and says why: a variant that needs it is then unknown.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from gatewright.probe.doctor.evidence import NODES, Evidence, Seen, blindness
from gatewright.probe.doctor.images import is_known
from gatewright.probe.doctor.solutions import ConfigKey, Field, NodeArguments, Setting, Solution
from gatewright.probe.doctor.trees import Tree, at, items, mapping, name_of, namespace_of, strings, text

_TRUE, _FALSE = ("true", "1", "t", "yes", "on"), ("false", "0", "f", "no", "off")
SYSTEM = "kube-system"
_SHELLS = ("sh", "bash", "ash", "dash")
_VARIABLE = re.compile(r"\$\(([A-Za-z_][A-Za-z0-9_.-]*)\)")


@dataclass(frozen=True, slots=True)
class Reading:
    """What a setting is: its value and the evidence, or None and why."""

    value: str | None
    seen: tuple[Seen, ...] = ()
    why: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """Where settings of a solution are read: the node's pod of it, None for what runs as no pod.

    `subject` is what evidence calls it: the DaemonSet, or the pod where it differs from that.
    """

    evidence: Evidence
    solution: Solution
    pod: Tree | None
    subject: str

    def container(self, group: str) -> Tree | None:
        """The pod's container whose image is of this group of the solution."""
        images = self.solution.runs.containers[group].images
        for one in items(self.pod, "spec", "containers"):
            if is_known(text(one, "image"), images):
                return one
        return None


def read_setting(place: Place, name: str) -> Reading:
    """The setting of this name."""
    setting = place.solution.settings[name]
    found = _found(place, setting)
    if found is None:
        if setting.default is None:
            return Reading(None, why=f"{name} is not set, and what that means is not known")
        return Reading(setting.default, (Seen(place.subject, _title(setting), f"not set, so {setting.default}"),))
    if found.value is None or not setting.boolean:
        return found
    value = found.value.strip().lower()
    if value in _TRUE:
        return Reading("true", found.seen)
    if value in _FALSE:
        return Reading("false", found.seen)
    return Reading(None, found.seen, f"{_title(setting)} is {found.value!r}, which is neither true nor false")


def _found(place: Place, setting: Setting) -> Reading | None:
    """The value as it stands; None where the place is there and does not say."""
    if setting.config is not None:
        return _config(place, setting.config)
    if setting.arguments is not None:
        return _node_arguments(place, setting.arguments)
    if setting.field is not None:
        return _field(place, setting.field)
    if setting.served:
        return _served(place, setting.served)
    container = place.container(setting.container)
    if setting.present:
        value = "false" if container is None else "true"
        shown = text(container, "image") or "none"
        return Reading(value, (Seen(place.subject, f"container {setting.container}", shown),))
    if container is None:
        return Reading(None, why=f"{place.subject} has no container with a known image for {setting.container}")
    if setting.env:
        return _variable(place, container, setting.env)
    return _flag(place, container, setting)


def _title(setting: Setting) -> str:
    if setting.flags:
        return f"--{setting.flags[0]}"
    if setting.config is not None:
        return ".".join((f"ConfigMap {setting.config.name}", setting.config.key, *setting.config.path))
    if setting.arguments is not None:
        return f"--{setting.arguments.flag}"
    if setting.field is not None:
        return ".".join(setting.field.path)
    return setting.env or setting.served or f"container {setting.container}"


# --- flags and variables ----------------------------------------------------------------------------------------------


def _flag(place: Place, container: Tree, setting: Setting) -> Reading | None:
    words = (*strings(container, "command"), *strings(container, "args"))
    where = f"spec.containers[{text(container, 'name')}].args"
    if script := _script(words):
        if not any(f"-{flag}" in script for flag in setting.flags) and "$" not in script:
            return None
        return Reading(None, why=f"{place.subject} is started by a shell script, which may set {_title(setting)}")
    value: str | None = None
    shown = ""
    for word, following in _pairs(words):
        name, equals, given = word.lstrip("-").partition("=")
        if word.startswith("-") and name in setting.flags:
            bare = "true" if setting.boolean else following
            value, shown = (given, word) if equals else (bare, word if setting.boolean else f"{word} {following}")
    if value is None:
        return None
    return _expanded(place, container, value, Seen(place.subject, where, shown))


def _pairs(words: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    return zip(words, (*words[1:], ""), strict=False)


def _script(words: tuple[str, ...]) -> str:
    """The script of `sh -c`."""
    if words and words[0].rpartition("/")[2] in _SHELLS:
        return " ".join(words[1:]) or "$"
    return ""


def _expanded(place: Place, container: Tree, value: str, seen: Seen) -> Reading:
    """A value with the variables of the container, `$(NAME)`."""
    for name in _VARIABLE.findall(value):
        read = _variable(place, container, name)
        if read is None or read.value is None:
            return Reading(None, (seen,), f"{seen} hangs on the variable {name}, which is not known")
        value = value.replace(f"$({name})", read.value)
    return Reading(value, (seen,))


def _variable(place: Place, container: Tree, name: str) -> Reading | None:
    """An environment variable: its own entry counts before those of whole ConfigMaps."""
    where = f"spec.containers[{text(container, 'name')}].env"
    for entry in reversed(items(container, "env")):
        if text(entry, "name") != name:
            continue
        if "valueFrom" not in entry:
            shown = Seen(place.subject, f"{where}[{name}]", text(entry, "value"))
            return Reading(text(entry, "value"), (shown,))
        reference = mapping(entry, "valueFrom", "configMapKeyRef")
        if not reference:
            return Reading(None, why=f"{place.subject}: {where}[{name}] comes from elsewhere than a ConfigMap")
        key = ConfigKey(text(reference, "name"), text(reference, "key"))
        return _config(place, key, optional=text(reference, "optional") == "true")
    for source in reversed(items(container, "envFrom")):
        reference = mapping(source, "configMapRef")
        if not reference:
            return Reading(None, why=f"{place.subject}: {where} comes from a Secret, which may set {name}")
        key = ConfigKey(text(reference, "name"), name.removeprefix(text(source, "prefix")))
        read = _config(place, key, optional=text(reference, "optional") == "true")
        if read is not None:
            return read
    return None


# --- other objects ----------------------------------------------------------------------------------------------------


def _config(place: Place, wanted: ConfigKey, *, optional: bool = False) -> Reading | None:
    namespace = wanted.namespace or namespace_of(place.pod) or SYSTEM
    name = _actual_name(place, wanted.name)
    path = f"/api/v1/namespaces/{namespace}/configmaps/{name}"
    reply = place.evidence.get(path)
    subject = f"ConfigMap {namespace}/{name}"
    if not reply.ok:
        if reply.status == 404 and optional:
            return None
        return Reading(None, why=blindness(path, reply) or f"{subject} is not there")
    content = at(reply.tree, "data", wanted.key)
    if not isinstance(content, str):
        return None
    if not wanted.path:
        return Reading(content, (Seen(subject, f"data.{wanted.key}", content),))
    inner = _inside(content, wanted.path)
    shown = ".".join((f"data.{wanted.key}", *wanted.path))
    if inner is None:
        return Reading(None, why=f"{subject}: data.{wanted.key} is not YAML that can be read")
    return Reading(inner, (Seen(subject, shown, inner),)) if inner else None


def _actual_name(place: Place, name: str) -> str:
    """The name of the ConfigMap that the pod mounts: kustomize appends a hash to names."""
    for volume in items(place.pod, "spec", "volumes"):
        mounted = text(volume, "configMap", "name")
        if mounted.startswith(f"{name}-") and re.fullmatch(r"[a-z0-9]{10}", mounted[len(name) + 1 :]):
            return mounted
    return name


def _inside(content: str, path: tuple[str, ...]) -> str | None:
    """A scalar inside of YAML; empty where it is not there, None where this is no YAML."""
    import yaml

    try:
        tree = yaml.load(content, Loader=getattr(yaml, "CBaseLoader", yaml.BaseLoader))
    except yaml.YAMLError:
        return None
    return text(tree, *path)


def _field(place: Place, wanted: Field) -> Reading | None:
    reply = place.evidence.get(wanted.api)
    if not reply.ok:
        if reply.status == 404:
            return None
        return Reading(None, why=blindness(wanted.api, reply))
    shown = ".".join(wanted.path)
    if wanted.some:
        having = [one for one in items(reply.tree, "items") if at(one, *wanted.path) is not None]
        name = name_of(having[0]) if having else "none"
        return Reading("true" if having else "false", (Seen(wanted.api, shown, name),))
    value = text(reply.tree, *wanted.path)
    return Reading(value, (Seen(wanted.api, shown, value),)) if value else None


def _served(place: Place, wanted: str) -> Reading:
    """Whether a resource is served, written GROUP/VERSION/PLURAL."""
    version, _, plural = wanted.rpartition("/")
    path = f"/apis/{version}"
    reply = place.evidence.get(path)
    if not reply.ok and reply.status != 404:
        return Reading(None, why=blindness(path, reply))
    there = any(text(one, "name") == plural for one in items(reply.tree, "resources"))
    return Reading("true" if there else "false", (Seen(path, "resources", plural if there else f"no {plural}"),))


def _node_arguments(place: Place, wanted: NodeArguments) -> Reading | None:
    """The flag as all nodes that run the command have it; None where none of them sets it."""
    readings = list(_of_nodes(place.evidence.listed(NODES), wanted))
    if not readings:
        return Reading(None, why=f"no node tells how its {wanted.command} was started ({wanted.annotation})")
    if any(one.value is None for one in readings):
        return next(one for one in readings if one.value is None)
    values = {one.value for one in readings}
    seen = tuple(seen for one in readings for seen in one.seen)
    if len(values) > 1:
        return Reading(None, seen, f"nodes differ in --{wanted.flag}")
    return Reading(readings[0].value, seen) if readings[0].value else None


def _of_nodes(nodes: Iterable[Tree], wanted: NodeArguments) -> Iterator[Reading]:
    """The flag of each node that runs the command; an empty value where it is not set."""
    for node in nodes:
        told = text(node, "metadata", "annotations", wanted.annotation)
        if not told:
            continue
        try:
            words = json.loads(told)
        except ValueError:
            words = None
        subject = f"Node {name_of(node)}"
        if not isinstance(words, list) or not all(isinstance(one, str) for one in words):
            yield Reading(None, why=f"{subject}: annotation {wanted.annotation} is not a list of words")
        elif words[:1] == [wanted.command]:
            value = ""
            for word, following in _pairs(tuple(words)):
                name, equals, given = word.lstrip("-").partition("=")
                if word.startswith("-") and name == wanted.flag:
                    value = given if equals else ("true" if following.startswith("-") or not following else following)
            shown = f"--{wanted.flag}={value}" if value else f"no --{wanted.flag}"
            yield Reading(value, (Seen(subject, f"metadata.annotations[{wanted.annotation}]", shown),))
