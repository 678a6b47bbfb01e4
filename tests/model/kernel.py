"""What the kernel says of an encrypted home, asked without pyhome's code: is it open, can it be read, which keys are there."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct
from pathlib import Path
from typing import NamedTuple

SECRET = b"written while open\n"
CLONE_NEWNS, CLONE_NEWUSER = 0x20000, 0x10000000
MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE, MS_SLAVE = 32, 4096, 16384, 1 << 18, 1 << 19
MNT_DETACH = 2
_OPEN_TREE, _AT_FDCWD, _OPEN_TREE_CLONE = 428, -100, 1
_GET_POLICY_EX, _REMOVE_KEY, _REMOVE_KEY_ALL_USERS, _KEY_STATUS = 0xC0096616, 0xC0406618, 0xC0406619, 0xC080661A
_ABSENT = 1
_libc = ctypes.CDLL(None, use_errno=True)


def call(name: str, *arguments: object) -> int:
    """A function of the C library by its name; OSError."""
    result: int = getattr(_libc, name)(*arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), f"{name}: {os.strerror(ctypes.get_errno())}")
    return result


def mount(source: str, target: str, fstype: str | None = None, flags: int = 0, options: str | None = None) -> None:
    """As the system call."""
    texts = [None if text is None else os.fsencode(text) for text in (source, target, fstype, options)]
    call("mount", texts[0], texts[1], texts[2], ctypes.c_ulong(flags), texts[3])


def umount(target: str, flags: int = 0) -> None:
    """As the system call."""
    call("umount2", os.fsencode(target), flags)


class Mount(NamedTuple):
    """A mount of the home in the mount name space of a process."""

    pid: int
    point: str
    device: str


class Fscrypt:
    """A home with a policy of the kernel's own encryption. `base` is the mount point of its file system, `home` where it is now."""

    kind = "fscrypt"

    def __init__(self, base: str, home: str) -> None:
        # A copy of the mount that nobody else sees: what is mounted on it, or over it, later, is not on this one.
        tree = call("syscall", _OPEN_TREE, _AT_FDCWD, base.encode(), _OPEN_TREE_CLONE)
        self._root = os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=tree)
        self._base = base
        argument = bytearray(struct.pack("=Q", 24) + bytes(24))
        directory = os.open(home, os.O_RDONLY)
        fcntl.ioctl(directory, _GET_POLICY_EX, argument)
        os.close(directory)
        self._specifier = struct.pack("=II", 2, 0) + bytes(argument[16:32]) + bytes(16)
        self.names = (bytes(argument[16:32]).hex(),)

    def _inside(self, path: str) -> str:
        return os.path.relpath(path, self._base)

    def is_present(self, _home: str) -> bool:
        """Whether the kernel has the key, or what is left of it while files are in use."""
        argument = bytearray(self._specifier + bytes(88))
        fcntl.ioctl(self._root, _KEY_STATUS, argument)
        (state,) = struct.unpack_from("=I", argument, 64)
        return bool(state != _ABSENT)

    def is_readable(self, home: str) -> bool:
        """Whether root can read the file in the home by its name."""
        return _reads(self._inside(f"{home}/secret"), self._root)

    def lock_by_hand(self, uid: int) -> bool:
        """Give up the user's claim on the key, as `fscrypt lock` does."""
        return self._remove(_REMOVE_KEY, uid)

    def lock_whatever_happens(self) -> None:
        """Take the key away from all."""
        for _ in range(50):
            if not self._remove(_REMOVE_KEY_ALL_USERS, 0):
                return

    def _remove(self, request: int, uid: int) -> bool:
        argument = bytearray(self._specifier + bytes(24))
        _libc.setfsuid(uid)
        try:
            fcntl.ioctl(self._root, request, argument)
            return True
        except OSError as error:
            if error.errno != errno.ENOKEY:
                raise
            return False
        finally:
            _libc.setfsuid(0)


class Ecryptfs:
    """A home that is mounted. `store` is the directory with its ciphertext, `signatures` name its keys."""

    kind = "ecryptfs"

    def __init__(self, store: str, signatures: tuple[str, ...]) -> None:
        self._store = store
        self.names = signatures

    def mounts(self) -> list[Mount]:
        """All mounts of it, in whatever mount name space, one for each name space and mount point."""
        found: list[Mount] = []
        seen = set()
        for name in filter(str.isdigit, os.listdir("/proc")):
            try:
                space = os.readlink(f"/proc/{name}/ns/mnt")
                if space in seen:
                    continue
                text = Path(f"/proc/{name}/mountinfo").read_text()
            except OSError:
                continue
            seen.add(space)
            for line in text.splitlines():
                front, _, behind = line.partition(" - ")
                if behind.startswith(f"ecryptfs {self._store}"):
                    fields = front.split()
                    found.append(Mount(int(name), fields[4].removesuffix("//deleted"), fields[2]))
        return found

    def is_present(self, _home: str) -> bool:
        """Whether it is mounted anywhere."""
        return bool(self.mounts())

    def is_readable(self, _home: str) -> bool:
        """Whether root can read the file in any of the mounts."""
        return any(_readable_at(each) for each in self.mounts())

    def lock_by_hand(self, _uid: int) -> bool:
        """Unmount it, as an administrator may."""
        for each in [each for each in self.mounts() if each.pid == 1 or _same_space(each.pid)]:
            try:
                umount(each.point)
            except OSError:
                return False
        return True

    def lock_whatever_happens(self) -> None:
        """Unmount it, in use or not."""
        for each in self.mounts():
            if each.pid == 1 or _same_space(each.pid):
                umount(each.point, MNT_DETACH)


def _same_space(pid: int) -> bool:
    try:
        return os.readlink(f"/proc/{pid}/ns/mnt") == os.readlink("/proc/self/ns/mnt")
    except OSError:
        return False


def _reads(path: str, directory: int | None = None) -> bool:
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory)
    except OSError:
        return False
    try:
        return os.read(file, 100) == SECRET
    except OSError:
        return False
    finally:
        os.close(file)


def _readable_at(where: Mount) -> bool:
    path = f"/proc/{where.pid}/root{where.point}"
    try:
        status = os.stat(path)
    except OSError:
        return False
    if f"{os.major(status.st_dev)}:{os.minor(status.st_dev)}" == where.device:
        return _reads(f"{path}/secret")
    return _same_space(where.pid) and _in_child(lambda: _reads_below(where))


def _reads_below(where: Mount) -> bool:
    """Whether the file can be read once what is mounted over the home is taken away, which is tried in a copy of everything."""
    call("unshare", CLONE_NEWNS)
    mount("none", "/", None, MS_REC | MS_PRIVATE)
    for _ in range(4):
        status = os.stat(where.point)
        if f"{os.major(status.st_dev)}:{os.minor(status.st_dev)}" == where.device:
            return _reads(f"{where.point}/secret")
        umount(where.point, MNT_DETACH)
    return False


def _in_child(task: object) -> bool:
    assert callable(task)
    pid = os.fork()
    if pid == 0:
        answer = False
        try:
            answer = task()
        finally:
            os._exit(0 if answer else 1)
    return os.waitpid(pid, 0)[1] == 0


def keys_left(names: tuple[str, ...]) -> list[str]:
    """The lines of /proc/keys about usable keys that are called so."""
    lines = Path("/proc/keys").read_text().splitlines()
    return [line for line in lines if any(name in line for name in names) and not set("RD") & set(line.split()[1])]
