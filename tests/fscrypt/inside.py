"""Runs inside a test machine as root: does one thing with ada's home and prints what came of it.

inside.py VERB HEX...      the answer is `ok`, a value, or the name of the error
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

sys.path.insert(0, "/usr/lib/pyhome")

from pam_pyhome.backends import fscrypt_create, registry
from pam_pyhome.backends.base import Account
from pam_pyhome.backends.fscrypt import FscryptBackend
from pam_pyhome.errors import PyhomeError
from pam_pyhome.formats.fscrypt_meta import Costs

ADA = Account("ada", 61001, 61001, "/home/ada")
BACKEND = FscryptBackend()


def create(password: bytes, recovery: bytes | None = None) -> str:
    """Encrypt the empty home; it stays open."""
    created = fscrypt_create.create(ADA, password, Costs(1, 64, 2), recovery)
    return f"{created.policy} {created.protector}"


def lock() -> str:
    """Lock the home that `create` left open."""
    record = BACKEND.mounted(ADA)
    if record is None:
        return "locked already"
    BACKEND.detach(record)
    return "ok"


def kind() -> str:
    """What kind of home it is."""
    found = registry.find(ADA)
    return "none" if found is None else found.name


def unlock(password: bytes) -> str:
    """Open the home as a login does, which any good copy may serve; the number of keys, and whether a file is to be rewritten."""
    opened = BACKEND.unlock(ADA, password, exact=False)
    return f"{len(opened.keys)} {opened.rewrite is not None}"


def verify(password: bytes) -> str:
    """Open the home where nobody else verifies the password."""
    BACKEND.unlock(ADA, password, exact=True)
    return "ok"


def change(old: bytes, new: bytes) -> str:
    """What the password phase does."""
    BACKEND.reserve(ADA, old)
    BACKEND.change_password(ADA, old, new)
    return "ok"


def wishes() -> str:
    """What the owner wants."""
    return str(BACKEND.wishes(ADA))


VERBS: dict[str, Callable[..., str]] = {
    "create": create,
    "lock": lock,
    "kind": kind,
    "unlock": unlock,
    "verify": verify,
    "change": change,
    "wishes": wishes,
}


def main() -> None:
    verb, *arguments = sys.argv[1:]
    try:
        print(VERBS[verb](*map(bytes.fromhex, arguments)))
    except (PyhomeError, OSError) as error:
        print(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
