"""fscrypt homes: a login, the memory it leaves, and a second login, beside pam_fscrypt, for the same homes on an ext4 image.

Run as ``python -m tests.bench.fscrypt [ROUNDS]`` by root, or as part of `make bench`. Nothing here passes or fails, but a
transaction that did not open the home, or a home that was not locked before the next one, ends the run.
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
from tests.login.homes import ADA, BOB
from tests.pam.harness import Build

# As much memory as the tools take at most by themselves, once over: a second of passes would hide the milliseconds that are
# looked for. And next to none, where Argon2id, which varies from round to round by more than what is beyond it, plays no part.
Costs = dict[str, int]
FULL: Costs = {"time": 1, "memory": 128 * 1024, "parallelism": 2}
LEAST: Costs = {"time": 1, "memory": 64, "parallelism": 2}
USERS = {"ada": (ADA, FULL), "bob": (BOB, LEAST)}
ROUNDS = 25
BOTH = ("authenticate", "open_session")
OURS, PEER, VERIFIED, ARGON2 = "pyhome", "pam_fscrypt", "pam_unix", "Argon2id"
SERVICES = {
    VERIFIED: STACKS["verify"],
    OURS: STACKS["ours"],
    PEER: f"{VERIFY}auth optional pam_fscrypt.so\nsession optional pam_fscrypt.so\n",
}

# In a fresh process, as a login is: the library is loaded and used once before, the memory is new.
ALONE = """
import sys, time
sys.path.insert(0, "/usr/lib/pyhome")
from pam_pyhome.kernel.argon2 import argon2id
argon2id(b"secret", bytes(16), time=1, memory=64, parallelism=2, size=32)
began = time.perf_counter()
argon2id(b"secret", bytes(16), time=int(sys.argv[1]), memory=int(sys.argv[2]), parallelism=int(sys.argv[3]), size=32)
print((time.perf_counter() - began) * 1000)
"""


def furnish(machine: FscryptMachine, image: Path) -> None:
    """Two users, whose homes the real tool has encrypted at the costs of each, and the three services."""
    install(machine)
    machine.furnish_fscrypt(image=image)
    for service, text in SERVICES.items():
        machine.write_stack(service, text)
    for name, (uid, costs) in USERS.items():
        hash_costs = {cost: str(value) for cost, value in costs.items()} | {"truncation_fixed": True}
        machine.path("/etc/fscrypt.conf").write_text(json.dumps(CONFIG | {"hash_costs": hash_costs}), encoding="ascii")
        machine.add_user(name, uid, password=cheap_hash(), encrypted=False)
        encrypt = ("encrypt", f"/home/{name}", "--source=pam_passphrase", f"--user={name}", "--quiet")
        machine.fscrypt(*encrypt, said=f"{PASSWORD}\n")
        machine.write_secret(name, uid)
        machine.fscrypt("lock", f"/home/{name}", f"--user={name}", "--quiet")


def _lock(service: str, name: str) -> str:
    """Shell: lock the home that a transaction has opened. Fails if it was not open, or is not locked in the end."""
    # pam_fscrypt counts the sessions that began and have not ended; ours looks for processes, and the first one has gone.
    close = "close_session" if service == PEER else "open_session close_session"
    # What the owner wrote while the home was open cannot be found while it is locked.
    secret = f"test -e /home/{name}/secret"
    return f"set -e; {secret}; pamtester {service} {name} {close}; ! {secret}"


def bench_unlock(machine: FscryptMachine, name: str, rounds: int) -> None:
    """A login that opens the home."""
    _, costs = USERS[name]
    passes = [str(costs[cost]) for cost in ("time", "memory", "parallelism")]
    alone = {
        "name": ARGON2,
        "command": ["/usr/bin/python3", "-I", "-S", "-c", ALONE, *passes],
        "between": ":",
        "says_itself": True,
    }
    opened = [case(service, service, name, *BOTH, between=_lock(service, name)) for service in (OURS, PEER)]
    took = time_here(machine, rounds, [case(VERIFIED, VERIFIED, name, *BOTH), alone, *opened])
    spent = f"{costs['time']} pass over {costs['memory']} KiB in {costs['parallelism']} lanes"
    heading(f"fscrypt: auth and session open with pamtester, {spent}; milliseconds of the whole process")
    compare(took, OURS, PEER, "unlock beside pam_fscrypt, with the same protector")
    compare(took, OURS, ARGON2, "unlock beside Argon2id alone, by libargon2 in a fresh process")
    compare(took, OURS, VERIFIED, "unlock beside the verification alone")
    beyond(took, OURS, (VERIFIED, ARGON2), "beyond verification and Argon2id", "at most 40 ms")
    beyond(took, PEER, (VERIFIED, ARGON2), "the same of pam_fscrypt")


def bench_second(machine: FscryptMachine, rounds: int) -> None:
    """A login to a home that another session keeps open. pam_fscrypt derives the key before it finds that out."""
    session = machine.start(OURS, "ada", f"answer={PASSWORD}", "auth", "open", "pid", "wait", "close")
    while (line := session.line()) and not line.startswith("pid "):
        continue
    assert machine.is_open()
    cases = [
        case(service, service, "ada", *BOTH, between="test -e /home/ada/secret") for service in (VERIFIED, OURS, PEER)
    ]
    took = time_here(machine, rounds, cases)
    session.go_on()
    session.finish()
    assert not machine.is_open()
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
    assert not machine.is_open()  # or the next one would find it open, and derive nothing
    before, after = sizes
    return after - before


def bench_memory(machine: FscryptMachine) -> None:
    """What a session keeps in the PAM process, while it is open."""
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
            for name in USERS:
                bench_unlock(machine, name, rounds)
            bench_memory(machine)
            bench_second(machine, rounds)


if __name__ == "__main__":
    bench_fscrypt(*map(int, sys.argv[1:]))
