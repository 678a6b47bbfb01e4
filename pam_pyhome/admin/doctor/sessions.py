"""Who holds homes open, whether the records of that are true, and what runs on without a session."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pam_pyhome.admin.accounts import look_up
from pam_pyhome.admin.doctor.finding import OK, WARN, Finding
from pam_pyhome.backends import registry
from pam_pyhome.errors import FormatError, PyhomeError, UnsafeFileError
from pam_pyhome.formats.facts import LOCKED, OPEN, PARTLY
from pam_pyhome.formats.state import parse_open
from pam_pyhome.formats.words import quoted
from pam_pyhome.kernel import files
from pam_pyhome.policy import leases

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pam_pyhome.backends.base import Account
    from pam_pyhome.formats.state import OpenRecord

LINGER = "/var/lib/systemd/linger"
_RECORD_MAX = 65536


def check_leases(account: Account | None) -> Iterator[Finding]:
    """Who holds homes open, and whether the records are true."""
    try:
        uids = sorted(int(name) for name in os.listdir(leases.RUN) if name.isdigit())
    except FileNotFoundError:
        uids = []
    chosen = [uid for uid in uids if account is None or uid == account.uid]
    findings = [finding for uid in chosen for finding in _about_state(uid)]
    yield from findings
    if not findings:
        yield Finding(OK, "leases", account.name if account else leases.RUN, "no home is open and none is held")


def _about_state(uid: int) -> Iterator[Finding]:
    directory = files.open_directory(f"{leases.RUN}/{uid}", owners=(0,))
    try:
        held = _held_locks(directory)
        names = [name for name in os.listdir(directory) if name.startswith(leases.LEASE_PREFIX)]
        on_hold = files.exists(directory, leases.HOLD)
        alive = sum(os.stat(name, dir_fd=directory).st_ino in held for name in names)
        content = files.read_file(directory, leases.OPEN, owners=(0,), limit=_RECORD_MAX)
        record = parse_open(content)
    except FileNotFoundError:
        return
    except (FormatError, UnsafeFileError) as error:
        text = f"cannot be understood ({error.reason}), so the home counts as locked"
        yield Finding(WARN, "leases.record", f"{leases.RUN}/{uid}/{leases.OPEN}", text, f"rm {leases.RUN}/{uid}/{leases.OPEN}")
        return
    finally:
        os.close(directory)
    path, state = os.fsdecode(record.mountpoint), _state(record)
    if state == LOCKED:
        text = f"is on record as open at {path}, but is open nowhere; the next login opens it again"
        yield Finding(WARN, "leases.record", record.user, text, f"rm {leases.RUN}/{uid}/{leases.OPEN}")
    elif state == PARTLY:
        text = "has a home that is only partly locked: files stay readable until the processes that use them have ended"
        yield Finding(WARN, "leases.partly", record.user, text, f"pyhome lock --force {quoted(record.user)}")
    elif on_hold and not alive:
        yield Finding(OK, "leases", record.user, "has an open home, opened by hand, until 'pyhome lock'")
    elif not alive:
        yield Finding(WARN, "leases.held", record.user, "has an open home, but no session", f"pyhome lock {quoted(record.user)}")
    else:
        yield Finding(OK, "leases", record.user, f"has an open home, held by {alive} sessions")


def _state(record: OpenRecord) -> str:
    """How the home that is on record as open is, wherever its path leads by now."""
    try:
        status = os.stat(record.mountpoint)
        if record.backend == "ecryptfs" and f"{os.major(status.st_dev)}:{os.minor(status.st_dev)}" == record.device:
            return OPEN
    except OSError:
        pass
    try:
        return registry.named(record.backend).state_of(record)[0]
    except (OSError, PyhomeError):
        return OPEN


def _held_locks(directory: int) -> set[int]:
    """The inodes of the file system of `directory` that somebody has locked with flock, as /proc/locks has them.

    Asking the kernel leaves the locks alone; whoever tried one could be in the way of a session that is just beginning.
    """
    device = os.fstat(directory).st_dev
    wanted = f"{os.major(device):02x}:{os.minor(device):02x}"
    with open("/proc/locks", encoding="ascii", errors="replace") as file:
        fields = [line.split() for line in file if " FLOCK " in line and " -> " not in line]
    places = [each[5].rpartition(":") for each in fields if len(each) > 5]
    return {int(inode) for where, _, inode in places if where == wanted and inode.isdigit()}


def check_lingering(account: Account | None) -> Iterator[Finding]:
    """Users whose manager runs on after their last session, and with it what keeps a home busy."""
    try:
        names = sorted(os.listdir(LINGER))
    except FileNotFoundError:
        names = []
    found = [name for name in names if (account is None or name == account.name) and _is_encrypted(name)]
    for name in found:
        text = "lingers: services of the user run without a session, which find a locked home, or keep an open one busy"
        is_managed = os.path.isdir("/run/systemd/system")
        mend = f"loginctl disable-linger {quoted(name)}" if is_managed else f"rm {quoted(f'{LINGER}/{name}')}"
        yield Finding(WARN, "lingering", name, text, mend)
    if not found:
        yield Finding(OK, "lingering", account.name if account else LINGER, "nobody with an encrypted home lingers")


def _is_encrypted(name: str) -> bool:
    account = look_up(name)
    try:
        return account is not None and registry.find(account) is not None
    except (OSError, PyhomeError):
        return True
