"""Descriptions of types and fields, from the docstrings of `lightkube-models` where that package is installed.

The texts are the Kubernetes documentation's, so they are not part of this project; its extra `live` brings the package.
Its source is read and not imported, which would cost thirty times the memory. Without it there are no descriptions.
"""

from __future__ import annotations

import importlib.util
import re
from functools import lru_cache
from pathlib import Path

_CLASS = re.compile(r'^class (\w+)\([^)]*\):\n    r?"""(.*?)"""', re.M | re.S)
_FIELD = re.compile(r"^      \* \*\*(\w+)\*\* ``[^`]*`` - (.*?)(?=^      \* \*\*|\Z)", re.M | re.S)


@lru_cache(maxsize=1)
def _folder() -> Path | None:
    found = importlib.util.find_spec("lightkube")
    places = found.submodule_search_locations if found else None
    folder = Path(next(iter(places))) / "models" if places else None
    return folder if folder and folder.is_dir() else None


class Descriptions:
    """The texts of one document's types; what was read is forgotten with it."""

    def __init__(self) -> None:
        self._modules: dict[str, dict[str, str]] = {}

    def of(self, type_name: str) -> tuple[str, dict[str, str]]:
        """(description of a type such as `core.v1.Pod`, those of its fields); empty where there are none."""
        package, version, name = type_name.rsplit(".", 2)
        module = f"{package}_{version}"
        if module not in self._modules:
            self._modules[module] = _docstrings(module)
        about, _, fields = self._modules[module].get(name, "").partition("**parameters**")
        return _joined(about), {field: _joined(text) for field, text in _FIELD.findall(fields)}


def _docstrings(module: str) -> dict[str, str]:
    folder = _folder()
    if folder is None or not re.fullmatch(r"\w+", module, re.ASCII):
        return {}
    try:
        return dict(_CLASS.findall((folder / f"{module}.py").read_text()))
    except OSError:
        return {}


def _joined(text: str) -> str:
    """Paragraphs without the line breaks of a docstring."""
    return "\n".join(
        " ".join(paragraph.split()) for paragraph in re.split(r"\n\s*\n", text.strip()) if paragraph.strip()
    )
