"""What the kubelet tells the runtime to run, and what the runtime says of it. Pure; crosses the socket as it stands."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

COMMAND, STAND_IN, NAME_SERVER, SKIPPED = "command", "stand-in", "name server", "skipped"
"""What runs in a container: its own program, listeners in its place, the cluster's DNS, nothing (init containers)."""
NAME_SERVER_IMAGE = "gatewright-name-server"

DEAD, LOST = "dead", "lost"
"""Why a pod is no more: its sandbox has died, or the runtime has and everything with it."""


class VolumeFile(Struct, frozen=True):
    """One file of a volume."""

    data: bytes
    mode: int = 0o644


class Volume(Struct, frozen=True):
    """A volume of a pod: these files by relative path, or an empty directory that everybody may write to (None)."""

    files: dict[str, VolumeFile] | None = None


class PodSetup(Struct, frozen=True):
    """A pod without its containers.

    `link` is the name of the pod's link on the node, `addresses` stand inside; neither is for the host's network.
    `files` are written into the root file system (path without the first slash to text), `sysctls` by their names with
    slashes or dots. `mount_points` are where containers are going to mount volumes: without root, nobody could make a
    directory below one of the machine's later.
    """

    uid: str
    namespace: str
    name: str
    hostname: str
    host_network: bool = False
    addresses: tuple[str, ...] = ()
    link: str = ""
    files: dict[str, str] = {}
    volumes: dict[str, Volume] = {}
    mount_points: tuple[str, ...] = ()
    sysctls: dict[str, str] = {}
    labels: dict[str, str] = {}


class Port(Struct, frozen=True):
    """A port that a container declares. The protocol is TCP, UDP or SCTP."""

    number: int
    protocol: str = "TCP"
    name: str = ""


class Mount(Struct, frozen=True):
    """A volume's place in a container."""

    volume: str
    path: str
    sub_path: str = ""
    read_only: bool = False


class ContainerSetup(Struct, frozen=True):
    """One run of a container; everything that refers to something else is resolved.

    `run` counts the runs of the container, from 0. `initial`: an init container, which is done when its program is not
    on this machine. `user` and `group` are kept to where the lab has more than one user (not without root).
    """

    name: str
    run: int = 0
    image: str = ""
    command: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    environment: dict[str, str] = {}
    directory: str = ""
    ports: tuple[Port, ...] = ()
    mounts: tuple[Mount, ...] = ()
    user: int | None = None
    group: int | None = None
    stdin: bool = False
    terminal: bool = False
    initial: bool = False


class ContainerState(Struct, frozen=True):
    """The newest run of a container. Times are seconds since 1970; `pid` counts as the lab does, 0 without a process.

    `note` says why something else runs than the container's own program, or why nothing does.
    """

    name: str
    run: int
    state: Literal["running", "exited"]
    runs: str
    started: float
    note: str = ""
    stdin: bool = False
    terminal: bool = False
    pid: int = 0
    code: int | None = None
    finished: float | None = None


class PodState(Struct, frozen=True):
    """A pod that the runtime holds. `pid` is its sandbox' as the lab counts, 0 when that has died."""

    uid: str
    namespace: str
    name: str
    pid: int
    host_network: bool
    link: str
    addresses: tuple[str, ...]
    labels: dict[str, str]
    containers: tuple[ContainerState, ...]


class ContainerEvent(Struct, frozen=True, tag=True):
    """A container has ended."""

    uid: str
    container: ContainerState


class PodEvent(Struct, frozen=True, tag=True):
    """A pod has died without being asked to; `why` is DEAD or LOST."""

    uid: str
    why: str
