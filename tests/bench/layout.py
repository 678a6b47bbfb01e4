"""How long the layout of authorized keys takes for many users, in a test machine whose files are in memory."""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from pathlib import Path

from tests.sshd.harness import SshdMachine

USERS = 100_000
FIRST_UID = 100_000
MAKE = """
import os, sys
users, first, line = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3].encode()
with open("/etc/passwd", "a") as passwd:
    for uid in range(first, first + users):
        passwd.write(f"user{uid}:x:{uid}:{uid}::/home/user{uid}:/bin/sh\\n")
for uid in range(first, first + users):
    ssh = f"/home/user{uid}/.ssh"
    os.makedirs(ssh, 0o700)
    with open(f"{ssh}/authorized_keys", "wb") as file:
        file.write(b"# user %d\\n" % uid + line + line.replace(b"key", b"second key"))
    for path in (f"/home/user{uid}", ssh, f"{ssh}/authorized_keys"):
        os.chown(path, uid, uid)
        os.chmod(path, 0o700)
"""


IN_MEMORY = """
cp -a /etc/ssh /run/ssh
mount -t tmpfs -o mode=0755 ssh /etc/ssh
cp -a /run/ssh/. /etc/ssh
"""


def timed(machine: SshdMachine, *arguments: str) -> str:
    """Seconds of one `pyhome sshd` command, from its start to its end, and of the processors' work for it."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    machine.pyhome(*arguments)
    took = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    worked = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return f"{took:7.2f}   (processors: {worked:6.2f})"


def bench_layout(users: int = USERS) -> None:
    """Lay out everybody's keys, do it again, change one, and do it once more."""
    with tempfile.TemporaryDirectory() as base, SshdMachine(Path(base)) as machine:
        machine.run(["/usr/bin/python3", "-c", MAKE, str(users), str(FIRST_UID), machine.line.decode()], timeout=600)
        machine.run(["/bin/sh", "-e", "-c", IN_MEMORY])
        machine.settle()
        print(f"\nAuthorized keys of {users} users, two each; seconds of the whole process")
        for title, budget in (("first run", "at most 10 s"), ("nothing has changed", "at most 2 s")):
            print(f"  {title:22} {timed(machine, 'apply', '--yes')}   {budget}")
        user = f"user{FIRST_UID}"
        machine.path(f"/home/{user}/.ssh/authorized_keys").write_bytes(machine.line)
        print(f"  {'sync of one user':22} {timed(machine, 'sync', '--yes', user)}")
        print(f"  {'revert':22} {timed(machine, 'revert', '--yes')}")


if __name__ == "__main__":
    bench_layout(*map(int, sys.argv[1:]))
