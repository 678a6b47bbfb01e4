"""Accounts, made and changed by the system's own tools. Secrets reach them by their standard input only."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import re
import shutil
import signal
import subprocess
from typing import TYPE_CHECKING

from pam_pyhome.admin import creation_facts as facts
from pam_pyhome.admin import pam_files
from pam_pyhome.admin.accounts import look_up
from pam_pyhome.backends import fscrypt_store, kept
from pam_pyhome.backends.base import Account
from pam_pyhome.errors import CreateError, FormatError, UnsafeFileError
from pam_pyhome.formats import fscrypt_meta as meta
from pam_pyhome.kernel import chkpwd, files, libpam
from pam_pyhome.policy.users import number, setting, uid_min

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pam_pyhome.admin.new_account import Wishes

PASSWORD_MAX = 511  # what PAM's conversation takes
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
_SECONDS = 120
_NAME = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_SERVICES = ("login", "sshd")
_INTERRUPTIONS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_TAKEN = (4, 9)  # useradd: the uid or the name is in use


def run(
    arguments: Sequence[str], lock: int | None = None, *, said: bytes = b"", rights: Account | None = None
) -> tuple[int, str, str]:
    """Run a tool of the system to its end, whatever happens to this process; status and both outputs.

    It holds the `lock` until it ends. With the `rights` of an account it is not handed that, because its owner can do with it as
    they like; it ends with this process then.
    """
    found = shutil.which(arguments[0], path=_PATH)
    if found is None:
        return 127, "", f"there is no {arguments[0]}"
    command = [found, *arguments[1:]]
    if rights is not None:
        identity = (f"--reuid={rights.uid}", f"--regid={rights.gid}", "--clear-groups")
        command = [shutil.which("setpriv", path=_PATH) or "setpriv", *identity, "--pdeathsig", "KILL", "--", *command]
    try:
        ran = subprocess.run(
            command,
            input=said,
            capture_output=True,
            env={"PATH": _PATH, "LC_ALL": "C.UTF-8"},
            cwd="/",
            pass_fds=() if lock is None or rights is not None else (lock,),
            start_new_session=True,
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return 124, "", f"did not end in {_SECONDS} seconds"
    return ran.returncode, ran.stdout.decode("utf-8", "replace"), ran.stderr.decode("utf-8", "replace").strip()


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Let Ctrl-C and requests to end wait, for this process and the tools that it runs. Where all went well they come too late."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _INTERRUPTIONS)
    try:
        yield
        # A signal that waits is forgotten when it begins to be ignored.
        handlers = {number: signal.signal(number, signal.SIG_IGN) for number in _INTERRUPTIONS}
        for number, handler in handlers.items():
            signal.signal(number, handler)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _checked(user: str, lock: int, *arguments: str, said: bytes = b"") -> None:
    status, _, complaint = run(arguments, lock, said=said)
    if status != 0:
        raise CreateError(user, facts.TOOL_FAILED, f"{arguments[0]}: {complaint or f'status {status}'}")


def planned(user: str, wanted: int | None = None) -> Account:
    """The account that would be made: its number is one above the highest, as useradd has it, and nobody's traces are left of it.

    CreateError if the name is not one, or is that of a group; if the number that is wanted is not free, or not one for users.
    """
    if not _NAME.fullmatch(user):
        raise CreateError(user, facts.BAD_NAME)
    with contextlib.suppress(KeyError):
        raise CreateError(user, facts.GROUP_EXISTS, f"gid {grp.getgrnam(user).gr_gid}")
    first, last = uid_min(), number("UID_MAX", 60000)
    taken = {each.pw_uid for each in pwd.getpwall()} | {each.gr_gid for each in grp.getgrall()} | _traces()
    if wanted is not None:
        if not first <= wanted <= last or wanted in taken:
            raise CreateError(user, facts.TAKEN, f"uid {wanted}")
        return Account(user, wanted, wanted, f"{base()}/{user}")
    ordinary = [each.pw_uid for each in pwd.getpwall() if first <= each.pw_uid <= last]
    above = range(max(ordinary, default=first - 1) + 1, last + 1)
    for uid in (*above, *range(first, last + 1)):
        if uid not in taken:
            return Account(user, uid, uid, f"{base()}/{user}")
    raise CreateError(user, facts.TOOL_FAILED, f"all uids from {first} to {last} are in use")


def base() -> str:
    """Where useradd would make homes."""
    _, said, _ = run(["useradd", "-D"])
    bases = [line.removeprefix("HOME=") for line in said.splitlines() if line.startswith("HOME=/")]
    return bases[0].rstrip("/") if bases else "/home"


def _traces() -> set[int]:
    """Uids of users who are gone, as far as encrypted homes of theirs are not: a password of another's would be asked for."""
    found: set[int] = set()
    with contextlib.suppress(OSError):
        found.update(int(name.partition(".")[0]) for name in os.listdir(kept.STATE) if name.partition(".")[0].isdigit())
    try:
        directory = fscrypt_store.open_metadata(fscrypt_store.ROOT, fscrypt_store.PROTECTORS, (0,))
    except (OSError, UnsafeFileError):
        return found
    try:
        for name in os.listdir(directory):
            owner = os.stat(name, dir_fd=directory, follow_symlinks=False).st_uid
            with contextlib.suppress(OSError, UnsafeFileError, FormatError):
                content = files.read_file(directory, name, owners=(owner,), limit=meta.MAX_SIZE)
                found.add(meta.parse_protector(content, name).uid)
    finally:
        os.close(directory)
    return found


