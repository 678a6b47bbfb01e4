"""The kinds of home that exist, in the order in which they are looked for."""

from __future__ import annotations

from pam_pyhome.backends.ecryptfs import EcryptfsBackend
from pam_pyhome.errors import StorageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pam_pyhome.backends.base import Account, Backend


def backends() -> tuple[Backend, ...]:
    """All backends, most specific first."""
    return (EcryptfsBackend(),)


def find(account: Account) -> Backend | None:
    """The backend of the account's home, or None if the account has no encrypted home."""
    return next((backend for backend in backends() if backend.probe(account)), None)


def named(name: str) -> Backend:
    """The backend called `name`. StorageError if there is none, as after a downgrade."""
    for backend in backends():
        if backend.name == name:
            return backend
    raise StorageError(f"backend {name}", "is not known to this version")
