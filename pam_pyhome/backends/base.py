"""What every kind of encrypted home can do, and whose home it is."""

from __future__ import annotations

from pam_pyhome.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from pam_pyhome.events import Event
    from pam_pyhome.formats.facts import Slot
    from pam_pyhome.formats.opened import OpenedHome, Rewrite
    from pam_pyhome.formats.state import OpenRecord
else:
    Protocol = object


LEAST_KEY = 20  # bytes; a shorter answer cannot be a recovery key, and is not looked at as one


class Account(Record):
    """The user as the password database knows them: name, numeric ids, home directory."""

    name: str
    uid: int
    gid: int
    home: str


class Wishes(Record):
    """What the owner asked for in the home's own configuration."""

    open_at_login: bool
    lock_at_logout: bool
    own_passphrase: bool


class Description(Record):
    """How a home is: one of the states of `formats.facts`, where its ciphertext is, where it is open or would be, what opens it.

    `holders`: the processes that use an open one, one line each.
    """

    state: str
    storage: bytes
    mountpoint: bytes
    slots: tuple[Slot, ...]
    holders: tuple[str, ...] = ()


class Backend(Protocol):
    """One way to store an encrypted home. Errors are of `pam_pyhome.errors`; OSError passes through."""

    name: str
    gives_session_keys: bool  # whether sessions need the home's keys besides what `attach` does with them
    refuses_busy: bool  # whether `detach` leaves a home that is in use as it is; otherwise `users` is to be asked before

    def probe(self, account: Account) -> bool:
        """Whether the account has a home of this kind."""

    def wishes(self, account: Account) -> Wishes:
        """What the owner configured."""

    def unlock(
        self, account: Account, password: bytes, *, exact: bool, proved: bool = False, rewrap: bytes | None = None
    ) -> OpenedHome:
        """The keys of the home. `exact`: only the current key file counts, and no copy of it, whatever is wrong with it.

        That is for passwords that nobody else has verified. `proved`: it counts only if it is approved as well; UnprovedError.
        Otherwise the copy counts where the file is damaged or missing, what a repair has replaced until its successor has opened
        the home, and what there is for a second password. A recovery key of the home counts as well, however it is typed.
        `rewrap`: also prepare a key file that this password opens. WrongPassphraseError if the password is wrong, FormatError,
        UnsafeFileError or StorageError if the home's key files are not usable.
        """

    def approve(self, account: Account, password: bytes) -> None:
        """Approve the key file that `password` opens, because root says so. Errors as of `unlock`."""

    def mounted(self, account: Account) -> OpenRecord | None:
        """The home as the kernel shows it, or None while it is locked."""

    def attach(self, account: Account, opened: OpenedHome, note: Callable[[OpenRecord], None] = ..., /) -> OpenRecord:
        """Open the home with the keys of `opened`.

        `note` is told beforehand what is about to be opened, for `detach` to find; if it raises, nothing is opened.
        """

    def attach_others(
        self,
        account: Account,
        opened: OpenedHome,
        record: OpenRecord,
        keep: Callable[[OpenRecord], None],
        warn: Callable[[str], None],
    ) -> None:
        """Open what else `opened` opens, in bounded time, when the home is open, as `record` says.

        `keep` is given the record with that added before anything is opened; `warn` is told what stays locked, and why. OSError and
        PyhomeError, also those of `keep`; what is on record by then may be open.
        """

    def detach(self, record: OpenRecord) -> None:
        """Lock the home; nothing if it is locked. HomeBusyError unless the kernel says then that it is open nowhere.

        Without `holders` if it is not known who uses it: looking for them may take long (`users`).
        """

    def is_seen(self, record: OpenRecord) -> bool:
        """Whether the recorded home is open where this process sees it, whatever is written down of it by now. Quick."""

    def state_of(self, record: OpenRecord) -> tuple[str, tuple[str, ...]]:
        """How the kernel says that the recorded home is, and who has it where it is not seen: OPEN, PARTLY or LOCKED."""

    def users(self, record: OpenRecord, *, neighbours: bool = True) -> tuple[str, ...]:
        """Who uses the recorded home, one line each. Looks at other people's processes, for some seconds at most.

        Without `neighbours`, only processes of the owner and of root count.
        """

    def note_typed(self, account: Account, password: bytes) -> None:
        """Note, for root only and at the costs of a key file, that this password was typed. Nothing opens with it for that."""

    def was_typed(self, account: Account, password: bytes) -> bool:
        """Whether this is the password that was noted last."""

    def add_second(self, account: Account, old: bytes, second: bytes) -> None:
        """Let `second` open the home as well, at logins that something else verifies, as `old` does. Errors as of `unlock`."""

    def rewrite(self, account: Account, change: Rewrite) -> Event | None:
        """Put a prepared key file in place, and its copy: how the log calls that. None if another one is there now."""

    def remember(self, account: Account, opened: OpenedHome) -> None:
        """Keep a copy of the key files, which have just proved to be good by `opened`; mend those that have not.

        What they have replaced is forgotten. If others have verified whoever opens the home, they are approved.
        """

    def reserve(self, account: Account, old: bytes) -> None:
        """Make sure that a key file can be written in the place of the one that `old` opens. OSError if not."""

    def change_password(self, account: Account, old: bytes, new: bytes) -> int:
        """Let `new` open the home instead of the password so far: `old` is that, or a recovery key. No copy opens with `old` then.

        How many other directories still open with a forgotten password only, because the recovery key does not open them. Nothing
        has changed if it raises.
        """

    def try_recovery(self, account: Account, key: bytes) -> None:
        """Whether `key`, however it is typed, is a recovery key of the home: WrongPassphraseError if not. Nothing is changed."""

    def new_recovery(self, account: Account, answer: bytes, key: str) -> None:
        """Let the recovery key with the text `key` open the home in the place of the present one, if `answer` opens it."""

    def describe(self, account: Account) -> Description:
        """What there is to know about the home. Key files that are missing or damaged are described as such."""

    def set_wishes(self, account: Account, *, open_at_login: bool, lock_at_logout: bool) -> None:
        """Note what the owner wishes, for the phases of a login to honour."""

    def set_own_passphrase(self, account: Account, *, own: bool, secrets: Callable[[], tuple[bytes, bytes]]) -> None:
        """Have the home opened by a passphrase of its `own`, or by the login password.

        `secrets` gives the present and the new one, if they are needed. UpdateError if that cannot be; killed in the middle, the
        home counts as one with a passphrase of its own, which is one of the two.
        """

    def renew_costs(self, account: Account, password: Callable[[], bytes]) -> bool:
        """Wrap what `password` opens anew, at the costs of new passwords; False if it has them. UpdateError if that cannot be."""


def unnoted(_record: OpenRecord) -> None:
    """The `note` of a home that is opened where nobody else gets to it, and locked by whoever opens it."""
