"""From a passphrase to a wrapping key, at costs that a file names: no more than the machine bears, and not all users at once."""

from __future__ import annotations

from pam_pyhome.errors import FormatError, StorageError
from pam_pyhome.formats.fscrypt_key import KEY_SIZE
from pam_pyhome.formats.fscrypt_meta import PROTECTOR
from pam_pyhome.kernel.argon2 import argon2id, machine_memory
from pam_pyhome.kernel.turns import SHARES, MemoryTurn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pam_pyhome.formats.fscrypt_meta import Costs

LOCKS = "/run/pyhome/derive"
WAIT_SECONDS = 20.0
LEAST_LIMIT = 128 * 1024  # KiB: what fscrypt chooses at most by itself
WORK_LIMIT = 32 * 1024 * 1024  # KiB times passes: some ten seconds on a machine of today

_known: dict[tuple[bytes, bytes, Costs], bytes] = {}


def wrapping_key(uid: int, password: bytes, salt: bytes, costs: Costs) -> bytes:
    """The 32 bytes that `password` becomes. FormatError for costs beyond reason; StorageError if there is no memory for too long.

    A process that needs the same key again does not compute it again.
    """
    asked = (password, salt, costs)
    if asked not in _known:
        _known[asked] = _derive(uid, password, salt, costs)
    return _known[asked]


def _derive(uid: int, password: bytes, salt: bytes, costs: Costs) -> bytes:
    bound = max(machine_memory() // 2, 2 * LEAST_LIMIT)
    if costs.memory > bound // 2 or costs.memory * costs.time > WORK_LIMIT:
        raise FormatError(PROTECTOR, f"asks for {costs.time} passes over {costs.memory} KiB, too much for this machine")
    shares = -(-costs.memory * SHARES // bound)
    try:
        with MemoryTurn(LOCKS, shares, f"user.{uid}", WAIT_SECONDS):
            return argon2id(
                password, salt, time=costs.time, memory=costs.memory, parallelism=costs.parallelism, size=KEY_SIZE
            )
    except TimeoutError as error:
        raise StorageError("deriving the key", str(error)) from None
