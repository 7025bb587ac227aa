"""What the volumes of a pod hold: files from ConfigMaps, Secrets, the pod itself, or nothing. Pure.

Other sources (disks, the machine's own directories) do not exist in a lab: such a volume is an empty directory, and an
Event says so.
"""

from __future__ import annotations

import os

from gatewright.lab.api.resources import Tree
from gatewright.lab.kubelet.downward import Facts, Unresolved, field_value, resource_value
from gatewright.lab.kubelet.environment import Lookup, content_of
from gatewright.lab.runtime.model import Volume, VolumeFile

_MODE = 0o644
_TOKEN = "serviceAccountToken"


class MountFailure(Unresolved):
    """A volume that cannot be filled yet."""


Files = dict[str, VolumeFile]
"""Relative path to file."""


def volumes(facts: Facts, lookup: Lookup) -> dict[str, Volume]:
    """Volume name to what it holds. Raises MountFailure."""
    result: dict[str, Volume] = {}
    for volume in facts.pod["spec"].get("volumes") or ():
        try:
            result[volume["name"]] = Volume(_files(facts, volume, lookup))
        except Unresolved as error:
            raise MountFailure(f'MountVolume.SetUp failed for volume "{volume["name"]}" : {error}') from error
    return result


def replaced(pod: Tree) -> list[str]:
    """One line for every volume whose source a lab does not have."""
    lines = []
    for volume in pod["spec"].get("volumes") or ():
        kind = next((name for name in volume if name != "name"), "emptyDir")
        if kind not in ("emptyDir", "configMap", "secret", "downwardAPI", "projected"):
            lines.append(f'volume "{volume["name"]}": the lab has no {kind}; it is an empty directory')
        for source in (volume.get("projected") or {}).get("sources") or ():
            unknown = sorted(source.keys() - {"configMap", "secret", "downwardAPI", _TOKEN})
            lines += [f'volume "{volume["name"]}": the lab has no {one}; it is left out' for one in unknown]
    return lines


def _files(facts: Facts, volume: Tree, lookup: Lookup) -> Files | None:
    if source := volume.get("configMap"):
        return _keys("ConfigMap", source.get("name") or "", source, _mode(source), lookup)
    if source := volume.get("secret"):
        return _keys("Secret", source.get("secretName") or "", source, _mode(source), lookup)
    if source := volume.get("downwardAPI"):
        return _downward(facts, source, _mode(source))
    if source := volume.get("projected"):
        merged: Files = {}
        for part in source.get("sources") or ():
            merged |= _projected(facts, part, _mode(source), lookup)
        return merged
    return None


def _projected(facts: Facts, part: Tree, mode: int, lookup: Lookup) -> Files:
    if source := part.get("configMap"):
        return _keys("ConfigMap", source.get("name") or "", source, mode, lookup)
    if source := part.get("secret"):
        return _keys("Secret", source.get("name") or "", source, mode, lookup)
    if source := part.get("downwardAPI"):
        return _downward(facts, source, mode)
    return {}


def _mode(source: Tree) -> int:
    return int(source.get("defaultMode") or _MODE)


def _keys(kind: str, name: str, source: Tree, mode: int, lookup: Lookup) -> Files:
    found = lookup(kind, name)
    if found is None:
        if source.get("optional"):
            return {}
        raise Unresolved(f'{kind.lower()} "{name}" not found')
    content = content_of(kind, found)
    if not source.get("items"):
        return {key: VolumeFile(value, mode) for key, value in content.items()}
    files: Files = {}
    for item in source["items"]:
        if item["key"] in content:
            files[_inside(item["path"])] = VolumeFile(content[item["key"]], int(item.get("mode") or mode))
        elif not source.get("optional"):
            raise Unresolved(f"{kind.lower()} references non-existent config key: {item['key']}")
    return files


def _downward(facts: Facts, source: Tree, mode: int) -> Files:
    files: Files = {}
    for item in source.get("items") or ():
        if reference := item.get("fieldRef"):
            text = field_value(facts, str(reference.get("fieldPath", "")))
        else:
            reference = item.get("resourceFieldRef") or {}
            text = resource_value(facts, {"name": ""}, reference)
        files[_inside(item["path"])] = VolumeFile(text.encode(), int(item.get("mode") or mode))
    return files


def _inside(path: str) -> str:
    """A path that stays in its volume. Raises Unresolved."""
    plain = os.path.normpath(path)
    if plain.startswith(("/", "../")) or plain in ("..", "."):
        raise Unresolved(f'path "{path}" leaves the volume')
    return plain
