"""What all tests share: how hypothesis looks.

`--hypothesis-profile=thorough` looks ten times as long; `unshrunk` stops at the first failure, as it was found.
"""

from __future__ import annotations

from hypothesis import HealthCheck, Phase, settings

settings.register_profile(
    "standard", max_examples=200, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("thorough", settings.get_profile("standard"), max_examples=2000)
settings.register_profile("unshrunk", settings.get_profile("standard"), phases=[Phase.generate], database=None)
settings.load_profile("standard")
