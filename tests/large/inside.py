"""Runs as root on the machine: ``inside.py BACKEND USER NEIGHBOUR FILES``, with the password of both in ``/root/password``.

Fills the plain home of USER with so many files. Times `rsync -a` into the open encrypted home of NEIGHBOUR beside `pyhome encrypt`
until it verifies. Then encrypts the home and decrypts it again, killed at 25 points each time and gone on with; after each kill the
home that is in its place has to be as it was, and in the end the same to the last bit. Standard library only.
"""

from __future__ import annotations

import hashlib
import os
import random
import stat
import statistics
import struct
import subprocess
import sys
import time

PASSWORD = "/root/password"
STOPPED = os.path.join(os.path.dirname(os.path.abspath(__file__)), "stopped.py")
CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")
OWN = (b".ecryptfs", b".Private")
ROUNDS = 3
KILLED = -9
INODE = 5
Tree = dict[bytes, tuple[object, ...]]


# The home


def fill(home: str, count: int, owner: os.stat_result) -> None:
    """So many files, of every kind that can be copied."""
    dice = random.Random(count)
    directories = [home]
    for number in range(count):
        if number % 25 == 0:
            path = f"{dice.choice(directories[-40:])}/directory {number}"
            os.mkdir(path)
            directories.append(path)
        else:
            _make(dice, f"{directories[-1]}/{_name(dice, number)}", number)
    for top, folders, files in os.walk(home):
        for name in (*folders, *files):
            os.chown(f"{top}/{name}", owner.st_uid, owner.st_gid, follow_symlinks=False)
    _mark(dice, home)
    for top, folders, files in os.walk(home, topdown=False):
        for name in (*folders, *files):
            moment = 10**18 + dice.randrange(10**17)
            os.utime(f"{top}/{name}", ns=(moment, moment), follow_symlinks=False)


def _name(dice: random.Random, number: int) -> str:
    odd = ("", "\n", " ", "-", "*", "\u00e4", os.fsdecode(b"\xff\xfe"), "n" * 100)
    return dice.choice(odd) * (number % 5 == 0) + str(number)


def _make(dice: random.Random, path: str, number: int) -> None:
    kind = number % 40
    if kind == 1:
        os.symlink(f"nowhere {number}", path)
    elif kind == 2:
        os.mkfifo(path)
    else:
        with open(path, "wb") as file:
            if kind == 3:
                file.seek(dice.randrange(60_000))
            file.write(dice.randbytes(int(dice.paretovariate(1.1) * 400) % 300_000))
            if kind == 3:
                file.truncate(128 << 10)
        if kind == 4:
            os.link(path, f"{path} again")


def _mark(dice: random.Random, home: str) -> None:
    """Modes, access lists, attributes, capabilities."""
    for top, _, files in os.walk(home):
        for name in files:
            path = f"{top}/{name}"
            if os.path.islink(path) or dice.randrange(10):
                continue
            os.chmod(path, dice.choice((0o600, 0o4755, 0o2711, 0o444, 0)))
            if stat.S_ISREG(os.lstat(path).st_mode):
                os.setxattr(path, "user.colour", dice.randbytes(dice.randrange(60)))
                if dice.randrange(4) == 0:
                    os.setxattr(path, "security.capability", CAPABILITY)
                    os.setxattr(path, "system.posix_acl_access", _access_list(dice.randrange(8)))


def _access_list(rights: int) -> bytes:
    """Version 2: owner, user 1, group, mask, others."""
    entries = ((1, 6, 0xFFFFFFFF), (2, rights, 1), (4, 4, 0xFFFFFFFF), (16, 7, 0xFFFFFFFF), (32, 4, 0xFFFFFFFF))
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def describe(home: str, *, contents: bool) -> Tree:
    """All there is to know of each file; with `contents` also what is in it, else whether anybody has touched it."""
    top, found = os.fsencode(home), Tree()
    first: dict[int, bytes] = {}
    for directory, folders, files in os.walk(top):
        if directory == top:
            folders[:] = [name for name in folders if name not in OWN]
        folders.sort()
        for name in sorted([b".", *folders, *files]):
            path = directory + b"/" + name
            if directory == top and name in OWN:
                continue
            found[path[len(top) :]] = _describe(path, first, contents=contents)
    return found


def _describe(path: bytes, first: dict[int, bytes], *, contents: bool) -> tuple[object, ...]:
    status = os.lstat(path)
    folder = stat.S_ISDIR(status.st_mode)
    known = (status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns, 0 if folder else status.st_size)
    if not contents:
        return (*known, status.st_ino, status.st_ctime_ns)
    same = first.setdefault(status.st_ino, path) if status.st_nlink > 1 and not folder else b""
    if stat.S_ISREG(status.st_mode):
        with open(path, "rb") as file:
            content = hashlib.file_digest(file, "sha256").digest()
    else:
        content = os.readlink(path) if stat.S_ISLNK(status.st_mode) else b""
    names = sorted(os.listxattr(path, follow_symlinks=False))
    return (*known, content, same[-300:], [(name, os.getxattr(path, name, follow_symlinks=False)) for name in names])


# Commands


def pyhome(*arguments: str, status: int | None = 0) -> str:
    """Run the command."""
    done = subprocess.run(["/usr/bin/pyhome", *arguments], capture_output=True, text=True, errors="replace")
    said = done.stdout + done.stderr
    assert status is None or done.returncode == status, f"{arguments}: {done.returncode}\n{said}"
    assert "Traceback" not in said, said
    return said


