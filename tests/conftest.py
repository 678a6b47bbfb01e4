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
    """Let signals reach the programs under test also where the tests themselves run in the background, deaf to them."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGHUP, signal.SIGQUIT):
        if signal.getsignal(number) == signal.SIG_IGN:
            # What is started has the default again, unlike with SIG_IGN; here nothing happens.
            signal.signal(number, lambda *_: None)
