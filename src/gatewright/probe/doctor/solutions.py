"""What is known of networking solutions, as typed data: one YAML file a solution in `solutions/`.

The form of a file is the structs of this module, its `schema` their version; docs/design/0090 explains it. Every
scalar is read as text, so that `yes`, `no` and `1.10` are what they look like.
"""

from __future__ import annotations

import enum
import functools
from importlib import resources

import msgspec

from gatewright.errors import GatewrightError, line

SCHEMA = "1"


class State(enum.StrEnum):
    """Whether something is enforced."""

    YES = "yes"
    NO = "no"
    PARTLY = "partly"
    UNKNOWN = "unknown"


class Role(enum.StrEnum):
    """What a solution does: carry pods' packets, enforce policies beside another network, or both."""

    NETWORK = "network"
    POLICY = "policy"
    BOTH = "both"


class Capability(enum.StrEnum):
    """The parts of policies that solutions differ in."""

    INGRESS = "ingress"
    EGRESS = "egress"
    IP_BLOCK = "ipBlock"
    EXCEPT = "ipBlock except"
    NAMED_PORTS = "named ports"
    END_PORT = "endPort"
    SCTP = "SCTP"
    IPV6 = "IPv6"
    CLUSTER_NETWORK_POLICY = "ClusterNetworkPolicy"
    ADMIN_NETWORK_POLICY = "AdminNetworkPolicy"
    ESTABLISHED = "established connections"


LEAKS = (
    Capability.INGRESS,
    Capability.EGRESS,
    Capability.IP_BLOCK,
    Capability.EXCEPT,
    Capability.NAMED_PORTS,
    Capability.END_PORT,
)
"""Fields of a NetworkPolicy: where one is ignored, a policy that is accepted protects less than it says."""

Conditions = dict[str, str | tuple[str, ...]]
"""Setting to the value, or one of the values, that it must have."""


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A part of a file; a key that nothing reads is an error."""


class Image(_Strict, frozen=True):
    """A container that the pods of the solution have: by its images. `absent` where they must have none such."""

    images: tuple[str, ...]
    optional: bool = False
    absent: bool = False


class Runs(_Strict, frozen=True):
    """How the solution is recognised on a node.

    By a DaemonSet whose containers' images are known (`labels` and `names` only say that it claims to be one), by pods
    with `pod_labels`, or by what the Node says: text in the kubelet's or the container runtime's version, a label.
    """

    containers: dict[str, Image] = {}
    labels: dict[str, str] = {}
    names: tuple[str, ...] = ()
    pod_labels: dict[str, str] = {}
    kubelet_version: str = ""
    runtime: str = ""
    node_labels: tuple[str, ...] = ()


class ConfigKey(_Strict, frozen=True):
    """A key of a ConfigMap; `path` leads into YAML that stands there. Without `namespace`: that of the DaemonSet."""

    name: str
    key: str
    namespace: str = ""
    path: tuple[str, ...] = ()


class NodeArguments(_Strict, frozen=True):
    """A flag of the command lines (JSON lists) that nodes tell in an annotation, of those that begin with `command`."""

    annotation: str
    command: str
    flag: str


class Field(_Strict, frozen=True):
    """A field of an object or, where `some` is set, of any object of a list, at an API path."""

    api: str
    path: tuple[str, ...]
    some: bool = False


class Setting(_Strict, frozen=True):
    """A named value that variants hang on, and where it stands (one of the sources).

    `default` is its value where the place is there and says nothing; without one, that is unknown. `boolean` reads a
    flag without a value, `1` and `TRUE` as true.
    """

    container: str = ""
    flags: tuple[str, ...] = ()
    env: str = ""
    present: bool = False
    config: ConfigKey | None = None
    arguments: NodeArguments | None = None
    field: Field | None = None
    served: str = ""
    default: str | None = None
    boolean: bool = False


class Need(_Strict, frozen=True):
    """A Deployment without which the node's part has nothing to enforce. No `namespace`: that of the DaemonSet."""

    deployment: str
    why: str
    when: Conditions = {}
    namespace: str = ""


class Range(_Strict, frozen=True):
    """A state that holds from `since` on and `before` a version, where conditions hold."""

    state: State
    since: str = ""
    before: str = ""
    when: Conditions = {}
    note: str = ""
    issue: str = ""


class Variant(_Strict, frozen=True):
    """A configuration: what it is called, whether policies are enforced in it, and what would change that."""

    title: str
    enforced: State
    why: str
    changes: str
    when: Conditions = {}
    since: str = ""
    before: str = ""
    role: Role | None = None


class Deviation(_Strict, frozen=True):
    """Something that differs from what the API promises, and where upstream says so."""

    what: str
    issue: str = ""
    since: str = ""
    before: str = ""
    when: Conditions = {}


class Solution(_Strict, frozen=True):
    """All that one file says. `version` names the container whose image's tag is the solution's version.

    `beside` are the networks that a solution of role `policy` is known to work with; `none` stands for one that left
    no trace. A network `yields` to those that carry the packets where both are there, since it then only hands out
    addresses. `cni` are the types of its CNI plugins, `groups` the API groups that it brings, `annotations` those by
    which it speaks of nodes: beginnings of keys.
    """

    schema: str
    id: str
    title: str
    revised: str
    role: Role
    sources: tuple[str, ...]
    runs: Runs
    variants: tuple[Variant, ...]
    version: str = ""
    settings: dict[str, Setting] = {}
    needs: tuple[Need, ...] = ()
    groups: tuple[str, ...] = ()
    annotations: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    yields: tuple[str, ...] = ()
    cni: tuple[str, ...] = ()
    capabilities: dict[Capability, State | tuple[Range, ...]] = {}
    deviations: tuple[Deviation, ...] = ()


class Knowledge(_Strict, frozen=True):
    """Every solution, and DaemonSets that touch CNI files without carrying pods' packets (by their images)."""

    solutions: tuple[Solution, ...]
    helpers: tuple[str, ...]


class BadKnowledge(GatewrightError):
    """A file of the package that is not what this module reads; a bug."""


@functools.cache
def knowledge() -> Knowledge:
    """What the package knows. Raises BadKnowledge."""
    solutions: list[Solution] = []
    helpers: tuple[str, ...] = ()
    for file in sorted(
        resources.files("gatewright.probe.doctor").joinpath("solutions").iterdir(), key=lambda f: f.name
    ):
        if file.name == "helpers.yaml":
            helpers = msgspec.convert(_read(file.read_bytes(), file.name), dict[str, tuple[str, ...]])["images"]
        elif file.name.endswith(".yaml"):
            solutions.append(read_solution(file.read_bytes(), file.name))
    return Knowledge(tuple(solutions), helpers)


def read_solution(data: bytes, name: str) -> Solution:
    """One file. Raises BadKnowledge, naming the file and the field."""
    try:
        solution = msgspec.convert(_read(data, name), Solution, strict=False)
    except msgspec.ValidationError as error:
        raise BadKnowledge(f"{name}: {line(error)}") from error
    if solution.schema != SCHEMA:
        raise BadKnowledge(f"{name}: schema: {solution.schema} is not {SCHEMA}, which this version reads")
    return solution


def _read(data: bytes, name: str) -> object:
    import yaml

    try:
        return yaml.load(data, Loader=getattr(yaml, "CBaseLoader", yaml.BaseLoader))
    except yaml.YAMLError as error:
        raise BadKnowledge(f"{name}: {line(error)}") from error