def has_password(user: str) -> bool | None:
    """Whether the account has a password that lets somebody in; None if that cannot be told, as where it is kept elsewhere."""
    status, said, _ = run(["getent", "shadow", user])
    fields = said.split(":")
    if status != 0 or len(fields) < 2:
        return None
    return bool(fields[1]) and not fields[1].startswith(("!", "*"))


def is_whole(user: str) -> bool:
    """Whether useradd came to its end."""
    try:
        grp.getgrnam(user)
    except KeyError:
        return False
    return has_password(user) is not None


def check_password(user: str, password: bytes) -> None:
    """CreateError if a password cannot be that of any account."""
    if not password:
        raise CreateError(user, facts.BAD_PASSWORD, "it is empty")
    if len(password) > PASSWORD_MAX or any(byte in b"\0\r\n" for byte in password):
        raise CreateError(user, facts.BAD_PASSWORD, f"it has more than {PASSWORD_MAX} bytes, a line break or a NUL in it")


def check_login(user: str, password: bytes) -> None:
    """CreateError if the account has another password, as far as that can be told here."""
    if has_password(user) is None:
        service = _service()
        wrong = service is not None and libpam.authenticate(service, user, password) != libpam.SUCCESS
    else:
        wrong = chkpwd.is_wrong(user, password)
    if wrong:
        raise CreateError(user, facts.WRONG_PASSWORD)


def _service() -> str | None:
    """A PAM service at which people log in: its modules know also those whose passwords are kept elsewhere."""
    places = (f"{directory}/{name}" for name in _SERVICES for directory in pam_files.DIRECTORIES)
    return next((os.path.basename(path) for path in places if os.path.isfile(path)), None)


def add(account: Account, wishes: Wishes, lock: int) -> None:
    """Make the account, without a password, and without a home directory. CreateError; there is no account then."""
    options = ("--no-create-home", "--home-dir", account.home, "--uid", str(account.uid), "--user-group", *wishes.options())
    status, _, complaint = run(["useradd", *options, "--", account.name], lock)
    if status == 0 and look_up(account.name) == account:
        return
    # What it left may go, unless it is the account that somebody else has made meanwhile.
    if status not in _TAKEN:
        remove(account, lock)
    raise CreateError(account.name, facts.TOOL_FAILED, f"useradd: {complaint or f'status {status}'}")


def remove(account: Account, lock: int) -> None:
    """Remove the account again, unless it is another one. CreateError."""
    found = look_up(account.name)
    if found is not None and found.uid == account.uid:
        _checked(account.name, lock, "userdel", "--", account.name)


def set_password(user: str, password: bytes, lock: int) -> None:
    """Give the account a password. CreateError.

    Without PAM, whose modules would take it for a reset by root and say that the home does not follow.
    """
    method = setting("ENCRYPT_METHOD") or "SHA512"
    _checked(user, lock, "chpasswd", "--crypt-method", method, said=user.encode() + b":" + password + b"\n")
