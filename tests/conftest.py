"""What all tests share."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# No deadline: a key derivation takes tens of milliseconds here and may take hundreds on a loaded builder.
settings.register_profile(
    "pyhome", deadline=None, max_examples=150, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("pyhome")
