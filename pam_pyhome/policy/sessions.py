"""The session phases: mounting with the keys of the auth phase, locking behind the last session."""

from __future__ import annotations

import os
import pwd

from pam_pyhome import events
from pam_pyhome.backends import kept, registry
from pam_pyhome.errors import HomeBusyError, HomeElsewhereError, PyhomeError, StorageError, UnsafeFileError
from pam_pyhome.formats.shells import STUB
from pam_pyhome.formats.state import NO_DEVICE
from pam_pyhome.formats.words import one_line
from pam_pyhome.kernel import keyring
from pam_pyhome.kernel.notify import send_once
from pam_pyhome.kernel.process import join_first_mount_namespace, real_user
from pam_pyhome.policy import handover, locking, messages, own_keys
from pam_pyhome.policy.leases import GATE_SECONDS, UserState
from pam_pyhome.policy.telling import report_absence, sentence, was_told, why

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pam_pyhome.backends.base import Account, Backend
    from pam_pyhome.formats.opened import OpenedHome
    from pam_pyhome.formats.state import OpenRecord
    from pam_pyhome.policy.handle import Handle

DAEMON_SOCKET = "/run/pyhomed.sock"
MOST_LEFT = 64  # of what an earlier record names
JOB_SERVICES = ("cron", "crond", "atd")

# The session may use its keys but not pass them on; root, whose keys they are, may revoke them when the home is locked.
_SESSION_KEY = (
    keyring.KEY_POS_VIEW
    | keyring.KEY_POS_READ
    | keyring.KEY_POS_SEARCH
    | keyring.KEY_USR_VIEW
    | keyring.KEY_USR_SETATTR
)


def open_home(pamh: Handle, keyring_choice: str) -> int:
    """Open the home with what the auth phase left. The session starts in any case."""
    join_first_mount_namespace()
    opened = handover.take(pamh)
    # What auth has opened need not be found again.
    if opened is None:
        backend = registry.find(pamh.account)
    else:
        registry.reach(pamh.account)
        backend = registry.named(opened.backend)
    if backend is None:
        report_absence(pamh)
    else:
        open_with(pamh, backend, opened, keyring_choice)
    return pamh.PAM_SUCCESS


def open_with(pamh: Handle, backend: Backend, opened: OpenedHome | None, keyring_choice: str) -> bool:
    """Mount the home, put its keys where `keyring_choice` says, and have it watched; whether it is open now."""
    try:
        with UserState(pamh.account.uid) as state:
            if not state.close_gate(GATE_SECONDS):
                pamh.log(events.NOT_UNLOCKED, "another process has been opening or locking it for too long")
                return False
            return _attach(pamh, backend, state, opened, keyring_choice)
    except (OSError, PyhomeError) as error:
        # As where /run is full: what cannot be recorded is not opened, because nobody would lock it.
        _say_not_opened(pamh, error)
        return False


def _attach(pamh: Handle, backend: Backend, state: UserState, opened: OpenedHome | None, keyring_choice: str) -> bool:
    """Mount if need be and record what is mounted; whether the home is open now."""
    refuse_another(pamh.account, state)
    record = locking.what_is_open(state, backend, pamh.account)
    if record is not None:
        try:
            _adopt(pamh, state, record)
        except OSError as error:
            pamh.log(events.NOT_WATCHED, f"it is open, and that cannot be recorded: {error}")
        _watch(pamh)
        return True
    if opened is None:
        if state.read_record() is not None:
            _watch(pamh)
        _say_locked(pamh, backend)
        return False
    try:
        _mount(pamh, backend, state, opened, keyring_choice)
    except (PyhomeError, OSError) as error:
        _say_not_opened(pamh, error)
        return False
    return True


def refuse_another(account: Account, state: UserState) -> None:
    """StorageError if another user with the same uid has a home open: it would be taken for this user's, and locked with it."""
    record = state.read_record()
    if record is not None and record.user != account.name:
        reason = f"user {record.user} has the same uid {account.uid}, and their home is open; give each user a uid of their own"
        raise StorageError(f"the home of {account.name}", reason)


def _say_not_opened(pamh: Handle, error: Exception) -> None:
    pamh.log(events.NOT_UNLOCKED, why(pamh, error))
    pamh.tell(sentence(pamh, error))


