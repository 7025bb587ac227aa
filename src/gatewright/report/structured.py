"""Documents as JSON and as YAML: the same keys, in the same order."""

from __future__ import annotations

import json
from typing import Any


def to_json(document: dict[str, Any]) -> str:
    """Indented JSON."""
    return json.dumps(document, indent=2) + "\n"


def to_yaml(document: dict[str, Any]) -> str:
    """Block YAML, every value written out."""
    import yaml

    class Dumper(yaml.SafeDumper):
        """Writes what stands in two places twice: a reader needs no anchors."""

        def ignore_aliases(self, data: Any) -> bool:
            return True

    return yaml.dump(document, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=120)
