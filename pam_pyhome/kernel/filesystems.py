"""What a file system is, and what it is on, as the kernel says and not as a path or a link does. See linux/fs.h, linux/loop.h."""

from __future__ import annotations

import fcntl
import os
import stat
import struct

GET_UUID = 0x80111500  # FS_IOC_GETFSUUID, since Linux 6.9
EXT4_GET_UUID = 0x8008662C  # EXT4_IOC_GETFSUUID, since Linux 5.19
LOOP_GET_STATUS64 = 0x4C05
LOOP_MAJOR = "7"
SYSFS = "/sys/dev/block"

_UUID_SIZE = 16
_LOOP_INFO = struct.Struct("=QQ")
_LOOP_INFO_SIZE = 232
_MOST_BELOW = 64


def uuid_of(fd: int) -> str | None:
    """The UUID of the mounted file system that `fd` is on, in its usual form; None if it has none, or the kernel does not tell."""
    size = struct.pack("=B", _UUID_SIZE)
    for request, argument, start in (
        (GET_UUID, bytearray(size + bytes(_UUID_SIZE)), 1),
        (EXT4_GET_UUID, bytearray(struct.pack("=II", _UUID_SIZE, 0) + bytes(_UUID_SIZE)), 8),
    ):
        try:
            fcntl.ioctl(fd, request, argument)
        except OSError:
            continue
        found = bytes(argument[start:])
        if any(found):
            text = found.hex()
            return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))
    return None


def loop_file(device: str) -> str | None:
    """The file behind a loop device, if it is the very one that is there under its name; None if that is not to be seen."""
    path = _read(f"{SYSFS}/{device}/loop/backing_file")
    try:
        fd = os.open(f"/dev/loop{device.partition(':')[2]}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        if stat.S_ISBLK(os.fstat(fd).st_mode) and _device_number(os.fstat(fd).st_rdev) == device:
            argument = bytearray(_LOOP_INFO_SIZE)
            fcntl.ioctl(fd, LOOP_GET_STATUS64, argument)
            path = path or os.fsdecode(bytes(argument[56:120]).partition(b"\0")[0])
            if _LOOP_INFO.unpack(argument[:16]) == _numbers(os.lstat(path)):
                return path
    except (OSError, ValueError):
        pass
    finally:
        os.close(fd)
    return None


def _numbers(status: os.stat_result) -> tuple[int, int]:
    """Device and inode as a loop device has them."""
    major, minor = os.major(status.st_dev), os.minor(status.st_dev)
    return (minor & 0xFF) | major << 8 | (minor & ~0xFF) << 12, status.st_ino


def _device_number(number: int) -> str:
    return f"{os.major(number)}:{os.minor(number)}"


def disk_of(device: str) -> str:
    """What tells the disk under `device` from another one with the same content: its serial number, or else where it is plugged in.

    For a partition with its number, for a volume with its name and the disks below; empty where there is nothing to be seen.
    """
    stack = _stack(device)
    names = [name for place in stack for name in _names_of(place)] if stack else [_loop_name(each) for each in loops_below(device)]
    return " ".join(filter(None, names))


def loops_below(device: str) -> list[str]:
    """The loop devices that `device` (``major:minor``) is, or is on."""
    found = [_read(f"{place}/dev") for place in _stack(device)] or [device]
    return [each for each in found if each.partition(":")[0] == LOOP_MAJOR]


def _stack(device: str) -> list[str]:
    """The places in sysfs of a device and of all that it is made of, a partition before its disk. Empty without sysfs."""
    try:
        places = [os.path.realpath(f"{SYSFS}/{device}", strict=True)]
    except OSError:
        return []
    for place in places:
        if _read(f"{place}/partition"):
            lower = [os.path.dirname(place)]
        else:
            try:
                lower = [os.path.realpath(f"{place}/slaves/{name}") for name in sorted(os.listdir(f"{place}/slaves"))]
            except OSError:
                lower = []
        places += [each for each in lower if each not in places and len(places) < _MOST_BELOW]
    return places


def _names_of(place: str) -> list[str]:
    """What one device is called, other than by the order in which it was found."""
    partition, volume = _read(f"{place}/partition"), _read(f"{place}/dm/uuid")
    if partition:
        return [f"partition {partition}"]
    if volume:
        return [volume]
    device = _read(f"{place}/dev")
    if device.partition(":")[0] == LOOP_MAJOR:
        return [_loop_name(device)]
    known = (_read(f"{place}/{name}") for name in ("wwid", "device/wwid", "serial", "device/serial", "device/cid"))
    return [next(filter(None, known), _plug_of(place))]


def _loop_name(device: str) -> str:
    """What a loop device is called after; nothing if that is not to be seen."""
    path = loop_file(device)
    return f"file {path}" if path else ""


def _plug_of(place: str) -> str:
    """The part of a place in sysfs that says where a disk is plugged in, without the numbers that drivers give out in turn."""
    parts = place.split("/")
    end = next(
        (
            n
            for n, part in enumerate(parts)
            if part == "block" or part.rstrip("0123456789") in ("host", "virtio", "nvme")
        ),
        0,
    )
    return "/".join(parts[:end])


def _read(path: str) -> str:
    """A line of sysfs, with spaces made single; empty if it is not there."""
    try:
        with open(path, "rb", buffering=0) as file:
            return " ".join(file.read(4096).decode("utf-8", "surrogateescape").split())
    except OSError:
        return ""