def _adopt(pamh: Handle, state: UserState, found: OpenRecord) -> None:
    """Record a home that is open, unless it is on record: somebody else has opened it, or a process that was killed over it."""
    earlier = state.read_record()
    if earlier is not None and earlier.opening:
        _record(pamh, state, _beside(found, earlier).but(mount_keys=earlier.mount_keys))
    elif earlier is None or earlier.device != found.device:
        _record(pamh, state, _beside(found, earlier))


def _mount(pamh: Handle, backend: Backend, state: UserState, opened: OpenedHome, keyring_choice: str) -> None:
    """Mount, record it, give the keys to the session. What `Backend.attach` raises.

    On record it is before it is open, and what cannot be recorded afterwards is closed again.
    """
    earlier = state.read_record()
    try:

        def note(planned: OpenRecord) -> None:
            _record(pamh, state, _beside(planned, earlier))
            # Before there is anything to lock: should this process and its session be killed, somebody knows of the home.
            _watch(pamh)

        record = backend.attach(pamh.account, opened, note)
        keys = _give_keys(pamh, opened, keyring_choice) if backend.gives_session_keys else ()
        record = _beside(record, earlier).but(keys=keys)
        state.write_record(record)
    except (PyhomeError, OSError):
        _take_back(pamh, backend, state)
        raise
    pamh.log(events.UNLOCKED)
    _settle_files(pamh, backend, opened, record)
    _open_others(pamh, backend, state, opened, record)


def _open_others(pamh: Handle, backend: Backend, state: UserState, opened: OpenedHome, record: OpenRecord) -> None:
    """Open what else the password opens. The home is open, whatever comes of this."""
    stay_locked: list[str] = []
    try:
        backend.attach_others(pamh.account, opened, record, state.write_record, stay_locked.append)
    except (PyhomeError, OSError) as error:
        stay_locked.append(str(error))
    for reason in stay_locked:
        pamh.log(events.OTHERS_LOCKED, reason)
    try:
        state.note_besides(list(map(one_line, stay_locked)))
    except OSError as error:
        pamh.log(events.NOT_NOTED, f"which directories besides the home stay locked: {error}")


def _take_back(pamh: Handle, backend: Backend, state: UserState) -> None:
    """Close what was about to be opened. What remains open stays on record, and pyhomed goes on with it."""
    record = state.read_record()
    if record is None or not record.opening:
        return
    try:
        locking.take_away(state, backend, record)
    except (PyhomeError, OSError) as error:
        pamh.log(events.LOCK_UNCERTAIN, f"what was opened of it could not be closed again: {error}")


def open_by_hand(pamh: Handle, backend: Backend, opened: OpenedHome) -> bool:
    """Mount the home for whoever asked for it; False if it is open already.

    If no session holds it, it stays open until it is locked by hand. HomeElsewhereError, and what `Backend.attach` raises.
    """
    with UserState(pamh.account.uid) as state:
        if not state.close_gate(GATE_SECONDS):
            raise HomeElsewhereError(pamh.account.name)
        refuse_another(pamh.account, state)
        if locking.what_is_open(state, backend, pamh.account) is not None:
            return False
        _mount(pamh, backend, state, opened, "none")
        if not state.is_held():
            state.hold()
    return True


def _record(pamh: Handle, state: UserState, record: OpenRecord) -> None:
    """Record the home; keys of an earlier record, whose home somebody else unmounted, are dropped."""
    earlier = state.read_record()
    if earlier is not None:
        locking.drop_keys(pamh.account.uid, earlier)
    state.drop_hold()
    state.write_record(record)


def _beside(record: OpenRecord, earlier: OpenRecord | None) -> OpenRecord:
    """The record, with what an earlier one names that may still be there where it is not seen: a mount's copies, another key."""
    if earlier is None or earlier.backend != record.backend:
        return record
    if record.claims:
        names = {(claim.uid, claim.identifier, claim.device) for claim in record.claims}
        others = tuple(claim for claim in earlier.claims if (claim.uid, claim.identifier, claim.device) not in names)
        return record.but(claims=(*record.claims, *others)[:MOST_LEFT])
    left = dict.fromkeys(device for device in (earlier.device, *earlier.left) if device not in (NO_DEVICE, record.device))
    return record.but(left=tuple(left)[:MOST_LEFT])


