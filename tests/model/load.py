"""Runs in the machine as root: ``load.py ORDER``: sessions of many users at once, then none; the last line is JSON: what is left.

Each user's first session opens the home while those of others do; the others of the same user follow at once. All are there at
the same time before they all end, half of them in order and half by SIGKILL. The accounts are there before; fscrypt homes are made
here, eCryptfs homes are copies of the one that the order names.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import shutil
import sys
import time
import traceback
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, "/usr/lib/pyhome")

from tests.model.kernel import SECRET, keys_left
from tests.model.machine import RUN, Daemon, pyhome
from tests.model.sessions import Session

EACH = 4


def main() -> None:
    order: dict[str, Any] = json.loads(sys.argv[1])
    daemon = Daemon(order["daemon"])
    for user, home in order["homes"].items():
        if order["like"]:
            if not os.path.isdir(home):
                _copy(order["like"], user)
        else:
            made = pyhome("create", "--password-file", "-", user, stdin=order["password"] + "\n")
            assert made.code == 0, made
            assert not _is_open(home)
    try:
        daemon.start()
        said = _play(order)
    except Exception:  # noqa: BLE001 - whatever it is, it is told
        # What still runs has the same output: without a last line, its reader would wait for that.
        said = {"sessions": 0, "open": 0, "leases": 0, "left": [traceback.format_exc()]}
    finally:
        daemon.strike(children=True)
    print(json.dumps(said), flush=True)


def _play(order: dict[str, Any]) -> dict[str, Any]:
    homes: dict[str, str] = order["homes"]
    began = time.monotonic()
    users, sessions = list(homes), list[Session]()
    while users:
        # As many at once as the machine can derive keys for in the time that a login is given.
        some, users = users[: order["at_once"]], users[order["at_once"] :]
        first = {user: Session(order["service"], user, order["password"]) for user in some}
        for user, session in first.items():
            assert session.codes() == (0, 0), f"the first session of {user} does not begin"
        sessions += first.values()
    if not order["like"]:
        for home in homes.values():
            Path(home, "secret").write_bytes(SECRET)
    later = [Session(order["service"], user, order["password"]) for user in homes for _ in range(EACH - 1)]
    assert all(session.codes() == (0, 0) for session in later), "a later session does not begin"
    sessions += later
    said: dict[str, Any] = {
        "sessions": len(sessions), "open": sum(map(_is_open, homes.values())), "leases": len(_state("lease.*")),
        "seconds": [time.monotonic() - began],
    }  # fmt: skip
    for session in sessions[::2]:
        session.begin_close()
    for session in sessions[1::2]:
        session.kill()
    for session in sessions[::2]:
        assert session.closed() == 0, f"a session of {session.user} does not end"
    deadline = time.monotonic() + order["patience"]
    while (left := _left(order)) and time.monotonic() < deadline:
        time.sleep(0.1)
    said["seconds"].append(time.monotonic() - began)
    return said | {"left": left}


def _copy(model: str, user: str) -> None:
    """An eCryptfs home with the ciphertext and the key file of another."""
    entry = pwd.getpwnam(user)
    for directory in ("/home", "/home/.ecryptfs"):
        shutil.copytree(f"{directory}/{model}", f"{directory}/{user}", symlinks=True)
    for name in (".ecryptfs", ".Private"):
        Path(f"/home/{user}/{name}").unlink()
        Path(f"/home/{user}/{name}").symlink_to(f"/home/.ecryptfs/{user}/{name}")
    Path(f"/home/.ecryptfs/{user}/.ecryptfs/Private.mnt").write_text(f"/home/{user}\n")
    for directory in (f"/home/{user}", f"/home/.ecryptfs/{user}"):
        for top, folders, files in os.walk(directory):
            for each in (".", *folders, *files):
                os.lchown(f"{top}/{each}", entry.pw_uid, entry.pw_gid)


def _is_open(home: str) -> bool:
    try:
        return Path(home, "secret").read_bytes() == SECRET
    except OSError:
        return False


def _state(pattern: str) -> list[str]:
    return [str(path) for path in Path(RUN).glob(f"*/{pattern}")]


def _left(order: dict[str, Any]) -> list[str]:
    """Homes that are open, and what an open home has: records, leases, keys, mounts."""
    found = [home for home in order["homes"].values() if _is_open(home)] + _state("lease.*") + _state("open")
    with contextlib.suppress(FileNotFoundError):
        found += [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if " - ecryptfs " in line]
    return found + keys_left(tuple(order["names"])) if order["names"] else found


if __name__ == "__main__":
    os.umask(0o022)
    main()
