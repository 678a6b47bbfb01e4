"""Runs inside a test machine: carries out a plan in a child that is killed at each step in turn, and looks what the next run does.

`killed.py setup` or `killed.py rollback`; prints how many steps there were.
"""

from __future__ import annotations

import functools
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pam_pyhome.admin import pam_plan, setup
from tests.sshd.killed import CHANGING, Steps

if TYPE_CHECKING:
    from collections.abc import Callable

Etc = dict[str, tuple[int, int, int, bytes | str | None]]


def etc() -> Etc:
    """What a plan is about: owner, group, mode, content or target."""
    found: Etc = {}
    for path in sorted(path for top in ("pam.d", "systemd") for path in Path("/etc", top).rglob("*")):
        status = path.lstat()
        content = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
        found[str(path)] = (status.st_uid, status.st_gid, status.st_mode, content)
    return found


def killed_at(step: int, work: Callable[[], object]) -> int:
    """Do it in a child that dies at a step; how many steps there were if it came to its end, else 0."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        steps = Steps(step)
        for name in CHANGING:
            steps.watch(name)
        work()
        count = steps.count
        os.write(writer, str(count).encode())
        os._exit(0)
    os.close(writer)
    said = os.read(reader, 100)
    os.close(reader)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status in {0, -signal.SIGKILL}, status
    return int(said) if status == 0 else 0


@functools.cache
def proposal() -> setup.Proposal:
    """The plan alone, always made on the same machine: that it is proved is tested elsewhere."""
    return setup.Proposal((*pam_plan.changes(), *setup._unit_changes()), {}, {})


def undo() -> None:
    setup.rollback(setup.undo_plan())


def kill_setups() -> int:
    """The next run finds everything as it was, whichever run that is."""
    before, step, count = etc(), 0, 0
    setup.carry_out(proposal())
    after = etc()
    assert after != before
    undo()
    assert etc() == before
    while not count:
        step += 1
        count = killed_at(step, lambda: setup.carry_out(proposal()))
        # From a certain step on, everything has been done.
        unfinished = setup.has_unfinished()
        setup.restore()
        assert etc() == (before if unfinished or etc() == before else after), f"step {step}"
        if not unfinished or step % 4 == 0:
            if etc() == before:
                setup.carry_out(proposal())
            undo()
            assert etc() == before, f"step {step}"
    return count


def kill_rollbacks() -> int:
    """The next one finishes."""
    before, step, count = etc(), 0, 0
    while not count:
        step += 1
        setup.carry_out(proposal())
        count = killed_at(step, undo)
        setup.restore()
        undo()
        assert etc() == before, f"step {step}"
    return count


def main() -> None:
    print({"setup": kill_setups, "rollback": kill_rollbacks}[sys.argv[1]]())


if __name__ == "__main__":
    main()
