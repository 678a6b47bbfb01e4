"""Process 1 of a test machine: makes the mounts, then keeps the system log and reaps orphans until its standard input ends.

Run as `unshare --mount --pid --fork … python3 machine_init.py BASE LOWER SHARED...`; prints one line when the machine is ready.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import stat
import struct
import subprocess
import sys

CREDENTIALS = struct.Struct("3i")  # of whoever sends a record
DEVICES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0)}


def mount(*arguments: str) -> None:
    subprocess.run(["/bin/mount", *arguments], check=True)


def make_root(base: str, lower: str, shared: list[str]) -> str:
    """The machine's file system: that at `lower`, with all changes kept in memory, and no devices, processes or state of it."""
    mount("-t", "tmpfs", "-o", "mode=0755", "machine", base)
    for name in ("upper", "work", "root"):
        os.mkdir(f"{base}/{name}")
    root = f"{base}/root"
    mount("-t", "overlay", "-o", f"lowerdir={lower},upperdir={base}/upper,workdir={base}/work", "machine", root)
    for path in shared:
        os.makedirs(root + path, exist_ok=True)
        mount("--rbind", path, root + path)
    mount("-t", "proc", "proc", f"{root}/proc")
    for path in ("/run", "/home", "/dev"):
        mount("-t", "tmpfs", "-o", "mode=0755", "machine", root + path)
    for name, (major, minor) in DEVICES.items():
        os.mknod(f"{root}/dev/{name}", stat.S_IFCHR | 0o666, os.makedev(major, minor))
        os.chmod(f"{root}/dev/{name}", 0o666)
    os.mkdir(f"{root}/dev/pts")
    mount("-t", "devpts", "-o", "newinstance,ptmxmode=0666", "devpts", f"{root}/dev/pts")
    os.symlink("pts/ptmx", f"{root}/dev/ptmx")
    return root


def enter_root(root: str) -> None:
    os.mkdir(f"{root}/run/old")
    os.chdir(root)
    subprocess.run(["/sbin/pivot_root", ".", "run/old"], check=True)
    os.chdir("/")
    subprocess.run(["/bin/umount", "--lazy", "/run/old"], check=True)
    os.rmdir("/run/old")


def listen(path: str) -> socket.socket:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    log = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    log.bind(path)
    os.chmod(path, 0o666)
    return log


def fields(datagram: bytes) -> dict[str, str]:
    """The fields of a record as journald reads them: NAME=VALUE, or NAME, the size of the value and the value, each with LF."""
    found: dict[str, str] = {}
    while datagram:
        line, _, rest = datagram.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            size = int.from_bytes(rest[:8], "little")
            value, rest = rest[8 : 8 + size], rest[8 + size + 1 :]
        found[name.decode("ascii")] = value.decode("utf-8", "surrogateescape")
        datagram = rest
    return found


def keep_log() -> None:
    """Append what programs log to /run/log, and records for journald with their fields to /run/records, until the input ends."""
    log, journal = listen("/dev/log"), listen("/run/systemd/journal/socket")
    journal.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    with open("/run/log", "ab", buffering=0) as file, open("/run/records", "ab", buffering=0) as records:
        # Whoever waits for this may have ended.
        with contextlib.suppress(BrokenPipeError):
            os.write(1, b"ready\n")
        while True:
            ready, _, _ = select.select([journal.fileno(), log.fileno(), 0], [], [])
            if journal.fileno() in ready:
                datagram, said, _, _ = journal.recvmsg(1 << 18, socket.CMSG_SPACE(CREDENTIALS.size))
                record, (pid, _, _) = fields(datagram), CREDENTIALS.unpack(said[0][2])
                records.write(json.dumps(record).encode() + b"\n")
                speaker = f"{record['SYSLOG_IDENTIFIER']}[{pid}]"
                file.write(os.fsencode(f"<{80 + int(record['PRIORITY'])}>{speaker}: {record['MESSAGE']}\n"))
            elif log.fileno() in ready:
                file.write(log.recv(65536).rstrip(b"\n\0") + b"\n")
            elif os.read(0, 1):
                # Everything that had been sent when this was asked is in the files now.
                os.write(1, b"read\n")
            else:
                return


def main() -> None:
    os.umask(0o022)
    enter_root(make_root(sys.argv[1], sys.argv[2], sys.argv[3:]))
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    keep_log()


if __name__ == "__main__":
    main()