def convert(user: str, verb: str, *options: str) -> str:
    return pyhome(verb, "--yes", "--password-file", PASSWORD, *options, user)


def stopped(point: str, number: int, user: str, *arguments: str) -> tuple[int, str]:
    """A run as far as a point; its status and output, when all that it started has ended, too."""
    command = ["/usr/bin/python3", "-I", "-B", STOPPED, point, str(number), *arguments, "--yes", "--password-file", PASSWORD, user]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    if os.path.exists(f"/var/lib/pyhome/converting/.lock.{user}"):
        subprocess.run(["flock", f"/var/lib/pyhome/converting/.lock.{user}", "true"], check=True)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout + done.stderr


# What is shown


def timed(user: str, neighbour: str, backend: str) -> None:
    """Copying, in turn: by rsync alone, and by `encrypt` with everything that comes before it verifies."""
    home, target = f"/home/{user}", f"/home/{neighbour}/copy"
    pyhome("unlock", "--password-file", PASSWORD, neighbour)
    took: dict[str, list[float]] = {"rsync": [], "encrypt": []}
    for number in range(ROUNDS + 1):
        began = time.monotonic()
        subprocess.run(["rsync", "-a", f"{home}/", f"{target}/"], check=True)
        subprocess.run(["sync", "-f", target], check=True)
        alone = time.monotonic() - began
        subprocess.run(["rm", "-rf", target], check=True)
        status, said = stopped("time", 0, user, "encrypt", "--backend", backend)
        assert status == KILLED, said
        convert(user, "decrypt")  # takes it back
        if number > 0:
            took["rsync"].append(alone)
            took["encrypt"].append(float(said.rpartition("seconds=")[2].split()[0]))
    pyhome("lock", neighbour)
    ratios = [ours / alone for ours, alone in zip(took["encrypt"], took["rsync"])]
    for name, values in took.items():
        say(f"{name}: {statistics.median(values):.2f} s ({min(values):.2f} to {max(values):.2f})")
    say(f"encrypt until it verifies, beside rsync -a and sync: {statistics.median(ratios):.3f} x (budget 1.15)")


def points(count: int) -> list[tuple[str, int]]:
    """25 points spread over a run."""
    steps = [("step", number) for number in (3, 9, 20)]
    copying = [("copying", count * part // 11) for part in range(1, 11)]
    verifying = [("verifying", count * part // 6) for part in range(6)]
    return [*steps, *copying, *verifying, *(("after", number) for number in (1, 3, 5, 7, 9, 11))]


class Home:
    """The home of the user, in both forms."""

    def __init__(self, user: str, backend: str) -> None:
        self.user = user
        self.path = f"/home/{user}"
        self.backend = backend
        self.whole = describe(self.path, contents=True)
        self.touched = describe(self.path, contents=False)

    def is_encrypted(self) -> bool:
        """Whether there is an encrypted home in its place."""
        return '"backend": "' in pyhome("status", "--json", self.user, status=None)

    def check(self, *, contents: bool) -> None:
        """The home that is in its place is as it was; while it is the plain one of the beginning, nobody has even touched it."""
        encrypted = self.is_encrypted()
        if encrypted:
            pyhome("unlock", "--password-file", PASSWORD, self.user)
        now, before = describe(self.path, contents=contents), self.whole if contents else self.touched
        if not contents and now[b"/."][INODE] != before[b"/."][INODE]:
            now, before = ({name: known[:INODE] for name, known in tree.items()} for tree in (now, before))
        different = [name for name in now.keys() | before.keys() if now.get(name) != before.get(name)]
        assert not different, f"{len(different)} files are different, such as {different[:5]}"
        if encrypted:
            pyhome("lock", self.user)


def kill_all_the_way(home: Home, verb: str, count: int) -> int:
    """25 kills, and to the end; how many of them were met."""
    kills = 0
    for point, number in points(count):
        status, said = go_on(home, point, number, verb)
        kills += status == KILLED
        home.check(contents=False)
        say(f"  {verb} at {point} {number}: {'killed' if status == KILLED else 'done'}, the home is as it was")
        assert status in (KILLED, 0), said
        if status == 0:
            break
    else:
        status, said = go_on(home, "never", 0, verb)
        assert status == 0, said
    assert home.is_encrypted() == (verb == "encrypt")
    return kills


def go_on(home: Home, point: str, number: int, verb: str) -> tuple[int, str]:
    """The next run, as somebody would start it who follows what is said."""
    begin = ("--backend", home.backend) if verb == "encrypt" else ()
    if not os.path.exists(f"/var/lib/pyhome/converting/{home.user}"):
        return stopped(point, number, home.user, verb, *begin)
    status, said = stopped(point, number, home.user, verb, "--resume")
    if "begin without --resume" in said:
        status, said = stopped(point, number, home.user, verb, *begin)
    return status, said


def say(line: str) -> None:
    print(line, flush=True)


def main() -> None:
    backend, user, neighbour, files = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
    os.chdir("/")
    began = time.monotonic()
    fill(f"/home/{user}", files, os.stat(f"/home/{user}"))
    home = Home(user, backend)
    size = sum(int(str(known[4])) for known in home.whole.values())
    say(f"{backend}: {len(home.whole)} files, {size >> 20} MiB, made in {time.monotonic() - began:.0f} s")
    timed(user, neighbour, backend)
    for verb in ("encrypt", "decrypt"):
        kills = kill_all_the_way(home, verb, files)
        home.check(contents=True)
        pyhome("confirm", "--yes", user)
        home.check(contents=True)
        say(f"{verb}: killed {kills} times and gone on with; the same to the last bit, after {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
