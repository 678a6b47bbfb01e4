"""Runs inside a test machine as root: `watched.py DIRECTORY ARGUMENT...` runs `pyhome` and prints what modes the directory had.

It is looked at whenever the program is about to do something that the interpreter tells of: whatever is opened, made or changed.
"""

from __future__ import annotations

import os
import sys


def main() -> None:
    sys.path[:0] = ["/usr/lib/pyhome"]
    from pam_pyhome.cli.main import run  # noqa: PLC0415 - of the machine, not of the repository

    modes: set[str] = set()

    def look(_event: str, _arguments: tuple[object, ...]) -> None:
        try:
            status = os.lstat(sys.argv[1])
        except OSError:
            return
        modes.add(f"{status.st_uid}:{status.st_mode & 0o7777:o}")

    sys.addaudithook(look)
    status = run(sys.argv[2:])
    print(f"modes={sorted(modes)}")
    sys.exit(status)


if __name__ == "__main__":
    main()
