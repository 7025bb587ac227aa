"""A pod's volumes: directories in the pod's memory, their files replaced all at once, and their places in containers.

Files are laid out as the kubelet lays them out: `..data` is a link to a directory of this version, and each name in the
volume a link through it, so that renaming one link makes every file another, and who watches `..data` sees it.
"""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from gatewright.lab import linux
from gatewright.lab.runtime.model import Mount, Volume, VolumeFile
from gatewright.lab.runtime.rootfs import LAYERS

VOLUMES = Path("/", LAYERS, "volumes")
"""Where they are, seen from the pod."""
_DATA, _NEXT = "..data", "..data_tmp"


def fill(volumes: Mapping[str, Volume], root: Path = VOLUMES) -> None:
    """Make the volumes, or give those that are there other files. Raises OSError."""
    for name, volume in volumes.items():
        directory = _below(root, name)
        if not directory.is_dir():
            directory.mkdir(parents=True)
            directory.chmod(0o777 if volume.files is None else 0o755)
        if volume.files is not None:
            replace(directory, volume.files)


def replace(directory: Path, files: Mapping[str, VolumeFile]) -> None:
    """Make these the files of a volume, in one step. Raises OSError, and has changed nothing then."""
    before = _current(directory)
    version = directory / f"..{time.time_ns()}"
    version.mkdir()
    try:
        for name, file in files.items():
            _write(_below(version, name), file)
        (directory / _NEXT).symlink_to(version.name)
        (directory / _NEXT).replace(directory / _DATA)
    except OSError:
        shutil.rmtree(version)
        raise
    names = {Path(os.path.normpath(name)).parts[0] for name in files}
    for name in names:
        if not (directory / name).is_symlink():
            (directory / name).symlink_to(f"{_DATA}/{name}")
    for path in directory.iterdir():
        if path.name not in names and not path.name.startswith(".."):
            path.unlink()
    if before is not None:
        shutil.rmtree(before)


def _current(directory: Path) -> Path | None:
    link = directory / _DATA
    return directory / os.readlink(link) if link.is_symlink() else None


def _write(path: Path, file: VolumeFile) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(file.data)
    path.chmod(file.mode & 0o777)


def _below(directory: Path, name: str) -> Path:
    path = Path(os.path.normpath(directory / name))
    if not path.is_relative_to(directory) or path == directory or path.relative_to(directory).parts[0].startswith(".."):
        raise OSError(errno.EPERM, "the path leaves the volume", name)
    return path


def mount(places: Iterable[Mount], volumes: Path = VOLUMES) -> None:
    """Bind volumes to their places, in this mount namespace. Raises OSError."""
    for place in places:
        source = _source(place, volumes)
        target = Path("/", place.path)
        if source.is_dir():
            target.mkdir(parents=True, exist_ok=True)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.touch()
        linux.mount(str(source), str(target), "", linux.MS_BIND)
        if place.read_only:
            read_only = linux.MS_REMOUNT | linux.MS_BIND | linux.MS_RDONLY
            linux.mount(str(source), str(target), "", read_only | linux.MS_NOSUID | linux.MS_NODEV)


def _source(place: Mount, volumes: Path) -> Path:
    """What to bind: never outside the volume, whatever links a container has put there."""
    volume = volumes / place.volume
    if not volume.is_dir():
        raise OSError(errno.ENOENT, f'no volume "{place.volume}" in the pod', place.path)
    source = volume / place.sub_path
    if not source.exists() and not source.is_symlink() and _inside(source, volume):
        source.mkdir(parents=True)
    if not _inside(source, volume):
        raise OSError(errno.EPERM, f'subPath "{place.sub_path}" leaves the volume', place.path)
    return source.resolve()


def _inside(path: Path, volume: Path) -> bool:
    return path.resolve().is_relative_to(volume.resolve())
