"""One container as a process: what it runs, with which environment, volumes and rights.

A container has the pod's root file system and its own mount namespace for its volumes. It runs its `command` and `args`
when that program is on this machine, else the stand-in.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from gatewright.lab import linux, standin
from gatewright.lab.rootfs import LAYERS
from gatewright.objects.core import ConfigMap, Container, PodSpec, Volume, VolumeMount

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
VOLUMES = Path("/", LAYERS, "volumes")
_REFERENCE = re.compile(r"\$\$|\$\(([-._a-zA-Z][-._a-zA-Z0-9]*)\)")

COMMAND, STAND_IN, NAME_SERVER, SKIPPED = "command", "stand-in", "name server", "skipped"
"""What runs in a container, as `lab status` names it."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What a container is going to run: one of the words above, the arguments, and why if that needs saying."""

    runs: str
    arguments: tuple[str, ...] = ()
    note: str = ""


def environment(container: Container, hostname: str) -> dict[str, str]:
    """The container's environment: the runtime's defaults, then its own, references to earlier names resolved."""
    result = {"PATH": PATH, "HOME": "/root", "HOSTNAME": hostname, "LANG": "C.UTF-8"}
    for variable in container.env:
        result[variable.name] = expand(variable.value, result)
    return result


def expand(text: str, values: Mapping[str, str]) -> str:
    """`$(NAME)` replaced by its value where it has one; `$$` is one `$` (core/v1 Container.command)."""

    def replacement(match: re.Match[str]) -> str:
        if match.group(0) == "$$":
            return "$"
        return values.get(match.group(1), match.group(0))

    return _REFERENCE.sub(replacement, text)


def choose(container: Container, values: Mapping[str, str], initial: bool) -> Choice:
    """What to run; looks for the program in the file system of the calling process."""
    instead = SKIPPED if initial else STAND_IN
    if not container.command:
        note = "no command of its own" if initial or container.args else ""
        return Choice(instead, note=note)
    arguments = tuple(expand(part, values) for part in (*container.command, *container.args))
    program = shutil.which(arguments[0], path=values.get("PATH", PATH))
    if program is None:
        return Choice(instead, note=f"{arguments[0]} is not on this machine")
    return Choice(COMMAND, arguments)


def volume_notes(spec: PodSpec) -> list[str]:
    """One line for every volume whose source the lab does not have."""
    return [
        f"volume {volume.name}: its source is not available in the lab; it is an empty directory"
        for volume in spec.volumes
        if volume.config_map is None and volume.empty_dir is None
    ]


def fill_volumes(spec: PodSpec, config_maps: Mapping[str, ConfigMap]) -> list[str]:
    """Make the pod's volumes, each a directory of the pod's memory. Returns what is missing, one line each."""
    missing = []
    for volume in spec.volumes:
        directory = VOLUMES / volume.name
        directory.mkdir(mode=0o777, parents=True)
        directory.chmod(0o777)
        if volume.config_map is not None:
            missing += _fill(directory, volume, config_maps)
    return missing


def _fill(directory: Path, volume: Volume, config_maps: Mapping[str, ConfigMap]) -> list[str]:
    source = volume.config_map
    assert source is not None
    config_map = config_maps.get(source.name)
    if config_map is None:
        return [] if source.optional else [f'volume {volume.name}: configmap "{source.name}" not found']
    paths = {item.key: item.path for item in source.items} or {key: key for key in config_map.data}
    missing = []
    for key, path in paths.items():
        target = Path(os.path.normpath(directory / path))
        if key not in config_map.data:
            missing.append(f'volume {volume.name}: configmap "{source.name}" has no key "{key}"')
        elif not target.is_relative_to(directory) or target == directory:
            missing.append(f'volume {volume.name}: path "{path}" leaves the volume')
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(config_map.data[key])
    return missing


def run(
    container: Container,
    values: dict[str, str],
    choice: Choice,
    identity: str,
    name_server: Callable[[], None],
) -> None:
    """Become the container's process; returns only by OSError, when the program cannot start."""
    os.chdir(container.working_dir or "/")
    linux.keep_capabilities(linux.CONTAINER_CAPABILITIES)
    if choice.runs == COMMAND:
        os.execvpe(choice.arguments[0], list(choice.arguments), values)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # a client that hangs up is an error to handle, not our end
    linux.set_process_name(f"lab-{container.name}")
    if choice.runs == NAME_SERVER:
        name_server()
    standin.serve(f"{identity} {container.name}", [(port.protocol, port.container_port) for port in container.ports])


def mount_volumes(container: Container) -> None:
    """Bind the container's volumes to their places, in this mount namespace."""
    for place in container.volume_mounts:
        source = _source_of(place)
        target = Path("/", place.mount_path)
        if source.is_dir():
            target.mkdir(parents=True, exist_ok=True)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.touch()
        linux.mount(str(source), str(target), "", linux.MS_BIND)
        if place.read_only:
            read_only = linux.MS_REMOUNT | linux.MS_BIND | linux.MS_RDONLY
            linux.mount(str(source), str(target), "", read_only | linux.MS_NOSUID | linux.MS_NODEV)


def _source_of(place: VolumeMount) -> Path:
    volume = VOLUMES / place.name
    source = Path(os.path.normpath(volume / place.sub_path)) if place.sub_path else volume
    if not source.is_relative_to(volume):
        raise OSError(1, f'subPath "{place.sub_path}" leaves the volume', place.mount_path)
    if not volume.is_dir():
        raise OSError(2, f'no volume "{place.name}" in the pod', place.mount_path)
    if not source.exists():
        source.mkdir(parents=True)
    return source
