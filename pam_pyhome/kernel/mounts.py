"""Mounting and unmounting on directories that were opened and looked at before, see mount(2) and umount2(2)."""

from __future__ import annotations

import ctypes
import errno
import os

from pam_pyhome.kernel.libc import check, proto

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


def read_mountinfo() -> bytes:
    """/proc/self/mountinfo, read at one go."""
    with open("/proc/self/mountinfo", "rb", buffering=0) as file:
        content = b""
        while chunk := file.read(65536):
            content += chunk
        return content
