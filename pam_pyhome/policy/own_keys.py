"""What the owner does to ~/.ssh/authorized_keys in the open home reaches the layout for sshd, at the latest before it is locked.

By a program of its own: reading what the owner wrote is not for the process that is about to take the home away, and what it does
wrong, or how long it takes, must not keep the home open.
"""

from __future__ import annotations

import os
import stat

from pam_pyhome import events
from pam_pyhome.errors import SshdError
from pam_pyhome.kernel.log import Person, log
from pam_pyhome.kernel.process import rights_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pam_pyhome.backends.base import Account

DROP_IN = "/etc/ssh/sshd_config.d/0-pyhome.conf"
PROGRAM = "/usr/lib/pyhome/pyhome-sync"
# The gate is held meanwhile, and whoever logs in waits for it no longer than GATE_SECONDS.
SECONDS = 5.0
# Nobody waits for the gate while a user asks for it.
_ASKED_SECONDS = 30.0
# What the program ends with when it is to TELL what it did on its standard output, a line each.
TELL = "--tell"
UNCHANGED, CHANGED = 0, 10
_SAID_MAX = 65536
_LINES_MAX = 50
_DROP_IN_MAX = 1 << 20
_WAY = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


def carry_out(name: str) -> None:
    """Have the keys of user `name` carried out of the open home. Nothing where there is no layout; no error is raised."""
    if not os.path.lexists(DROP_IN):
        return
    from pam_pyhome.kernel import child  # noqa: PLC0415 - most machines have no layout

    try:
        status = child.run(PROGRAM, name, seconds=SECONDS)
    except OSError as error:
        log(events.KEYS_NOT_CARRIED, f"{PROGRAM}: {error.strerror}", Person(name))
        return
    if status is None:
        log(events.KEYS_NOT_CARRIED, f"{PROGRAM} was ended after {SECONDS:.0f} s; the home is locked without it", Person(name))


def sync(name: str, say: Callable[[str], None]) -> bool:
    """Carry the keys of user `name` to the layout because they ask for it; whether they were others.

    `say` is given what is wrong with them, a line at a time. SshdError if it is not done.
    """
    from pam_pyhome.kernel import child  # noqa: PLC0415 - as above

    out = os.memfd_create("said")
    try:
        status = child.run(PROGRAM, TELL, name, seconds=_ASKED_SECONDS, out=out)
        said = os.pread(out, _SAID_MAX, 0).decode("utf-8", "replace")
    except OSError as error:
        raise SshdError(PROGRAM, error.strerror or "cannot be run") from None
    finally:
        os.close(out)
    told = [line for line in said.split("\n") if line][:_LINES_MAX]
    if status not in (UNCHANGED, CHANGED):
        what, _, reason = (told[-1] if told else "").partition(": ")
        raise SshdError(what or PROGRAM, reason or "did not do it; the system log may say why")
    for line in told:
        say(line)
    return status == CHANGED


def names(account: Account) -> tuple[str, ...]:
    """The paths below the home of the key files that sshd asks besides the layout; none where there is no layout."""
    try:
        with open(DROP_IN, encoding="utf-8", errors="surrogateescape") as file:
            lines = file.read(_DROP_IN_MAX).splitlines()
    except OSError:
        return ()
    words = [word for line in lines if line.strip().startswith("AuthorizedKeysFile ") for word in line.split()[1:]]
    values = {"%h": account.home, "%u": account.name, "%U": str(account.uid)}
    for token, value in values.items():
        words = [word.replace(token, value) for word in words]
    home = account.home.rstrip("/") + "/"
    return tuple(dict.fromkeys(word.removeprefix(home) for word in words if word.startswith(home) or not word.startswith("/")))


def stamps(account: Account, paths: tuple[str, ...]) -> tuple[tuple[int, int, int], ...]:
    """What changes with each of these files and the directories on their way, as their owner sees them.

    Nothing is waited for: what is on another file system, as one in user space that never answers, is not looked at.
    """
    found: list[tuple[int, int, int]] = []
    with rights_of(account.uid, account.gid):
        try:
            home = os.open(account.home, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            return ()
        try:
            for path in paths:
                found += _along(home, path.split("/"))
        finally:
            os.close(home)
    return tuple(found)


def _along(home: int, way: list[str]) -> list[tuple[int, int, int]]:
    """Inode, time of change and size of each step below `home`, as far as there is one."""
    found: list[tuple[int, int, int]] = []
    device, here = os.fstat(home).st_dev, os.dup(home)
    try:
        for name in way:
            inner = os.open(name, _WAY, dir_fd=here)
            os.close(here)
            here = inner
            status = os.fstat(here)
            if status.st_dev != device:
                break
            found.append((status.st_ino, status.st_ctime_ns, status.st_size))
            if not stat.S_ISDIR(status.st_mode):
                break
    except OSError:
        pass
    finally:
        os.close(here)
    return found
