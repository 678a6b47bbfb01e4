"""Runs inside a test machine as root: `inside.py [login] HEX...` says of each of these passwords whether it opens ada's home.

With `login` as at a login, whose password somebody else has verified: copies count.
"""

from __future__ import annotations

import sys

sys.path.insert(0, "/usr/lib/pyhome")

from pam_pyhome.backends import registry
from pam_pyhome.backends.base import Account
from pam_pyhome.errors import PyhomeError

ADA = Account("ada", 61001, 61001, "/home/ada")


def opens(password: bytes, *, exact: bool) -> str:
    """Whether it does, or why not."""
    backend = registry.find(ADA)
    assert backend is not None
    try:
        backend.unlock(ADA, password, exact=exact)
    except PyhomeError as error:
        return type(error).__name__
    return "ok"


if __name__ == "__main__":
    is_login = sys.argv[1] == "login"
    print(*(opens(bytes.fromhex(each), exact=not is_login) for each in sys.argv[1 + is_login :]))
