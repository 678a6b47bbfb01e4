"""Making pyhome-shell somebody's login shell, and taking that back.

The real shell is written to ``/etc/pyhome-shells`` before the password database changes, and removed after it has changed back, so
that at no instant a login finds the one without the other.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
from typing import TYPE_CHECKING, NamedTuple

from pam_pyhome import events
from pam_pyhome.admin import agent_place
from pam_pyhome.backends import ecryptfs_mount, registry
from pam_pyhome.backends.base import Account
from pam_pyhome.errors import LoginShellError, NoUserError, PyhomeError, StorageError
from pam_pyhome.formats import shells
from pam_pyhome.kernel import files
from pam_pyhome.kernel.log import log
from pam_pyhome.policy.users import uid_min

if TYPE_CHECKING:
    from collections.abc import Iterator

STUB = os.fsdecode(shells.STUB)
LISTED = "/etc/shells"

SYSTEM_USER = "is not an ordinary user"
NOT_ENCRYPTED = "has no encrypted home"
NO_LOGIN = "has a shell that lets nobody in"
NOT_RUNNABLE = "has a shell that cannot be run"
NOT_LISTED = "the login shell is not listed"
BROKEN = "the login shell does not work for this user"
NOT_RECORDED = "nobody has recorded the real shell"
NOT_CHANGED = "the password database was not changed"

_NO_LOGIN = {"nologin", "false", "true", "sync", "halt", "shutdown", "reboot"}
_DEFAULT = "/bin/sh"
_TEST_SECONDS = 20
_LOCK_SECONDS = 10.0


class Found(NamedTuple):
    """How it is: the shell in the password database, the recorded real one, and whether the two make sense together."""

    user: str
    login_shell: str
    real_shell: str | None
    enabled: bool


def show(user: str) -> Found:
    """How it is with a user. LoginShellError if there is none; FormatError or UnsafeFileError for a list that is damaged."""
    entry = _entry(user)
    with _open_etc() as etc:
        recorded = _read(etc).get(os.fsencode(user))
    return Found(user, entry.pw_shell, os.fsdecode(recorded) if recorded else None, _is_stub(entry.pw_shell))


def enable(user: str) -> bool:
    """Make pyhome-shell the user's login shell; whether anything changed.

    LoginShellError where that would lock the user out or makes no sense; nothing has changed then.
    """
    entry = _entry(user)
    account = Account(user, entry.pw_uid, entry.pw_gid, entry.pw_dir)
    mounted_over = _check_account(account)
    _check_listed(user)
    with _locked_etc() as etc:
        known = _read(etc)
        real = known.get(os.fsencode(user)) if _is_stub(entry.pw_shell) else os.fsencode(entry.pw_shell or _DEFAULT)
        if real is None:
            raise LoginShellError(user, NOT_RECORDED, shells.PATH)
        _check_real(user, os.fsdecode(real))
        prepared = mounted_over and agent_place.prepare(account)
        if _is_stub(entry.pw_shell):
            return prepared
        _check_stub(account, real)
        _write(etc, known | {os.fsencode(user): real})
        try:
            _set_shell(user, STUB)
        except LoginShellError:
            _write(etc, known)
            raise
    log(events.SHELL_CHANGED, STUB, account)
    return True


def disable(user: str) -> bool:
    """Give the user the real shell back; whether anything changed. LoginShellError if it is not known, or cannot be run."""
    entry = _entry(user)
    with _locked_etc() as etc:
        known = _read(etc)
        real = known.pop(os.fsencode(user), None)
        enabled = _is_stub(entry.pw_shell)
        if enabled and real is None:
            raise LoginShellError(user, NOT_RECORDED, shells.PATH)
        if enabled and real is not None:
            _check_real(user, os.fsdecode(real))
            _set_shell(user, os.fsdecode(real))
        if real is not None:
            _write(etc, known)
    account = Account(user, entry.pw_uid, entry.pw_gid, entry.pw_dir)
    agent_place.remove(account)
    if enabled:
        log(events.SHELL_CHANGED, os.fsdecode(real or b""), account)
    return enabled or real is not None


def keep(user: str | None = None) -> Iterator[tuple[str, str]]:
    """Put pyhome-shell back for users who have chosen another shell, and make that the real one; whom, and which.

    Only what /etc/shells lists is a choice: whatever else root has set, as nologin, stays. Without `user`, for everybody.
    LoginShellError, FormatError, UnsafeFileError or StorageError where that cannot be done.
    """
    if not os.path.lexists(shells.PATH):
        return
    with _locked_etc() as etc:
        for name in sorted(map(os.fsdecode, _read(etc))):
            shell = _chosen(name) if user in {None, name} else None
            if shell is not None:
                _write(etc, _read(etc) | {os.fsencode(name): os.fsencode(shell)})
                _set_shell(name, STUB)
                yield name, shell


def _chosen(user: str) -> str | None:
    """The shell that somebody has chosen who was to have pyhome-shell, if it can stand behind that."""
    try:
        entry = _entry(user)
        shell = entry.pw_shell or _DEFAULT
        if _is_stub(shell) or not {shell, STUB} <= _listed():
            return None
        _check_real(user, shell)
        account = Account(user, entry.pw_uid, entry.pw_gid, entry.pw_dir)
        _check_account(account)
        _check_stub(account, os.fsencode(shell))
    except LoginShellError:
        return None
    return shell


# What could lock the user out


def _entry(user: str) -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(user)
    except (KeyError, ValueError):
        raise NoUserError(user) from None


def _check_account(account: Account) -> bool:
    """An ordinary user whose home, and not just a directory in it, is encrypted; whether there is a directory below it."""
    if account.uid < uid_min() or not shells.is_name(os.fsencode(account.name)):
        raise LoginShellError(account.name, SYSTEM_USER, f"uid {account.uid}")
    try:
        backend = registry.find(account)
        place = os.fsdecode(ecryptfs_mount.mountpoint(account)) if backend and backend.name == "ecryptfs" else None
    except (OSError, PyhomeError) as error:
        raise LoginShellError(account.name, NOT_ENCRYPTED, str(error)) from None
    if backend is None:
        raise LoginShellError(account.name, NOT_ENCRYPTED)
    if place is not None and place != os.path.realpath(account.home):
        raise LoginShellError(account.name, NOT_ENCRYPTED, f"what is encrypted is {place}")
    return place is not None


def _check_listed(user: str) -> None:
    """A login shell that is not in /etc/shells is refused by pam_shells, ftp servers and chsh."""
    if STUB not in _listed():
        raise LoginShellError(user, NOT_LISTED, LISTED)


def _listed() -> set[str]:
    """What /etc/shells lists."""
    try:
        with open(LISTED, encoding="utf-8", errors="replace") as file:
            return {line.strip() for line in file}
    except FileNotFoundError:
        return set()


def _check_real(user: str, shell: str) -> None:
    """The real shell is one that lets people in, and there."""
    if os.path.basename(shell) in _NO_LOGIN:
        raise LoginShellError(user, NO_LOGIN, shell)
    if _is_stub(shell) or not shells.is_shell(os.fsencode(shell)) or not _is_program(shell):
        raise LoginShellError(user, NOT_RUNNABLE, shell)


def _is_program(path: str) -> bool:
    return os.path.isfile(path) and bool(os.stat(path).st_mode & 0o001)


def _is_stub(path: str) -> bool:
    with contextlib.suppress(OSError):
        return path == STUB or os.path.samefile(path, STUB)
    return False


def _check_stub(account: Account, real: bytes) -> None:
    """Run it as the user would, but for the real shell, of which it says that it would run it.

    The shell and its start-up files are the user's, and could type on the terminal on which root gave the command.
    """
    try:
        ran = subprocess.run(
            [STUB, os.fsdecode(shells.WHICH)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env={"PATH": os.defpath, "HOME": account.home, "LC_ALL": "C.UTF-8"},
            cwd="/",
            user=account.uid,
            group=account.gid,
            extra_groups=os.getgrouplist(account.name, account.gid),
            start_new_session=True,
            timeout=_TEST_SECONDS,
            check=False,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise LoginShellError(account.name, BROKEN, str(error)) from None
    said = ran.stderr.decode("utf-8", "replace").strip()
    if ran.returncode != 0 or ran.stdout != real + b"\n":
        raise LoginShellError(account.name, BROKEN, said or f"status {ran.returncode}")


# What changes


def _set_shell(user: str, shell: str) -> None:
    """Change the password database, which locks itself, and look whether it did change."""
    usermod = shutil.which("usermod", path="/usr/sbin:/usr/bin:/sbin:/bin")
    if usermod is None:
        raise LoginShellError(user, NOT_CHANGED, "there is no usermod")
    ran = subprocess.run(
        [usermod, "--shell", shell, "--", user], stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    if ran.returncode != 0 or _entry(user).pw_shell != shell:
        raise LoginShellError(user, NOT_CHANGED, ran.stderr.decode("utf-8", "replace").strip())


@contextlib.contextmanager
def _open_etc() -> Iterator[int]:
    """The directory of the list."""
    etc = files.open_directory(os.path.dirname(shells.PATH), owners=(0,))
    try:
        yield etc
    finally:
        os.close(etc)


@contextlib.contextmanager
def _locked_etc() -> Iterator[int]:
    """The same, with the lock of those who change the list."""
    with _open_etc() as etc:
        if not files.try_lock(etc, exclusive=True, seconds=_LOCK_SECONDS):
            raise StorageError(shells.PATH, "is being changed by somebody else")
        yield etc


def _read(etc: int) -> dict[bytes, bytes]:
    """The list; empty if there is none."""
    try:
        return shells.parse_shells(
            files.read_file(etc, os.path.basename(shells.PATH), owners=(0,), limit=shells.MAX_SIZE)
        )
    except FileNotFoundError:
        return {}


def _write(etc: int, known: dict[bytes, bytes]) -> None:
    """Replace the list, so that everybody can read it whatever the umask; an empty one is removed."""
    name = os.path.basename(shells.PATH)
    if not known:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=etc)
        return
    mask = os.umask(0o022)
    try:
        files.replace_file(etc, name, shells.emit_shells(known), mode=0o644)
    finally:
        os.umask(mask)
