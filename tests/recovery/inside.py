"""Runs inside a test machine as root: `inside.py HEX...` says of each of these passwords whether it opens ada's home."""

from __future__ import annotations

import sys

sys.path.insert(0, "/usr/lib/pyhome")

from pam_pyhome.backends import registry
from pam_pyhome.backends.base import Account
from pam_pyhome.errors import PyhomeError

ADA = Account("ada", 61001, 61001, "/home/ada")


def opens(password: bytes) -> str:
    """As where nobody else verifies the password."""
    backend = registry.find(ADA)
    assert backend is not None
    try:
        backend.unlock(ADA, password, exact=True)
    except PyhomeError as error:
        return type(error).__name__
    return "ok"


if __name__ == "__main__":
    print(*(opens(bytes.fromhex(each)) for each in sys.argv[1:]))
