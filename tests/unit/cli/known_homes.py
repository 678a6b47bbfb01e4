"""Homes in every state, as facts."""

from __future__ import annotations

from pam_pyhome.formats import facts
from pam_pyhome.formats.facts import HomeFacts, Session, Slot

NOON = 1795262400  # 2026-11-21 12:00 UTC
KEY_FILE = "/home/.ecryptfs/ada/.ecryptfs/wrapped-passphrase"
SSH = Session(1412, NOON, "sshd", "ssh", "203.0.113.7")
TTY = Session(1502, NOON + 60, "login", "tty1", "")
BASH = "pid 1413 (bash, uid 1000): cwd /home/ada"

LOCKED = HomeFacts(
    "ada", 1000, "/home/ada", "ecryptfs", facts.LOCKED, "", b"/home/ada", b"/home/.ecryptfs/ada/.Private",
    slots=(Slot(KEY_FILE, "login password"),),
)  # fmt: skip
OPEN = HomeFacts(
    "ada", 1000, "/home/ada", "ecryptfs", facts.OPEN, "", b"/home/ada", b"/home/.ecryptfs/ada/.Private", NOON,
    slots=(
        Slot(KEY_FILE, "login password", "is of version 1, which is weak; the next login renews it"),
        Slot("/var/lib/pyhome/1000.ada/wrapped-passphrase", "copy of the key file"),
    ),
    sessions=(SSH, TTY),
    holders=(BASH,),
)  # fmt: skip
HELD = HomeFacts("ada", 1000, "/home/ada", "ecryptfs", facts.OPEN, "", b"/home/ada", b"", NOON, held=True)
LEFT = HomeFacts("ada", 1000, "/home/ada", "ecryptfs", facts.OPEN, "", b"/home/ada", b"", 0, holders=(BASH,))
PARTLY = HomeFacts(
    "ada", 1000, "/home/ada", "fscrypt", facts.PARTLY, "files that are in use stay readable", b"/home/ada", b"/home", NOON,
    holders=(BASH,),
)  # fmt: skip
BROKEN = HomeFacts(
    "ada", 1000, "/home/ada", "ecryptfs", facts.LOCKED, f"{KEY_FILE}: damaged: only 3 bytes long", b"/home/ada", b"",
    slots=(Slot(KEY_FILE, "passphrase of its own", "damaged: only 3 bytes long", usable=False),),
    follows_login=False, opens_at_login=False, locks_at_logout=False,
)  # fmt: skip
UNKNOWN = HomeFacts("ada", 1000, "/home/ada", "", facts.UNKNOWN, "/home/ada/.ecryptfs: is a link")
STRANGE = HomeFacts("ada", 1000, "/home/\udcff", "ecryptfs", facts.OPEN, "", b"/home/\xff", b"/x", NOON)
HOMES = (LOCKED, OPEN, HELD, LEFT, PARTLY, BROKEN, UNKNOWN, STRANGE)
