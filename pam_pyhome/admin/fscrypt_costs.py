"""What a passphrase is to cost: as `/etc/fscrypt.conf` says; where there is none, it is measured once and written there."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from pam_pyhome.backends.fscrypt_derive import LANE_LIMIT
from pam_pyhome.formats import fscrypt_conf as conf
from pam_pyhome.formats.fscrypt_meta import SALT_SIZE, Costs
from pam_pyhome.kernel import files
from pam_pyhome.kernel.argon2 import argon2id, machine_memory, processors

if TYPE_CHECKING:
    from collections.abc import Callable

PATH = "/etc/fscrypt.conf"
SECONDS = 1.0
MEMORY_MAX = 128 * 1024  # KiB, and never more than an eighth of the machine's
MEMORY_MIN = 1024
LANES_MAX = 255


def costs() -> Costs:
    """The costs for new passphrases. FormatError or UnsafeFileError if the file is of no use, OSError if it cannot be written."""
    etc = files.open_directory(os.path.dirname(PATH), owners=(0,))
    name = os.path.basename(PATH)
    try:
        try:
            return conf.parse_costs(files.read_file(etc, name, owners=(0,), limit=conf.MAX_SIZE))
        except FileNotFoundError:
            pass
        found = calibrate(machine_memory(), processors(), _spend)
        mask = os.umask(0o022)
        try:
            files.replace_file(etc, name, conf.emit_config(found), mode=0o644)
        finally:
            os.umask(mask)
        return found
    finally:
        os.close(etc)


def calibrate(memory: int, lanes: int, spend: Callable[[Costs], float]) -> Costs:
    """Costs that take about a second on a machine with so many KiB of memory; `spend` tells how long some costs take.

    Memory first, because that is what makes guessing expensive: as much as one pass in that second, or the limit, allows.
    """
    lanes = max(1, min(lanes, LANES_MAX))
    limit = max(MEMORY_MIN, min(MEMORY_MAX, memory // 8), 8 * lanes)
    chosen = Costs(1, limit, lanes)
    took = spend(chosen)
    while took > SECONDS and chosen.memory // 2 >= max(MEMORY_MIN, 8 * lanes):
        chosen = Costs(1, chosen.memory // 2, lanes)
        took = spend(chosen)
    most = LANE_LIMIT * lanes // 2 // chosen.memory
    return Costs(max(1, min(int(SECONDS / max(took, 0.0001)), most)), chosen.memory, lanes)


def _spend(chosen: Costs) -> float:
    began = time.monotonic()
    salt = bytes(SALT_SIZE)
    argon2id(b"how long", salt, time=chosen.time, memory=chosen.memory, parallelism=chosen.parallelism, size=32)
    return time.monotonic() - began
