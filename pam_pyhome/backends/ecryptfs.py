"""eCryptfs homes as ecryptfs-utils makes them: `ecryptfs-migrate-home`, `ecryptfs-setup-private`, `adduser --encrypt-home`.

What derives keys is imported only where keys are derived: a phase that mounts or locks starts sooner without it.
"""

from __future__ import annotations

from pam_pyhome import events
from pam_pyhome.backends import approved, ecryptfs_mount, ecryptfs_store, kept, update_facts
from pam_pyhome.backends.base import Wishes, unnoted
from pam_pyhome.errors import FormatError, PyhomeError, UnsafeFileError, UpdateError
from pam_pyhome.formats import ecryptfs_layout as layout
from pam_pyhome.formats.ecryptfs_wrapped import parse_wrapped
from pam_pyhome.kernel.log import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pam_pyhome.backends.base import Account, Description
    from pam_pyhome.events import Event
    from pam_pyhome.formats.opened import OpenedHome, Rewrite
    from pam_pyhome.formats.state import OpenRecord

PARSERS: dict[str, Callable[[bytes], object]] = {
    layout.WRAPPED: parse_wrapped,
    layout.RECOVERY: parse_wrapped,
    layout.SIGNATURES: layout.parse_signatures,
    layout.MOUNTPOINT: layout.parse_mountpoint,
}


