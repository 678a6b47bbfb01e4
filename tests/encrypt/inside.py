"""Runs inside a test machine as root: steps of a conversion to or from eCryptfs that need no mount. Prints what came of it.

inside.py VERB...      one after another; each answer is a line: a value, or the name of the error and what it says
"""

from __future__ import annotations

import os
import subprocess
import sys

sys.path.insert(0, "/usr/lib/pyhome")

from pam_pyhome.admin import conversion, conversion_facts, conversion_kinds, conversion_swap, tree
from pam_pyhome.admin.conversion_record import Journal, Record, is_swapped, other_home, place_of
from pam_pyhome.backends import ecryptfs_create
from pam_pyhome.backends.base import Account
from pam_pyhome.errors import PyhomeError
from pam_pyhome.kernel.renames import exchange

ADA = Account("ada", 61001, 61001, "/home/ada")
KIND = conversion_kinds.Ecryptfs()
PASSWORD = b"correct horse"
RECOVERY = "0123456789abcdef0123456789abcdef"


def prepare(journal: Journal) -> str:
    """What `encrypt` makes before it copies."""
    record = conversion._begin(journal, Record(ADA, conversion_facts.ENCRYPT, "ecryptfs", conversion_facts.PREPARING))
    os.mkdir(place_of(ADA), 0o700)
    KIND.prepare(ADA, PASSWORD, RECOVERY, lambda _step: None)
    journal.write(conversion._with_new(record)._replace(phase=conversion_facts.COPYING))
    return "ok"


def fill(journal: Journal) -> str:
    """Copy, and let the copies change places; with a plain directory where eCryptfs would be mounted."""
    ecryptfs_create._mount = _bind
    told: set[str] = set()
    watcher = conversion.Watcher(print, lambda part, _size, _files: told.add(part), lambda _user: None)
    conversion._fill(journal, present(journal), PASSWORD, watcher)
    return f"filled, told of {sorted(told)}"


def _bind(account: Account, passphrase: bytes, lower: str, mountpoint: str) -> None:
    subprocess.run(["mount", "--bind", lower, mountpoint], check=True)


def turn(journal: Journal) -> str:
    """Begin to decrypt what was encrypted, with a record as version 0.1.0 wrote it."""
    inode = os.lstat(other_home(ADA)).st_ino
    journal.write(Record(ADA, conversion_facts.DECRYPT, "ecryptfs", conversion_facts.COPYING, inode=inode))
    return "ok"


def swap(journal: Journal) -> str:
    """Let the copies change places."""
    record = present(journal)
    if record.direction == conversion_facts.ENCRYPT:
        return str(conversion_swap.encrypted(journal, record, tree.fingerprint(ADA.home), PASSWORD))
    return str(conversion_swap.decrypted(journal, record, tree.fingerprint(KIND.watched(ADA))))


def halfway(journal: Journal) -> str:
    """Do the first half of that, and be killed."""
    record = present(journal)
    encrypts = record.direction == conversion_facts.ENCRYPT
    plain = tree.fingerprint(ADA.home if encrypts else other_home(ADA))
    journal.write(record._replace(phase=conversion_facts.SWAPPING, plain=plain, cipher=tree.fingerprint(KIND.watched(ADA))))
    if encrypts:
        KIND.place(ADA)
    else:
        exchange(ADA.home, other_home(ADA))
    return "ok"


def settle(journal: Journal) -> str:
    """What the next run makes of that."""
    record = conversion_swap.settle(journal, present(journal))
    return f"{record.phase} swapped={is_swapped(record)} placed={KIND.is_placed(ADA)}"


def back(journal: Journal) -> str:
    """Take it back."""
    conversion.take_back(journal, present(journal))
    return "ok"


def present(journal: Journal) -> Record:
    record = journal.read()
    if record is None:
        raise SystemExit("there is no record")
    return record


VERBS = {"prepare": prepare, "fill": fill, "turn": turn, "swap": swap, "halfway": halfway, "settle": settle, "back": back}


def main() -> None:
    for verb in sys.argv[1:]:
        try:
            with Journal("ada") as journal:
                print(VERBS[verb](journal))
        except (PyhomeError, OSError) as error:
            print(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
