"""What all tests share."""

from __future__ import annotations

import signal

from hypothesis import HealthCheck, settings

# No deadline: a key derivation takes tens of milliseconds here and may take hundreds on a loaded builder.
settings.register_profile(
    "pyhome", deadline=None, max_examples=150, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("pyhome")


def pytest_configure() -> None:
    """Let Ctrl-C reach the programs under test also where the tests themselves run in the background, deaf to it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
