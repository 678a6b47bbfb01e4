"""Mounting and unmounting on directories that were opened and looked at before, see mount(2) and umount2(2)."""

from __future__ import annotations

import ctypes
import errno
import os

from pam_pyhome.kernel import forked
from pam_pyhome.kernel.libc import check, proto

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
UMOUNT_NOFOLLOW = 8
ECRYPTFS_SUPER_MAGIC = 0xF15F

# File systems that a home may be mounted over. Anything else could be a directory of the kernel's that merely looks like the
# user's own, as /proc/PID does (CVE-2016-1572).
MOUNTABLE_OVER = frozenset(
    {
        0x61756673,  # aufs
        0x9123683E,  # btrfs
        0xCA451A4E,  # bcachefs
        0x00C36400,  # ceph
        0xFF534D42,  # cifs
        0xEF53,  # ext2, ext3, ext4
        0xF2F52010,  # f2fs
        0x65735546,  # fuse
        0x01161970,  # gfs2
        0x3153464A,  # jfs
        0x72B6,  # jffs2
        0x6969,  # nfs
        0x3434,  # nilfs
        0x5346544E,  # ntfs
        0x7366746E,  # ntfs3
        0x794C7630,  # overlay
        0x52654973,  # reiserfs
        0xFE534D42,  # smb3
        0x73717368,  # squashfs
        0x01021994,  # tmpfs
        0x24051905,  # ubifs
        0x58465342,  # xfs
        0x2FC12FC1,  # zfs
    }
)

_STATFS_SIZE = 256


def filesystem_magic(fd: int) -> int:
    """The `f_type` of the file system that `fd` is on, as statfs(2) names it."""
    buffer = ctypes.create_string_buffer(_STATFS_SIZE)
    call = proto(None, "fstatfs", ctypes.c_int, ctypes.c_int, ctypes.c_char_p)
    check(call(fd, buffer), "fstatfs")
    return ctypes.c_ulong.from_buffer(buffer).value & 0xFFFFFFFF


def mount(source: str, target: int, fstype: str, flags: int, options: str) -> None:
    """Mount on the directory open as `target`. OSError with the kernel's reason."""
    text = ctypes.c_char_p
    call = proto(None, "mount", ctypes.c_int, text, text, text, ctypes.c_ulong, text)
    check(
        call(os.fsencode(source), b"/proc/self/fd/%d" % target, fstype.encode(), flags, os.fsencode(options)), "mount"
    )


def reason(error: OSError) -> str:
    """Why eCryptfs was not mounted, in words that help."""
    return "this kernel has no eCryptfs" if error.errno == errno.ENODEV else error.strerror or str(error)


def umount(parent: int, name: bytes) -> None:
    """Unmount what is mounted on `name` in the directory open as `parent`; OSError with EBUSY while it is in use.

    Changes the working directory to `parent`, because umount2(2) takes no descriptor and a path could be led astray.
    """
    os.fchdir(parent)
    call = proto(None, "umount2", ctypes.c_int, ctypes.c_char_p, ctypes.c_int)
    try:
        check(call(name, UMOUNT_NOFOLLOW), "umount")
    finally:
        os.chdir("/")


def read_mountinfo(process: str = "self") -> bytes:
    """/proc/PROCESS/mountinfo, read at one go. OSError."""
    with open(f"/proc/{process}/mountinfo", "rb", buffering=0) as file:
        content = b""
        while chunk := file.read(65536):
            content += chunk
        return content


# What is mounted where this process does not see it

LOOK_SECONDS = 5.0
_MOST_LINES = 64
_USTAT = {"x86_64": 136, "ppc64le": 62, "s390x": 62}  # the others have no ustat(2)
_THERE = b"there"


def elsewhere(words: tuple[bytes, ...], devices: tuple[str, ...]) -> tuple[tuple[tuple[int, bytes], ...], tuple[str, ...]]:
    """The mounts in other mount name spaces that have one of `words` in their line of mountinfo, each with a process that sees it.

    And those of the file systems `devices` that may still be there, mounted or not: they are as long as anybody has a mount or a
    file of theirs, be it in a socket. Where the kernel does not say that, none of them.
    """
    lines, is_whole = forked.lines_of(lambda: _look_elsewhere(words, devices), seconds=LOOK_SECONDS)
    pairs = [line.split(b" ", 1) for line in lines]
    there = [content.decode("ascii") for kind, content in pairs if kind == _THERE]
    shown = tuple((int(kind), content + b"\n") for kind, content in pairs if kind != _THERE)
    return shown, tuple(there if is_whole else devices)


def _look_elsewhere(words: tuple[bytes, ...], devices: tuple[str, ...]) -> Iterator[bytes]:
    """Each mount name space once. What belongs to no process that is to be seen, the file system itself tells of."""
    seen, found = {os.readlink("/proc/self/ns/mnt")}, 0
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            space = os.readlink(f"/proc/{pid}/ns/mnt")
            content = b"" if space in seen else read_mountinfo(pid)
        except OSError:
            continue
        seen.add(space)
        for line in content.splitlines():
            if found < _MOST_LINES and any(word in line for word in words):
                found += 1
                yield pid.encode("ascii") + b" " + line
    for device in filter(_exists, devices):
        yield _THERE + b" " + device.encode("ascii")


def _exists(device: str) -> bool:
    """Whether there is a file system with this device number; False where the kernel does not say."""
    number = _USTAT.get(os.uname().machine)
    if number is None:
        return False
    major, _, minor = device.partition(":")
    call = proto(None, "syscall", ctypes.c_long, ctypes.c_long, ctypes.c_ulong, ctypes.c_char_p)
    return bool(call(number, os.makedev(int(major), int(minor)), ctypes.create_string_buffer(64)) == 0)


def forget_unused() -> None:
    """Have the kernel forget what it keeps of files that nobody has open, on all file systems: nothing is lost, but read anew.

    A file of an eCryptfs mount that is kept so stays readable after its key is gone.
    """
    with open("/proc/sys/vm/drop_caches", "wb", buffering=0) as file:
        file.write(b"3\n")
