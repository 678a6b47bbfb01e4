"""From a passphrase to a wrapping key, at costs that a file names: no more than the machine bears, and not all users at once."""

from __future__ import annotations

from pam_pyhome.errors import FormatError, StorageError
from pam_pyhome.formats.fscrypt_key import KEY_SIZE
from pam_pyhome.formats.fscrypt_meta import PROTECTOR
from pam_pyhome.kernel.argon2 import argon2id, machine_memory, processors
from pam_pyhome.kernel.turns import SHARES, MemoryTurn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pam_pyhome.formats.fscrypt_meta import Costs

LOCKS = "/run/pyhome/derive"
WAIT_SECONDS = 20.0
LEAST_LIMIT = 128 * 1024  # KiB: what fscrypt chooses at most by itself
LANE_LIMIT = 8 * 1024 * 1024  # KiB times passes for each processor that helps: ten to twenty seconds

_known: dict[tuple[bytes, bytes, Costs], bytes] = {}


def wrapping_key(uid: int, password: bytes, salt: bytes, costs: Costs) -> bytes:
    """The 32 bytes that `password` becomes. FormatError for costs beyond reason; StorageError if there is no memory for too long.

    A process that needs the same key again does not compute it again.
    """
    asked = (password, salt, costs)
    if asked not in _known:
        _known[asked] = _derive(uid, password, salt, costs)
    return _known[asked]


def check(costs: Costs) -> int:
    """How many KiB all processes together may use at a time. FormatError for costs beyond reason."""
    bound = max(machine_memory() // 2, 2 * LEAST_LIMIT)
    helpers = min(costs.parallelism, processors())
    if costs.memory > bound // 2 or costs.memory * costs.time > LANE_LIMIT * helpers:
        raise FormatError(PROTECTOR, f"asks for {costs.time} passes over {costs.memory} KiB, too much for this machine")
    return bound


def _derive(uid: int, password: bytes, salt: bytes, costs: Costs) -> bytes:
    shares = -(-costs.memory * SHARES // check(costs))
    try:
        with MemoryTurn(LOCKS, shares, f"user.{uid}", WAIT_SECONDS):
            return argon2id(
                password, salt, time=costs.time, memory=costs.memory, parallelism=costs.parallelism, size=KEY_SIZE
            )
    except TimeoutError as error:
        raise StorageError("deriving the key", str(error)) from None
