"""Handing an opened home from the auth phase to the session phase.

It travels in the PAM handle, which a forked session process inherits. Where the authentication itself ran in a child, as with
sshd's keyboard-interactive, the handle of the session knows nothing of it; for that case it also waits, for a minute and for
root only, in a key that names the process that may take it.
"""

from __future__ import annotations

from pam_pyhome import events
from pam_pyhome.errors import FormatError
from pam_pyhome.formats.opened import OpenedHome, emit_opened, parse_opened
from pam_pyhome.kernel import keyring
from pam_pyhome.kernel.process import parent_of, start_time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pam_pyhome.policy.handle import Handle

DATA = "opened"
SECONDS = 60
_ROOT_ONLY = (
    keyring.KEY_POS_VIEW
    | keyring.KEY_POS_READ
    | keyring.KEY_POS_WRITE
    | keyring.KEY_POS_SEARCH
    | keyring.KEY_USR_VIEW
    | keyring.KEY_USR_READ
    | keyring.KEY_USR_SEARCH
    | keyring.KEY_USR_SETATTR
)


def hand_over(pamh: Handle, opened: OpenedHome) -> None:
    """Leave the opened home for the session phase of this process, or of its parent."""
    content = emit_opened(opened)
    pamh.set_data(DATA, content)
    description = _description(pamh, parent_of(pamh.pid))
    try:
        _possess()
        # A key of this name that nobody has taken, even one that has expired, is filled anew.
        serial = keyring.add_key("user", description, content, keyring.KEY_SPEC_USER_KEYRING)
        keyring.set_permissions(serial, _ROOT_ONLY)
        keyring.set_timeout(serial, SECONDS)
    except OSError as error:
        pamh.log(events.NOT_NOTED, f"no key for a session of the parent process: {error}")


def _possess() -> None:
    """Have this process possess root's own keyring, which a service's session keyring does not link to."""
    keyring.link(keyring.KEY_SPEC_USER_KEYRING, keyring.KEY_SPEC_PROCESS_KEYRING)


def take(pamh: Handle) -> OpenedHome | None:
    """The opened home that the auth phase left for this user and process, or None. It can be taken once."""
    content = pamh.get_data(DATA)
    pamh.set_data(DATA, None)
    own = _take_key(_description(pamh, pamh.pid))
    _take_key(_description(pamh, parent_of(pamh.pid)))
    if content is None:
        content = own
    try:
        opened = parse_opened(content) if content is not None else None
    except FormatError as error:
        pamh.log(events.NOT_UNLOCKED, f"what was left for the session is unusable: {error}")
        return None
    return opened if opened is not None and opened.user == pamh.account.name else None


def settle(pamh: Handle, opened: OpenedHome) -> None:
    """The key file that `opened` asked for is written: leave the rest of it for the session phase."""
    pamh.set_data(DATA, emit_opened(opened.without_rewrite()))


def _description(pamh: Handle, pid: int) -> str:
    """The name of the key for process `pid`, which its start time tells from a later process with the same number."""
    try:
        start = start_time(pid)
    except OSError:
        start = 0
    return f"pyhome:opened:{pamh.account.uid}:{pid}:{start}"


def _take_key(description: str) -> bytes | None:
    """The payload of a one-shot key, which exists no more afterwards."""
    try:
        _possess()
        serial = keyring.search(keyring.KEY_SPEC_USER_KEYRING, "user", description)
        content = keyring.read(serial)
        keyring.revoke(serial)
        keyring.unlink(serial, keyring.KEY_SPEC_USER_KEYRING)
    except OSError:
        return None
    return content
