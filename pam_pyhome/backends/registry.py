"""The kinds of home that exist, in the order in which they are looked for. Each is imported only when it is its turn."""

from __future__ import annotations

from pam_pyhome.errors import StorageError
from pam_pyhome.kernel.process import learn_groups

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pam_pyhome.backends.base import Account, Backend


def _fscrypt() -> Backend:
    from pam_pyhome.backends.fscrypt import FscryptBackend

    return FscryptBackend()


def _ecryptfs() -> Backend:
    from pam_pyhome.backends.ecryptfs import EcryptfsBackend

    return EcryptfsBackend()


# A policy on the home directory itself says more than files that were left behind in it.
_KINDS: dict[str, Callable[[], Backend]] = {"fscrypt": _fscrypt, "ecryptfs": _ecryptfs}


def backends() -> Iterator[Backend]:
    """All backends, most specific first."""
    return (make() for make in _KINDS.values())


def find(account: Account) -> Backend | None:
    """The backend of the account's home, or None if the account has no encrypted home."""
    reach(account)
    return next((backend for backend in backends() if backend.probe(account)), None)


def reach(account: Account) -> None:
    """Have the account's rights lead to its home, also where only a supplementary group does."""
    learn_groups(account.name, account.uid, account.gid, account.home)


def named(name: str) -> Backend:
    """The backend called `name`. StorageError if there is none, as after a downgrade."""
    make = _KINDS.get(name)
    if make is None:
        raise StorageError(f"backend {name}", "is not known to this version")
    return make()
