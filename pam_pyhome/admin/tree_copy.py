"""Copying a tree with rsync: everything there is to know of each file, so that a second run goes on where the first was stopped."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
from typing import IO, TYPE_CHECKING, NamedTuple

from pam_pyhome.errors import CopyError
from pam_pyhome.kernel.durable import sync_below

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from pam_pyhome.admin.tree_compare import Tell

_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
_OPTIONS = (
    "--archive", "--hard-links", "--acls", "--xattrs", "--sparse", "--numeric-ids", "--one-file-system", "--delete",
    "--info=progress2", "--no-human-readable", "--outbuf=Line",
)  # fmt: skip
#: Some files vanished while they were copied: those who look for changes will notice.
_VANISHED = 24
_PROGRESS = re.compile(rb"\s*(\d+)\s+\d+%\s+\S+\s+\S+(?:\s+\(xfr#\d+, (?:ir|to)-chk=(\d+)/(\d+)\))?")
_SECONDS = 10.0


class Ways(NamedTuple):
    """How to copy. `in_place`: make no temporary names, which may be longer than a file system has them.

    `whole_seconds`: times of change that are the same to the second are the same. `again`: copy also what looks the same.
    """

    in_place: bool
    whole_seconds: bool
    again: bool


def copy(original: str, target: str, leave_out: Collection[bytes], ways: Ways, *, lock: int, tell: Tell) -> None:
    """Make the directory `target` the same as `original`, and have it on disk. CopyError; OSError.

    `leave_out`: names at the top that are neither copied nor removed. `lock`: a descriptor that rsync holds until it has ended.
    `tell` is told how many bytes and files have been done. The standard input has to be nobody's, as in `namespace.run`.
    """
    program, setpriv = (shutil.which(name, path=_PATH) for name in ("rsync", "setpriv"))
    if program is None or setpriv is None:
        raise CopyError("rsync", f"there is no {'setpriv' if program else 'rsync'}")
    wished = {"--inplace": ways.in_place, "--modify-window=-1": not ways.whole_seconds, "--ignore-times": ways.again}
    options = [*_OPTIONS, *(option for option, wanted in wished.items() if wanted)]
    excluded = [f"--exclude=/{os.fsdecode(name)}" for name in leave_out]
    # It ends with this process, even if that is killed.
    command = [setpriv, "--pdeathsig", "KILL", "--", program, *options, *excluded, "--", f"{original}/", f"{target}/"]
    _run(command, lock, tell)
    sync_below(target)


def _run(command: Sequence[str], lock: int, tell: Tell) -> None:
    with open(os.memfd_create("complaints"), "w+b") as complaints:
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=complaints,
            env={"PATH": _PATH, "LC_ALL": "C.UTF-8"},
            cwd="/",
            pass_fds=(lock,),
            start_new_session=True,
        )
        try:
            assert process.stdout is not None
            for line in _lines(process.stdout):
                _report(line, tell)
            status = process.wait()
        except BaseException:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_SECONDS)
            process.kill()
            process.wait()
            raise
        if status not in (0, _VANISHED):
            complaints.seek(0)
            raise CopyError("rsync", _reason(complaints.read(), status))


def _lines(stream: IO[bytes]) -> Iterator[bytes]:
    """What it prints, in pieces that end with CR or LF."""
    rest = b""
    while chunk := os.read(stream.fileno(), 65536):
        *lines, rest = re.split(rb"[\r\n]", rest + chunk)
        yield from lines


def _report(line: bytes, tell: Tell) -> None:
    found = _PROGRESS.match(line)
    if found is not None:
        done, left, total = found.groups(default=b"0")
        tell(int(done), int(total) - int(left))


def _reason(complaints: bytes, status: int) -> str:
    """The first thing that it complained of."""
    lines = [line.strip() for line in complaints.decode("utf-8", "replace").splitlines() if line.strip()]
    return lines[0] if lines else f"ended with status {status}"
