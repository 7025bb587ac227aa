"""What was heard of a cluster: the answer to every request by its path, and the CNI files of one node.

Detection asks for paths; what nobody has asked the server yet is noted in `wanted` and counts as not seen, so that the
same pure functions say what to collect and what it means.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec

from gatewright.probe.doctor.trees import Tree, items

VERSION = "/version"
GROUPS = "/apis"
NODES = "/api/v1/nodes"
DAEMONSETS = "/apis/apps/v1/daemonsets"
NOT_ASKED = 0


class Seen(msgspec.Struct, frozen=True):
    """A piece of evidence: in which object, in which field, what stands there."""

    object: str
    field: str
    value: str

    def __str__(self) -> str:
        return f"{self.object}: {self.field}: {self.value}"


class Reply(msgspec.Struct, frozen=True):
    """The answer to a GET: its status, the object, and what the server said where it gave none. 0: not asked."""

    status: int
    tree: Tree = {}
    said: str = ""

    @property
    def ok(self) -> bool:
        """Whether it is an object."""
        return self.status == 200


class CniFile(msgspec.Struct, frozen=True):
    """A CNI configuration of a node: where it stands, and the types of its plugins in order."""

    path: str
    types: tuple[str, ...]


@dataclass(slots=True)
class Evidence:
    """Everything heard. `files_node` is the node that the CNI files are of, empty where nobody knows.

    `cni_binaries` are the names in its folder of CNI plugins, none where that was not looked into.

    `agents` are Gatewright's agents that are no objects of the API, in the shape of pods.
    """

    replies: dict[str, Reply] = field(default_factory=dict)
    cni_files: tuple[CniFile, ...] = ()
    cni_binaries: tuple[str, ...] = ()
    files_node: str = ""
    agents: tuple[Tree, ...] = ()
    wanted: set[str] = field(default_factory=set)

    def get(self, path: str) -> Reply:
        """The answer to a request."""
        reply = self.replies.get(path)
        if reply is None:
            self.wanted.add(path)
            return Reply(NOT_ASKED, said="not asked")
        return reply

    def listed(self, path: str) -> tuple[Tree, ...]:
        """The objects of a list; none where it could not be read (ask `blind`)."""
        return items(self.get(path).tree, "items")

    def blind(self, *paths: str) -> tuple[str, ...]:
        """Why lists or objects could not be read, a line each, naming the right that is missing."""
        return tuple(why for path in paths if (why := blindness(path, self.get(path))))


def blindness(path: str, reply: Reply) -> str:
    """Why an answer shows nothing; empty where it shows something, or that nothing is there."""
    if reply.ok or reply.status == 404:
        return ""
    if reply.status == 403:
        return f"not allowed to {right(path)}: {reply.said}"
    return f"could not {right(path)}: {reply.said or f'status {reply.status}'}"


def right(path: str) -> str:
    """The right that a request needs, as a Role would name it: `list daemonsets.apps`."""
    parts = path.partition("?")[0]
    words = [part for part in parts.split("/") if part]
    if words in (["version"], ["apis"]):
        return f"get the path {parts}"
    group = words[1] if words[0] == "apis" else ""
    rest = words[3:] if words[0] == "apis" else words[2:]
    if not rest:
        return f"get the path {parts}"
    where = ""
    if rest[0] == "namespaces" and len(rest) > 2:
        where, rest = f" in namespace {rest[1]}", rest[2:]
    what = f"{rest[0]}.{group}" if group else rest[0]
    return f"get {what} {rest[1]}{where}" if len(rest) > 1 else f"list {what}{where}"


def read_cni(files: Iterable[tuple[str, bytes]]) -> tuple[CniFile, ...]:
    """The CNI configurations among files, in the order in which a container runtime takes the first."""
    found = []
    for path, data in sorted(files):
        if not path.endswith((".conf", ".conflist", ".json")):
            continue
        try:
            tree = msgspec.json.decode(data)
        except msgspec.DecodeError:
            found.append(CniFile(path, ()))
            continue
        plugins = items(tree, "plugins") or ((tree,) if isinstance(tree, dict) else ())
        found.append(CniFile(path, tuple(str(one.get("type", "")) for one in plugins)))
    return tuple(found)
