"""Runs inside a test machine as root: does with ada's home what a line of its standard input asks for, and prints what came of it.

Lines are ``VERB`` and hexadecimal arguments; the answer is ``ok``, a value, or the name of the error.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

sys.path.insert(0, "/usr/lib/pyhome")

from pam_pyhome.backends import ecryptfs_mount
from pam_pyhome.backends.base import Account
from pam_pyhome.backends.ecryptfs import EcryptfsBackend
from pam_pyhome.errors import PyhomeError
from pam_pyhome.formats.opened import OpenedHome

ADA = Account("ada", 61001, 61001, "/home/ada")
BACKEND = EcryptfsBackend()
PREPARED: list[OpenedHome] = []


def unlock(password: bytes) -> str:
    """Open the home as a login does, which any good copy may serve."""
    BACKEND.unlock(ADA, password, exact=False)
    return "ok"


def verify(password: bytes) -> str:
    """Open the home where nobody else verifies the password."""
    BACKEND.unlock(ADA, password, exact=True)
    return "ok"


def prepare(password: bytes, new: bytes | None = None) -> str:
    """What the auth phase leaves for the session phase, with a key file for `new` where that is the login password."""
    PREPARED[:] = [BACKEND.unlock(ADA, password, exact=False, rewrap=new)]
    return "ok"


def finish() -> str:
    """What the session phase does to the key files once the mount has proved them: `rewritten`, `kept` or `changed meanwhile`."""
    (opened,) = PREPARED
    if opened.rewrite is not None and not BACKEND.rewrite(ADA, opened.rewrite):
        return "changed meanwhile"
    BACKEND.remember(ADA, opened)
    return "kept" if opened.rewrite is None else "rewritten"


def settle(password: bytes, new: bytes | None = None) -> str:
    """Both, one after the other."""
    prepare(password, new)
    return finish()


def vouch(password: bytes) -> str:
    """What an ordinary login does to them, whose password another module has verified."""
    opened = BACKEND.unlock(ADA, password, exact=False).with_vouched()
    if opened.rewrite is not None:
        BACKEND.rewrite(ADA, opened.rewrite)
    BACKEND.remember(ADA, opened)
    return "ok"


def change(old: bytes, new: bytes) -> str:
    """What the password phase does."""
    BACKEND.reserve(ADA, old)
    BACKEND.change_password(ADA, old, new)
    return "ok"


def recovery(answer: bytes, key: bytes) -> str:
    """A new recovery key."""
    BACKEND.new_recovery(ADA, answer, key.decode("ascii"))
    return "ok"


def mountpoint() -> str:
    """Where the home would be mounted."""
    return ecryptfs_mount.mountpoint(ADA).decode()


def keys(password: bytes) -> str:
    """The signatures that the home would be mounted with."""
    opened = BACKEND.unlock(ADA, password, exact=False)
    return str(ecryptfs_mount.signatures_of(opened))


VERBS: dict[str, Callable[..., str]] = {
    "unlock": unlock,
    "verify": verify,
    "prepare": prepare,
    "finish": finish,
    "settle": settle,
    "vouch": vouch,
    "change": change,
    "recovery": recovery,
    "mountpoint": mountpoint,
    "keys": keys,
}


def main() -> None:
    for line in sys.stdin:
        verb, *arguments = line.split()
        try:
            answer = VERBS[verb](*map(bytes.fromhex, arguments))
        except (PyhomeError, OSError) as error:
            answer = type(error).__name__
        print(answer, flush=True)


if __name__ == "__main__":
    main()
