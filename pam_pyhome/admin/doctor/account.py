"""What keeps the owner of an encrypted home from logging in at all, or from logging in with a password."""

from __future__ import annotations

import os
import pwd
import time
from typing import TYPE_CHECKING

from pam_pyhome.admin import login_shell
from pam_pyhome.admin.doctor.finding import FAIL, WARN, Finding
from pam_pyhome.admin.doctor.kernel import read_lines
from pam_pyhome.formats.words import quoted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pam_pyhome.backends.base import Account

_SHADOW = "/etc/shadow"
_HASH, _EXPIRES, _FIELDS = 1, 7, 8
_DAY = 86400
_WRITTEN = ("/", "/etc", "/var/lib", "/home")
_NOLOGIN = ("/etc/nologin", "/run/nologin")


def check(user: Account) -> Iterator[Finding]:
    """The password, the account's last day, the shell."""
    name = quoted(user.name)
    fields = next((line.split(":") for line in read_lines(_SHADOW) if line.startswith(f"{user.name}:")), [])
    if len(fields) > _FIELDS - 1:
        password = fields[_HASH]
        if not password:
            text = "logs in without a password, so that nothing opens the home"
            yield Finding(FAIL, "account.password", user.name, text, f"passwd {name}")
        elif password.startswith("!") and password.strip("!*"):
            yield Finding(WARN, "account.locked", user.name, "is locked: no password lets in", f"usermod --unlock {name}")
        if fields[_EXPIRES].isdigit() and int(fields[_EXPIRES]) * _DAY <= time.time():
            yield Finding(WARN, "account.expired", user.name, "has expired: nothing lets in", f"usermod --expiredate '' {name}")
    shell = _shell(user)
    if shell and shell != login_shell.STUB and not os.access(shell, os.X_OK):
        text = f"has the login shell {shell}, which cannot be run"
        yield Finding(FAIL, "account.shell", user.name, text, f"usermod --shell /bin/bash {name}")


def _shell(user: Account) -> str:
    try:
        return pwd.getpwnam(user.name).pw_shell
    except KeyError:
        return ""


def check_everybody() -> Iterator[Finding]:
    """What keeps all out but root, and all passwords as they are."""
    yield from _about_disks()
    for path in _NOLOGIN:
        if os.path.lexists(path):
            yield Finding(WARN, "account.nologin", path, "is there, so that nobody but root can log in", f"rm {path}")


def _about_disks() -> Iterator[Finding]:
    """File systems that passwords, key files and records are written to."""
    seen: set[int] = set()
    for path in _WRITTEN:
        device = os.stat(path).st_dev
        if device not in seen and os.statvfs(path).f_flag & os.ST_RDONLY:
            where = mount_of(path)
            text = "cannot be written: no password can be changed, and what homes need is not kept"
            yield Finding(FAIL, "disk.readonly", where, text, f"mount -o remount,rw {quoted(where)}")
        seen.add(device)


def mount_of(path: str) -> str:
    """Where the file system of a directory is mounted."""
    while not os.path.ismount(path):
        path = os.path.dirname(path)
    return path