def _give_keys(pamh: Handle, opened: OpenedHome, choice: str) -> tuple[int, ...]:
    """Put the keys where the administrator wants them besides the mount; their serials."""
    if choice == "none":
        return ()
    serials = [
        _add_to_user(pamh, *key) if choice == "user" else pamh.add_session_key(*key, _SESSION_KEY)
        for key in opened.keys
    ]
    if None in serials:
        pamh.log(events.KEYS_NOT_GIVEN, f"not all could be put into the {choice} keyring; the home is open all the same")
    return tuple(serial for serial in serials if serial is not None)


def _add_to_user(pamh: Handle, signature: str, payload: bytes) -> int | None:
    """Add a key to the user's own keyring, as pam_ecryptfs does."""
    account = pamh.account
    with real_user(account.uid):
        try:
            return keyring.add_key("user", signature, payload, keyring.KEY_SPEC_USER_KEYRING)
        except OSError as error:
            pamh.log(events.KEYS_NOT_GIVEN, f"{signature}: {error}")
            return None


def _settle_files(pamh: Handle, backend: Backend, opened: OpenedHome, record: OpenRecord) -> None:
    """Write the key file that auth prepared, keep a copy of files that have just proved to be good, and note where the home is."""
    try:
        change = opened.rewrite
        if change is not None:
            done = backend.rewrite(pamh.account, change)
            pamh.log(*((done,) if done is not None else (events.KEY_FILE_AS_IT_WAS, "it was changed by somebody else meanwhile")))
            if done is None:
                return
        backend.remember(pamh.account, opened)
        kept.note_place(pamh.account, record.source)
    except (PyhomeError, OSError) as error:
        pamh.log(events.KEY_FILE_AS_IT_WAS, f"{error}; the home is open all the same")


def _say_locked(pamh: Handle, backend: Backend) -> None:
    """Tell a session without a key that it starts without the home, unless its owner wants that or knows it."""
    if backend.wishes(pamh.account).open_at_login and not was_told(pamh):
        pamh.log(events.STARTS_LOCKED, "no password was seen that could open it")
        if not _shell_asks(pamh.account.name):
            pamh.tell(messages.locked(pamh.account.name))


def _shell_asks(user: str) -> bool:
    """Whether the login shell is the one that says itself that the home is locked, and asks."""
    try:
        return os.fsencode(pwd.getpwnam(user).pw_shell) == STUB
    except KeyError:
        return False


def _watch(pamh: Handle) -> bool:
    """Have pyhomed notice the end of sessions that are killed. Without it, homes are still locked by sessions that end.

    False if it does not answer. It logs what keeps the home open, as long as that lasts.
    """
    try:
        send_once(DAEMON_SOCKET, f"watch {pamh.account.uid}\n".encode("ascii"))
    except OSError as error:
        pamh.log(events.NOT_WATCHED, f"it does not answer ({error}); sessions that are killed will not lock the home")
        return False
    return True


def close_home(pamh: Handle) -> int:
    """Lock the home if no lease is left. A busy home is left to pyhomed, which tries again.

    While other sessions hold it, only the SSH keys of its owner are carried to where sshd finds them.
    """
    join_first_mount_namespace()
    account = pamh.account
    try:
        outcome = locking.lock_if_unused(account.uid, lambda name: account if name == account.name else locking.find_account(name))
    except HomeBusyError as error:
        if not _watch(pamh):
            pamh.log(locking.busy_event(error), "; ".join(error.holders))
    except (UnsafeFileError, OSError) as error:
        pamh.log(events.LOCK_UNCERTAIN, str(error))
        _watch(pamh)
    else:
        if outcome == locking.LOCKED:
            pamh.log(events.LOCKED, "the last session has ended")
        elif outcome == locking.IN_USE:
            own_keys.carry_out(account.name)
    return pamh.PAM_SUCCESS


def admit_job(pamh: Handle) -> int:
    """PAM_PERM_DENIED for a job on a locked home, else PAM_IGNORE."""
    if pamh.service not in JOB_SERVICES:
        return pamh.PAM_IGNORE
    join_first_mount_namespace()
    backend = registry.find(pamh.account)
    if backend is None or backend.mounted(pamh.account) is not None or not backend.wishes(pamh.account).open_at_login:
        return pamh.PAM_IGNORE
    pamh.log(events.JOB_REFUSED)
    pamh.tell(messages.job_refused(pamh.account.name))
    return pamh.PAM_PERM_DENIED
