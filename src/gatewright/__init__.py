"""Gatewright: what Kubernetes network policies allow, writing them, enforcing them, and proving it with packets.

The Python API is `load`, `loads`, `from_objects` and what they return, `Policies`; see `gatewright.api`. Nothing is
imported before it is asked for, so that the command line and its helpers start at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gatewright.api import Policies, from_objects, load, loads
    from gatewright.errors import GatewrightError, InvalidInput

__all__ = ["GatewrightError", "InvalidInput", "Policies", "from_objects", "load", "loads"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from gatewright import api, errors

    return getattr(errors if hasattr(errors, name) else api, name)
