"""This process: whose rights it uses, what it may leak, and its namespace."""

from __future__ import annotations

import ctypes
import os
import sys

from pam_pyhome.kernel.libc import check, proto

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

PR_SET_DUMPABLE = 4
MCL_CURRENT, MCL_FUTURE, MCL_ONFAULT = 1, 2, 4
CLONE_NEWNS = 0x00020000
RLIMIT_CORE, RLIMIT_AS = 4, 9


def protect_memory() -> None:
    """No core dump, no ptrace by others, and nothing of this process on swap; what it starts leaves no core either."""
    _forbid_cores()
    _stay_private()
    check(proto(None, "mlockall", ctypes.c_int, ctypes.c_int)(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT), "mlockall")


def _forbid_cores() -> None:
    """For children too, whom exec makes dumpable again: no memory in a core, and at most one byte of it.

    One is the limit that keeps the kernel from feeding a program, such as systemd-coredump, which does not count bytes. What may
    not be set is not needed: then only `_stay_private` has anything to say about this process.
    """
    try:
        with open("/proc/self/coredump_filter", "wb") as file:
            file.write(b"0")
    except OSError:
        pass
    _set_limit(RLIMIT_CORE, 1)


def _stay_private() -> None:
    """No core and no ptrace. Every change of the effective identity takes that back, as far as fs.suid_dumpable says."""
    unsigned = ctypes.c_ulong
    prctl = proto(None, "prctl", ctypes.c_int, ctypes.c_int, unsigned, unsigned, unsigned, unsigned)
    check(prctl(PR_SET_DUMPABLE, 0, 0, 0, 0), "prctl(PR_SET_DUMPABLE)")


def be_expendable(most: int) -> None:
    """Let this process, and none that does more for others, be the one that ends when memory is short.

    `most`: KiB that it may take from now on.
    """
    try:
        with open("/proc/self/oom_score_adj", "wb") as file:
            file.write(b"900")
    except OSError:
        pass
    with open("/proc/self/statm", "rb") as file:
        now = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    _set_limit(RLIMIT_AS, now + most * 1024)


def _set_limit(which: int, most: int) -> None:
    """A limit that this process and its children cannot raise again; nothing where it is lower already."""
    text = min(most, sys.maxsize).to_bytes(ctypes.sizeof(ctypes.c_ulong), sys.byteorder)
    proto(None, "setrlimit", ctypes.c_int, ctypes.c_int, ctypes.c_char_p)(which, text + text)


def unprotect_memory() -> None:
    """Let memory be swapped again, as for work without secrets that needs more than a process may lock."""
    check(proto(None, "munlockall", ctypes.c_int)(), "munlockall")


_learned: dict[int, list[int]] = {}


def learn_groups(name: str, uid: int, gid: int, path: str) -> None:
    """Have `rights_of` act with all groups of the user if `path` is out of their reach without them.

    Only then is the database of groups asked, which may take its time.
    """
    try:
        with rights_of(uid, gid):
            os.stat(path)
    except PermissionError:
        _learned[uid] = os.getgrouplist(name, gid)
    except OSError:
        return


class rights_of:  # noqa: N801 - reads as a phrase in `with rights_of(uid, gid):`
    """Act on files with the rights of `uid` and `gid`, and no other groups than `learn_groups` has found to be needed.

    The real uid stays 0, so that the user cannot signal this process meanwhile. Not to be nested.
    """

    def __init__(self, uid: int, gid: int) -> None:
        """Take the identity to act with; nothing changes yet."""
        self._uid = uid
        self._gid = gid
        self._groups: list[int] = []

    def __enter__(self) -> None:
        """Groups first: without root's effective uid they could not be changed."""
        self._groups = os.getgroups()
        os.setgroups(_learned.get(self._uid, [self._gid]))
        os.setegid(self._gid)
        os.seteuid(self._uid)
        _stay_private()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Be root again."""
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(self._groups)
        _stay_private()


class real_user:  # noqa: N801 - reads as a phrase in `with real_user(uid):`
    """Have `uid` as the real uid, as `ecryptfs_check_dev_ruid` and the user's keyrings ask, with root's effective rights.

    The user can signal this process meanwhile and so break their own login, nothing else.
    """

    def __init__(self, uid: int) -> None:
        """Take the uid; nothing changes yet."""
        self._uid = uid

    def __enter__(self) -> None:
        """Change the real uid only."""
        os.setresuid(self._uid, 0, 0)
        _stay_private()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Be root again."""
        os.setresuid(0, 0, 0)
        _stay_private()


def signal_as(uid: int, pid: int, number: int) -> bool:
    """Send a signal to process `pid` if user `uid` may do that; whether it was sent. Root's own powers are not used."""
    if pid <= 1 or uid == 0:
        return False
    os.setresuid(uid, uid, 0)
    _stay_private()
    try:
        os.kill(pid, number)
    except (PermissionError, ProcessLookupError):
        return False
    finally:
        os.setresuid(0, 0, 0)
        _stay_private()
    return True


def start_time(pid: int) -> int:
    """When `pid` started, in clock ticks since boot (field 22 of /proc/PID/stat). OSError if it is gone."""
    return _stat_field(pid, 22)


def _stat_field(pid: int, number: int) -> int:
    """Field `number` of /proc/PID/stat, counted from 1 as in proc(5); the command before field 3 may contain anything."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        return int(file.read().rpartition(b")")[2].split()[number - 3])


def in_first_mount_namespace() -> bool:
    """Whether this process sees the mounts that process 1 sees; True as well where a sandbox forbids to look."""
    try:
        return os.readlink("/proc/self/ns/mnt") == os.readlink("/proc/1/ns/mnt")
    except PermissionError:
        return True


def join_first_mount_namespace() -> None:
    """See and change the mounts of process 1 from now on; the working directory becomes `/`."""
    if in_first_mount_namespace():
        return
    fd = os.open("/proc/1/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    try:
        check(proto(None, "setns", ctypes.c_int, ctypes.c_int, ctypes.c_int)(fd, CLONE_NEWNS), "setns")
    finally:
        os.close(fd)
    os.chdir("/")


def parent_of(pid: int) -> int:
    """The parent of `pid` (field 4 of /proc/PID/stat). OSError if it is gone."""
    return _stat_field(pid, 4)


def alarm(seconds: int) -> None:
    """End this process by SIGALRM in `seconds`; 0 takes that back.

    The signal module offers the same, but takes 3 ms to import.
    """
    proto(None, "alarm", ctypes.c_uint, ctypes.c_uint)(seconds)
