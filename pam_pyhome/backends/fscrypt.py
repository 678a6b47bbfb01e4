"""Homes that the file system encrypts, as google/fscrypt makes them: `fscrypt encrypt /home/USER --source=pam_passphrase`.

What reads metadata and derives keys is imported only where that is needed: whether a home is encrypted at all is one question
to the kernel, and a phase that locks starts sooner without the rest.
"""

from __future__ import annotations

from pam_pyhome.backends import update_facts
from pam_pyhome.backends.base import Wishes, unnoted
from pam_pyhome.errors import PyhomeError, UpdateError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pam_pyhome.backends.base import Account, Description
    from pam_pyhome.events import Event
    from pam_pyhome.formats.opened import OpenedHome, Rewrite
    from pam_pyhome.formats.state import OpenRecord


class FscryptBackend:
    """The `Backend` of fscrypt; see there for what each method promises."""

    name = "fscrypt"
    gives_session_keys = False
    refuses_busy = False

    def probe(self, account: Account) -> bool:
        """The home directory has a policy, and a passphrase of the account's opens it, or its metadata is too damaged to tell."""
        from pam_pyhome.backends import fscrypt_find

        try:
            return fscrypt_find.find_home(account) is not None
        except PyhomeError:
            return True
        except OSError:
            return False

    def wishes(self, account: Account) -> Wishes:
        """As we keep it, if it was ever said; the passphrase is the home's own where no login protector is in its policy."""
        from pam_pyhome.backends import fscrypt_find, fscrypt_wishes

        try:
            home = fscrypt_find.find_home(account)
        except PyhomeError:
            home = None
        opens, locks = fscrypt_wishes.read(account)
        return Wishes(
            open_at_login=opens,
            lock_at_logout=locks,
            own_passphrase=home is not None and not home.follows_login,
        )

    def unlock(
        self, account: Account, password: bytes, *, exact: bool, proved: bool = False, rewrap: bytes | None = None
    ) -> OpenedHome:
        """Derive, unwrap, verify against the names of the keys."""
        from pam_pyhome.backends import fscrypt_unlock

        return fscrypt_unlock.unlock(account, password, exact=exact, proved=proved, rewrap=rewrap, backend=self.name)

    def approve(self, account: Account, password: bytes) -> None:
        """The protector."""
        from pam_pyhome.backends import fscrypt_unlock

        fscrypt_unlock.approve(account, password)

    def mounted(self, account: Account) -> OpenRecord | None:
        """Ask the kernel."""
        from pam_pyhome.backends import fscrypt_keys

        return fscrypt_keys.mounted(account, self.name)

    def attach(self, account: Account, opened: OpenedHome, note: Callable[[OpenRecord], None] = unnoted) -> OpenRecord:
        """Give the home's key to its file system."""
        from pam_pyhome.backends import fscrypt_keys

        return fscrypt_keys.attach(account, *opened.keys[0], self.name, note)

    def attach_others(
        self,
        account: Account,
        opened: OpenedHome,
        record: OpenRecord,
        keep: Callable[[OpenRecord], None],
        warn: Callable[[str], None],
    ) -> None:
        """What the login protector opens besides."""
        from pam_pyhome.backends import fscrypt_others

        fscrypt_others.attach(account, opened.keys, record, keep, warn)

    def detach(self, record: OpenRecord) -> None:
        """Take them back."""
        from pam_pyhome.backends import fscrypt_keys

        fscrypt_keys.detach(record)

    def is_seen(self, record: OpenRecord) -> bool:
        """Ask for the key of the home itself."""
        from pam_pyhome.backends import fscrypt_keys

        return fscrypt_keys.is_seen(record)

    def state_of(self, record: OpenRecord) -> tuple[str, tuple[str, ...]]:
        """Ask the kernel, about each key."""
        from pam_pyhome.backends import fscrypt_keys

        return fscrypt_keys.state_of(record)

    def users(self, record: OpenRecord, *, neighbours: bool = True) -> tuple[str, ...]:
        """Whoever has something of the home open, or mounted in it."""
        from pam_pyhome.backends import fscrypt_keys

        return fscrypt_keys.users(record, neighbours=neighbours)

    def note_typed(self, account: Account, password: bytes) -> None:
        """In a protector of nothing."""
        from pam_pyhome.backends import fscrypt_change

        fscrypt_change.note_typed(account, password)

    def was_typed(self, account: Account, password: bytes) -> bool:
        """Whether it opens that."""
        from pam_pyhome.backends import fscrypt_change

        return fscrypt_change.was_typed(account, password)

    def add_second(self, account: Account, old: bytes, second: bytes) -> None:
        """The login protector once more, for root only."""
        from pam_pyhome.backends import fscrypt_change

        fscrypt_change.add_second(account, old, second)

    def rewrite(self, account: Account, change: Rewrite) -> Event | None:
        """Replace the login protector; what was there is kept where only root can reach it."""
        from pam_pyhome.backends import fscrypt_keep

        return fscrypt_keep.rewrite(account, change)

    def remember(self, account: Account, opened: OpenedHome) -> None:
        """Keep the home's policy and protector, or mend them."""
        from pam_pyhome.backends import fscrypt_keep

        fscrypt_keep.remember(account, opened)

    def reserve(self, account: Account, old: bytes) -> None:
        """Room for the protector's successor, and for the copy of it."""
        from pam_pyhome.backends import fscrypt_change

        fscrypt_change.reserve(account, old)

    def change_password(self, account: Account, old: bytes, new: bytes) -> int:
        """Wrap the same protector key with the new password; a new one where that is not to be had."""
        from pam_pyhome.backends import fscrypt_change

        return fscrypt_change.change_password(account, old, new)

    def try_recovery(self, account: Account, key: bytes) -> None:
        """On the protectors that are for recovery."""
        from pam_pyhome.backends import fscrypt_recovery

        fscrypt_recovery.try_recovery(account, key)

    def new_recovery(self, account: Account, answer: bytes, key: str) -> None:
        """Another protector for the policy, in the place of those."""
        from pam_pyhome.backends import fscrypt_recovery

        fscrypt_recovery.new_recovery(account, answer, key)

    def describe(self, account: Account) -> Description:
        """The key in its file system, and the protectors."""
        from pam_pyhome.backends import fscrypt_facts

        return fscrypt_facts.describe(account)

    def set_wishes(self, account: Account, *, open_at_login: bool, lock_at_logout: bool) -> None:
        """A file of root's: the tools of fscrypt know of no wishes."""
        from pam_pyhome.backends import fscrypt_wishes

        fscrypt_wishes.keep(account, open_at_login=open_at_login, lock_at_logout=lock_at_logout)

    def set_own_passphrase(self, account: Account, *, own: bool, secrets: Callable[[], tuple[bytes, bytes]]) -> None:
        """That is what the protectors of the policy say."""
        raise UpdateError(account.name, update_facts.NO_OWN_PASSPHRASE)

    def renew_costs(self, account: Account, password: Callable[[], bytes]) -> bool:
        """Wrap the login protector at the costs of /etc/fscrypt.conf."""
        from pam_pyhome.backends import fscrypt_change

        return fscrypt_change.renew_costs(account, password)
