"""What deriving a key from a new password costs: never less than the administrator wants, whatever a user's file says."""

from __future__ import annotations

import os

from pam_pyhome.backends.fscrypt_derive import check
from pam_pyhome.errors import FormatError, UnsafeFileError
from pam_pyhome.formats.fscrypt_conf import MAX_SIZE, parse_costs
from pam_pyhome.formats.fscrypt_meta import Costs
from pam_pyhome.kernel import files

_ETC, _NAME = "/etc", "fscrypt.conf"
FLOOR = Costs(3, 64 * 1024, 4)  # RFC 9106 recommends these where memory is scarce


def configured() -> Costs:
    """What /etc/fscrypt.conf says. FileNotFoundError, FormatError, UnsafeFileError."""
    directory = files.open_directory(_ETC, owners=(0,))
    try:
        return parse_costs(files.read_file(directory, _NAME, owners=(0,), limit=MAX_SIZE))
    finally:
        os.close(directory)


def for_new(present: Costs | None) -> Costs:
    """The costs of the `present` protector, which its owner can write, unless those of the configuration are higher.

    Without a configuration that this machine can bear, `FLOOR` takes its place.
    """
    try:
        least = configured()
        check(least)
    except (OSError, FormatError, UnsafeFileError):
        least = FLOOR
    is_enough = present is not None and present.time >= least.time and present.memory >= least.memory
    return present if present is not None and is_enough else least