class EcryptfsBackend:
    """The `Backend` of eCryptfs; see there for what each method promises."""

    name = "ecryptfs"
    gives_session_keys = True
    refuses_busy = True

    def probe(self, account: Account) -> bool:
        """There is a key file; or the ciphertext that it is for, and a good copy of it or what a recovery key needs."""
        if ecryptfs_store.has(account, layout.WRAPPED):
            return True
        has_other = ecryptfs_store.is_kept(account) or ecryptfs_store.has(account, layout.SIGNATURES)
        return has_other and ecryptfs_store.has_lower(account)

    def wishes(self, account: Account) -> Wishes:
        """The flag files of ecryptfs-utils. Where the whole directory has been deleted, what it is there for is assumed."""
        has = ecryptfs_store.has
        gone = not has(account, ".") and ecryptfs_store.is_kept(account)
        return Wishes(
            open_at_login=gone or has(account, layout.AUTO_MOUNT),
            lock_at_logout=gone or has(account, layout.AUTO_UMOUNT),
            own_passphrase=has(account, layout.WRAPPING_INDEPENDENT),
        )

    def unlock(
        self, account: Account, password: bytes, *, exact: bool, proved: bool = False, rewrap: bytes | None = None
    ) -> OpenedHome:
        """Unwrap, verify against `Private.sig`, derive."""
        from pam_pyhome.backends import ecryptfs_unlock

        return ecryptfs_unlock.unlock(account, password, exact=exact, proved=proved, rewrap=rewrap, backend=self.name)

    def approve(self, account: Account, password: bytes) -> None:
        """The key file, and `Private.sig`."""
        from pam_pyhome.backends import ecryptfs_unlock

        ecryptfs_unlock.approve(account, password)

    def mounted(self, account: Account) -> OpenRecord | None:
        """Ask the kernel."""
        return ecryptfs_mount.mounted(account, self.name)

    def attach(self, account: Account, opened: OpenedHome, note: Callable[[OpenRecord], None] = unnoted) -> OpenRecord:
        """Mount."""
        return ecryptfs_mount.attach(account, opened, note)

    def attach_others(
        self,
        account: Account,
        opened: OpenedHome,
        record: OpenRecord,
        keep: Callable[[OpenRecord], None],
        warn: Callable[[str], None],
    ) -> None:
        """Nothing: a mount passphrase opens its home and no more."""

    def detach(self, record: OpenRecord) -> None:
        """Unmount."""
        ecryptfs_mount.detach(record)

    def is_seen(self, record: OpenRecord) -> bool:
        """Look for its mount."""
        return ecryptfs_mount.is_seen(record)

    def state_of(self, record: OpenRecord) -> tuple[str, tuple[str, ...]]:
        """Ask the kernel, about all mount name spaces."""
        return ecryptfs_mount.state_of(record)

    def users(self, record: OpenRecord, *, neighbours: bool = True) -> tuple[str, ...]:
        """Whoever has something of the mount open, or mounted in it."""
        return ecryptfs_mount.users(record, neighbours=neighbours)

    def note_typed(self, account: Account, password: bytes) -> None:
        """In a key file for nothing."""
        from pam_pyhome.backends import ecryptfs_unlock

        ecryptfs_unlock.note_typed(account, password)

    def was_typed(self, account: Account, password: bytes) -> bool:
        """Whether it opens that."""
        from pam_pyhome.backends import ecryptfs_unlock

        return ecryptfs_unlock.was_typed(account, password)

    def add_second(self, account: Account, old: bytes, second: bytes) -> None:
        """Another key file, which is root's."""
        from pam_pyhome.backends import ecryptfs_unlock

        ecryptfs_unlock.add_second(account, old, second)

    def rewrite(self, account: Account, change: Rewrite) -> Event | None:
        """Replace `wrapped-passphrase`; what was there is kept where only root can reach it."""
        from pam_pyhome.backends import ecryptfs_unlock

        return ecryptfs_unlock.rewrite(account, change)

    def remember(self, account: Account, opened: OpenedHome) -> None:
        """Keep each live file that is good; put back from the copy each one that is missing or damaged."""
        approved.begin(account)
        for name in ecryptfs_store.KEPT:
            try:
                content = ecryptfs_store.read(account, name)
                self._check(name, content, opened)
            except (FileNotFoundError, UnsafeFileError, FormatError):
                self._put_back(account, name, opened)
            else:
                self._keep(account, name, content, opened)
        if opened.vouched:
            from pam_pyhome.backends import ecryptfs_unlock

            used = opened.used if opened.rewrite is None else opened.rewrite.content
            ecryptfs_unlock.approve_used(account, used, opened.keys)

    def _keep(self, account: Account, name: str, content: bytes, opened: OpenedHome) -> None:
        """Keep a file that looks good, if something has opened it; what was replaced goes once its successor has done so."""
        copy = ecryptfs_store.read_kept(account, name)
        if name == layout.RECOVERY and copy is not None:
            return
        if name == layout.WRAPPED:
            if content != opened.used or opened.rewrite is not None:
                return
            if copy in (None, content):
                kept.drop_previous(account, name)
            else:
                kept.set_aside(account, name, copy or b"")
        kept.keep(account, name, content)

    def _check(self, name: str, content: bytes, opened: OpenedHome) -> None:
        """FormatError for a file that does not parse, or names other keys than the home was opened with."""
        parsed = PARSERS[name](content)
        if name == layout.SIGNATURES and parsed != ecryptfs_mount.signatures_of(opened):
            raise FormatError(name, "names other keys than those of the home")

    def _put_back(self, account: Account, name: str, opened: OpenedHome) -> None:
        """Restore a live file from its copy, if there is one; not what a recovery key opened in an earlier home."""
        content = ecryptfs_store.read_kept(account, name)
        if content is None:
            return
        if name == layout.RECOVERY and not self._is_same_home(account, opened):
            kept.remove(account, name)
        else:
            ecryptfs_store.replace(account, name, content)
            log(events.KEY_FILE_RESTORED, name, account)

    def _is_same_home(self, account: Account, opened: OpenedHome) -> bool:
        """Whether the copies are of the home that is open now, as far as they say."""
        try:
            self._check(layout.SIGNATURES, ecryptfs_store.read_kept(account, layout.SIGNATURES) or b"", opened)
        except FormatError:
            return ecryptfs_store.read_kept(account, layout.SIGNATURES) is None
        return True

    def reserve(self, account: Account, old: bytes) -> None:
        """Room for the largest wrapped passphrase, and for the copy of it."""
        from pam_pyhome.backends import ecryptfs_unlock

        ecryptfs_unlock.reserve(account, old)

    def change_password(self, account: Account, old: bytes, new: bytes) -> int:
        """Wrap the same mount passphrase with the new password."""
        from pam_pyhome.backends import ecryptfs_unlock

        return ecryptfs_unlock.change_password(account, old, new)

    def try_recovery(self, account: Account, key: bytes) -> None:
        """As the mount passphrase, and as what wraps it."""
        from pam_pyhome.backends import ecryptfs_recovery

        ecryptfs_recovery.try_recovery(account, key)

    def new_recovery(self, account: Account, answer: bytes, key: str) -> None:
        """Wrap the mount passphrase with the key as well."""
        from pam_pyhome.backends import ecryptfs_recovery

        ecryptfs_recovery.new_recovery(account, answer, key)

    def describe(self, account: Account) -> Description:
        """The mount, and the key file with its good copy."""
        from pam_pyhome.backends import ecryptfs_facts

        return ecryptfs_facts.describe(account)

    def set_wishes(self, account: Account, *, open_at_login: bool, lock_at_logout: bool) -> None:
        """The flag files. Where the whole directory has been deleted, it is made again."""
        ecryptfs_store.recreate_config(account)
        ecryptfs_store.set_flag(account, layout.AUTO_MOUNT, there=open_at_login)
        ecryptfs_store.set_flag(account, layout.AUTO_UMOUNT, there=lock_at_logout)

    def set_own_passphrase(self, account: Account, *, own: bool, secrets: Callable[[], tuple[bytes, bytes]]) -> None:
        """Another flag file, which is there while the key file is changed."""
        old, new = secrets()
        self.reserve(account, old)
        ecryptfs_store.set_flag(account, layout.WRAPPING_INDEPENDENT, there=True)
        try:
            self.change_password(account, old, new)
        except (OSError, PyhomeError):
            ecryptfs_store.set_flag(account, layout.WRAPPING_INDEPENDENT, there=not own)
            raise
        ecryptfs_store.set_flag(account, layout.WRAPPING_INDEPENDENT, there=own)

    def renew_costs(self, account: Account, password: Callable[[], bytes]) -> bool:
        """The key file knows no costs."""
        raise UpdateError(account.name, update_facts.NO_COSTS)
