"""fscrypt homes: a login, a second login and the memory it leaves, beside pam_fscrypt, for one home on an ext4 image.

Run as ``python -m tests.bench.fscrypt [ROUNDS]`` by root, or as part of `make bench`. Nothing here passes or fails, but a transaction
that did not open the home, or a home that was not locked before the next one, ends the run.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from tests.bench.cases import PASSWORD, STACKS, VERIFY, case
from tests.bench.here import cheap_hash, install, time_here
from tests.bench.report import beyond, compare, heading
from tests.fscrypt.homes import CONFIG, FscryptMachine, make_image
from tests.login.homes import ADA
from tests.pam.harness import Build

# As much memory as the tools take at most by themselves, once over: a second of passes would hide the milliseconds that are looked for.
COSTS = {"time": 1, "memory": 128 * 1024, "parallelism": 2}
ROUNDS = 25
BOTH = ("authenticate", "open_session")
OURS, PEER, VERIFIED, ARGON2 = "pyhome", "pam_fscrypt", "pam_unix", "Argon2id"
SERVICES = {
    VERIFIED: STACKS["verify"],
    OURS: STACKS["ours"],
    PEER: f"{VERIFY}auth optional pam_fscrypt.so\nsession optional pam_fscrypt.so\n",
}

# What the owner wrote while the home was open cannot be found while it is locked.
WAS_OPEN, IS_LOCKED = "test -e /home/ada/secret", "! test -e /home/ada/secret"
UNDO = {
    OURS: f"set -e; {WAS_OPEN}; pamtester {OURS} ada open_session close_session; {IS_LOCKED}",
    PEER: f"set -e; {WAS_OPEN}; pamtester {PEER} ada close_session; {IS_LOCKED}",
}

# In a fresh process, as a login is: the library is loaded and used once before, the memory is new.
ALONE = f"""
import sys, time
sys.path.insert(0, "/usr/lib/pyhome")
from pam_pyhome.kernel.argon2 import argon2id
argon2id(b"secret", bytes(16), time=1, memory=64, parallelism=2, size=32)
began = time.perf_counter()
argon2id(b"secret", bytes(16), **{COSTS!r}, size=32)
print((time.perf_counter() - began) * 1000)
"""


def furnish(machine: FscryptMachine, image: Path) -> None:
    """Ada, whose home the real tool has encrypted at COSTS, and the three services."""
    install(machine)
    machine.furnish_fscrypt(image=image)
    costs = {name: str(value) for name, value in COSTS.items()} | {"truncation_fixed": True}
    config = json.dumps(CONFIG | {"hash_costs": costs})
    machine.path("/etc/fscrypt.conf").write_text(config, encoding="ascii")
    machine.add_user("ada", ADA, password=cheap_hash(), encrypted=False)
    machine.fscrypt(
        "encrypt", "/home/ada", "--source=pam_passphrase", "--user=ada", "--quiet", said=f"{PASSWORD}\n"
    )  # fmt: skip
    machine.write_secret("ada", ADA)
    machine.fscrypt("lock", "/home/ada", "--user=ada", "--quiet")
    for service, text in SERVICES.items():
        machine.write_stack(service, text)


def bench_unlock(machine: FscryptMachine, rounds: int) -> None:
    """A login that opens the home."""
    alone = {
        "name": ARGON2,
        "command": ["/usr/bin/python3", "-I", "-S", "-c", ALONE],
        "between": ":",
        "says_itself": True,
    }
    cases = [
        case(VERIFIED, VERIFIED, "ada", *BOTH),
        alone,
        case(OURS, OURS, "ada", *BOTH, between=UNDO[OURS]),
        case(PEER, PEER, "ada", *BOTH, between=UNDO[PEER]),
    ]
    took = time_here(machine, rounds, cases)
    spent = f"{COSTS['time']} pass over {COSTS['memory'] // 1024} MiB in {COSTS['parallelism']} lanes"
    heading(f"fscrypt: auth and session open with pamtester, {spent}; milliseconds of the whole process")
    compare(took, OURS, PEER, "unlock beside pam_fscrypt, with the same protector")
    compare(took, PEER, ARGON2, "pam_fscrypt beside Argon2id alone, as libargon2 does it in a fresh process")
    compare(took, OURS, VERIFIED, "unlock beside the verification alone")
    beyond(took, OURS, (VERIFIED, ARGON2), "beyond verification and Argon2id", "at most 40 ms")
    beyond(took, PEER, (VERIFIED, ARGON2), "the same of pam_fscrypt", "none")


def bench_second(machine: FscryptMachine, rounds: int) -> None:
    """A login to a home that another session keeps open."""
    session = machine.start(OURS, "ada", f"answer={PASSWORD}", "auth", "open", "pid", "wait", "close")
    while not session.line().startswith("pid "):
        continue
    cases = [
        case(service, service, "ada", *BOTH, between="test -e /home/ada/secret") for service in (VERIFIED, OURS, PEER)
    ]
    took = time_here(machine, rounds, cases)
    session.go_on()
    session.finish()
    heading("fscrypt: a second login while the home is open")
    compare(took, OURS, PEER, "second login beside pam_fscrypt")
    compare(took, OURS, VERIFIED, "second login beside the verification alone")


def _rss(machine: FscryptMachine, pid: str) -> int:
    """KiB of memory that a process of the machine has now; as the kernel sums it up page by page, not by its estimate."""
    lines = machine.path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Rss:"))


def _growth(machine: FscryptMachine, service: str) -> int:
    """KiB that a PAM application has more with its session open than before it authenticated; the session is closed then."""
    session = machine.start(service, "ada", f"answer={PASSWORD}", "pid", "wait", "auth", "open", "pid", "wait", "close")
    sizes = []
    while line := session.line():
        if line.startswith("pid "):
            sizes.append(_rss(machine, line.removeprefix("pid ")))
            session.go_on()
    session.finish()
    before, after = sizes
    return after - before


def bench_memory(machine: FscryptMachine) -> None:
    """What a session keeps in the PAM process, while it is open."""
    machine.run(["sh", "-c", "rm -f /run/fscrypt/*.count"])  # the timing has left sessions of pam_fscrypt that did not end
    grown = {service: _growth(machine, service) for service in SERVICES}
    heading("fscrypt: memory that stays in the PAM process while the session is open, beyond that of the verification alone")
    for service, budget in ((OURS, "  (budget: at most 0.5 MiB)"), (PEER, "")):
        print(f"  {service:12} {(grown[service] - grown[VERIFIED]) / 1024:8.2f} MiB{budget}")


def bench_fscrypt(rounds: int = ROUNDS) -> None:
    """All of it."""
    with tempfile.TemporaryDirectory() as base:
        image = Path(base) / "ext4"
        make_image(image)
        build = Build(Path(base), sanitized=False)
        with FscryptMachine(Path(base), build) as machine:
            furnish(machine, image)
            bench_unlock(machine, rounds)
            bench_memory(machine)
            bench_second(machine, rounds)


if __name__ == "__main__":
    bench_fscrypt(*map(int, sys.argv[1:]))
