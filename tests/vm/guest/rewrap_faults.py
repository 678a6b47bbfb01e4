"""Runs in the machine as root: ``passwd``, struck at every step in which pyhome changes a file.

    rewrap_faults.py USER OLD NEW KEYFILES

First ``passwd`` runs undisturbed with pyhome's workers under strace, which gives the list of steps: every system call that
creates, writes, syncs, renames or removes one of the home's key files or their copies. Then ``passwd`` is run once more for
each seventh step and each blow, with strace striking exactly there: SIGKILL on entry, or the call fails with ENOSPC. After each
run the key file is tried with the real ecryptfs-unwrap-passphrase. One line of JSON for each run on standard output.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

WORKER = Path("/usr/lib/pyhome/pyhome-worker")
PLACE = Path("/root/faults")
KEPT = Path("/var/lib/pyhome")
EACH = 7  # steps: an emulated run takes half a minute. Where nothing is emulated, the login tests strike at every step.
CALLS = "openat,write,pwrite64,ftruncate,fallocate,fsync,fdatasync,rename,renameat,renameat2,link,linkat,unlink,unlinkat,mkdirat"
BLOWS = {"killed": "signal=KILL", "disk full": "error=ENOSPC"}

WRAPPER = f"""\
import os
number = sum(1 for name in os.listdir("{PLACE}/runs")) + 1
log = f"{PLACE}/runs/{{number}}"
open(log, "w").close()
argv = ["strace", "-D", "-y", "-o", log, "-e", "trace={CALLS}"]
try:
    worker, fault = open("{PLACE}/fault").read().split()
except FileNotFoundError:
    worker = fault = ""
if worker == str(number):
    argv += ["-e", "inject=" + fault]
os.execv("/usr/bin/strace", [*argv, "/usr/bin/python3", "-I", "-S", "-B", "{PLACE}/worker"])
"""


class Step(NamedTuple):
    """The ``when``-th ``call`` of the ``worker``-th worker (1: preliminary check, 2: update)."""

    worker: int
    call: str
    when: int
    line: str


class Victim:
    """The user whose password changes, and everything needed to put it back."""

    def __init__(self, name: str, old: str, new: str, keyfiles: str) -> None:
        self.name, self.old, self.new = name, old, new
        self.keyfiles = Path(keyfiles)
        self.kept = KEPT / f"{_out('id', '-u', name)}.{name}"
        self.wrapped = self.keyfiles / "wrapped-passphrase"
        self.good = self.wrapped.read_bytes()
        self.passphrase = self.unwrap(old)
        self.hash = self.shadow()
        for directory, copy in ((self.keyfiles, "keyfiles"), (self.kept, "kept")):
            subprocess.run(["cp", "-a", directory, PLACE / copy], check=True)

    def shadow(self) -> str:
        """The hash of the login password."""
        return _out("getent", "shadow", self.name).split(":")[1]

    def unwrap(self, password: str) -> str:
        """The mount passphrase that the key file on disk gives for a password, or nothing."""
        command = ["ecryptfs-unwrap-passphrase", str(self.wrapped), "-"]
        done = subprocess.run(command, input=password, capture_output=True, text=True)
        return done.stdout.strip() if done.returncode == 0 else ""

    def restore(self) -> None:
        """Everything as it was before the first run."""
        subprocess.run(["usermod", "-p", self.hash, self.name], check=True)
        for directory, copy in ((self.keyfiles, "keyfiles"), (self.kept, "kept")):
            shutil.rmtree(directory)
            subprocess.run(["cp", "-a", PLACE / copy, directory], check=True)

    def passwd(self) -> int:
        """Change the password as the user does; the exit code."""
        for log in (PLACE / "runs").iterdir():
            log.unlink()
        command = ["setpriv", f"--reuid={self.name}", f"--regid={self.name}", "--init-groups", "passwd"]
        answers = f"{self.old}\n{self.new}\n{self.new}\n"
        return subprocess.run(command, input=answers, text=True, capture_output=True, timeout=120).returncode

    def outcome(self) -> dict[str, object]:
        """Which password logs in, and which open the home."""
        if self.wrapped.read_bytes() == self.good:
            opens = ["old"]
        else:
            words = (("old", self.old), ("new", self.new))
            opens = [name for name, word in words if self.unwrap(word) == self.passphrase]
        return {"login": "old" if self.shadow() == self.hash else "new", "opens": opens}


def _out(*argv: str) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()


def steps() -> list[Step]:
    """The steps of the run that the logs show."""
    found = []
    for log in sorted((PLACE / "runs").iterdir()):
        counts: dict[str, int] = {}
        for line in log.read_text(errors="replace").splitlines():
            call, opened, _ = line.partition("(")
            if not opened:
                continue
            counts[call] = counts.get(call, 0) + 1
            if _changes_key_files(call, line):
                found.append(Step(int(log.name), call, counts[call], line))
    return found


def _changes_key_files(call: str, line: str) -> bool:
    return bool(re.search(r"/\.ecryptfs\b|/var/lib/pyhome", line)) and (call != "openat" or "O_CREAT" in line)


def strike(victim: Victim, step: Step, blow: str) -> dict[str, object]:
    """One run of passwd with one blow, and what is left."""
    victim.restore()
    (PLACE / "fault").write_text(f"{step.worker} {step.call}:{BLOWS[blow]}:when={step.when}")
    code = victim.passwd()
    (PLACE / "fault").unlink()
    struck = len(list((PLACE / "runs").iterdir())) >= step.worker
    return {"step": step.line, "worker": step.worker, "blow": blow, "struck": struck, "code": code, **victim.outcome()}


def main() -> None:
    """Replace the worker by its traced self, strike, and put everything back."""
    shutil.rmtree(PLACE, ignore_errors=True)
    (PLACE / "runs").mkdir(parents=True)
    victim = Victim(*sys.argv[1:])
    original = WORKER.read_text()
    (PLACE / "worker").write_text(original)
    try:
        WORKER.write_text(WRAPPER)
        code = victim.passwd()
        found = steps()
        print(json.dumps({"undisturbed": code, "steps": len(found), **victim.outcome()}), flush=True)  # the result
        for step in found[::EACH]:
            for blow in BLOWS:
                print(json.dumps(strike(victim, step, blow)), flush=True)  # the result
    finally:
        WORKER.write_text(original)
        victim.restore()
    os.sync()


if __name__ == "__main__":
    main()
