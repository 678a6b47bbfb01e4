"""Run `pyhome` until it is about to change something for the Nth time, then end it: `killed.py HOW N ARGUMENT...`.

HOW is `kill` for SIGKILL, `term` for SIGTERM, `fail` for an error of the system, as on a full disk. Prints how many times it was
about to, if it comes to its end.
"""

from __future__ import annotations

import errno
import os
import signal
import sys

CHANGING = {
    "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chown", "os.chmod", "os.symlink", "os.truncate", "os.fork", "fcntl.ioctl",
    "subprocess.Popen",
}  # fmt: skip
CALLS = {"renameat2", "open_tree", "mount_setattr", "move_mount", "umount2"}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class Steps:
    """Counts the steps of this process, and lets one of them not happen."""

    def __init__(self, how: str, last: int) -> None:
        self.count = 0
        self._how = how
        self._last = last
        self._pid = os.getpid()

    def __call__(self, event: str, arguments: tuple[object, ...]) -> None:
        """Called by the interpreter before whatever it does."""
        opens = event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITING and arguments[0] != os.devnull
        calls = event == "ctypes.dlsym" and arguments[1] in CALLS
        if not (opens or calls or event in CHANGING) or os.getpid() != self._pid:
            return
        self.count += 1
        if self.count != self._last:
            return
        if self._how == "fail":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(next(iter(arguments), "")))
        os.kill(os.getpid(), signal.SIGKILL if self._how == "kill" else signal.SIGTERM)


def main() -> None:
    sys.path[:0] = ["/usr/lib/pyhome"]
    from pam_pyhome.cli.main import run  # noqa: PLC0415 - of the machine, not of the repository

    steps = Steps(sys.argv[1], int(sys.argv[2]))
    sys.addaudithook(steps)
    status = run(sys.argv[3:])
    print(f"steps={steps.count}")
    sys.exit(status)


if __name__ == "__main__":
    main()
