"""What all tests share: how long hypothesis looks. `--hypothesis-profile=thorough` looks ten times as long."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile(
    "standard", max_examples=200, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("thorough", settings.get_profile("standard"), max_examples=2000)
settings.load_profile("standard")
