"""Another password for an fscrypt home, or the same one at other costs: its login protector, wrapped anew."""

from __future__ import annotations

import os

from pam_pyhome.backends import fscrypt_renew, kept, update_facts
from pam_pyhome.backends import fscrypt_store as store
from pam_pyhome.backends.fscrypt_find import MISSING, PREVIOUS, find_home, protector_copy, read_kept
from pam_pyhome.backends.fscrypt_keep import login_home, replace
from pam_pyhome.backends.fscrypt_unlock import Attempt, protector_for, try_all
from pam_pyhome.errors import UpdateError
from pam_pyhome.formats import fscrypt_meta as meta
from pam_pyhome.formats.fscrypt_conf import MAX_SIZE, parse_costs
from pam_pyhome.kernel import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pam_pyhome.backends.base import Account


_ETC, _CONF_NAME = "/etc", "fscrypt.conf"


def reserve(account: Account, old: bytes) -> None:
    """See `Backend.reserve`."""
    home = login_home(account)
    attempt = try_all(account, home, old, exact=False)
    candidate = attempt.candidate
    if candidate.is_recovery:
        fscrypt_renew.reserve(account, home)
        return
    _keep_good(account, attempt)
    owner = store.owner_of(candidate.mount, store.PROTECTORS, candidate.descriptor, account)
    store.stage(candidate.mount, store.PROTECTORS, candidate.descriptor, len(attempt.content), owner)


def _keep_good(account: Account, attempt: Attempt) -> None:
    """Keep the file that has just opened, and a live one that did not as the previous one."""
    name = protector_copy(attempt.candidate.descriptor)
    if attempt.content != read_kept(account, name):
        kept.keep(account, name, attempt.content)
    if attempt.candidate.live not in (attempt.content, MISSING):
        kept.keep(account, name + PREVIOUS, attempt.candidate.live)


def change_password(account: Account, old: bytes, new: bytes) -> int:
    """See `Backend.change_password`. What `old` opens is kept as the good copy until the next login with `new`."""
    home = login_home(account)
    attempt = try_all(account, home, old, exact=False)
    if attempt.candidate.is_recovery:
        return fscrypt_renew.renew(account, home, attempt, new)
    content = protector_for(account, attempt, new)
    _keep_good(account, attempt)
    replace(account, attempt.candidate, content)
    return 0


def renew_costs(account: Account, ask: Callable[[], bytes]) -> bool:
    """See `Backend.renew_costs`. What the password opened before is kept as the good copy until the next login."""
    home = find_home(account)
    if home is not None and not home.follows_login:
        raise UpdateError(account.name, update_facts.NOT_FOLLOWING)
    costs = _read_costs(account)
    password = ask()
    attempt = try_all(account, login_home(account), password, exact=True)
    if meta.parse_protector(attempt.content, attempt.candidate.descriptor).costs == costs:
        return False
    content = protector_for(account, attempt, password, costs)
    meta.parse_protector(content, attempt.candidate.descriptor)
    _keep_good(account, attempt)
    replace(account, attempt.candidate, content)
    return True


def _read_costs(account: Account) -> meta.Costs:
    """What new passwords cost. FormatError or UnsafeFileError for a file that cannot be made sense of."""
    directory = files.open_directory(_ETC, owners=(0,))
    try:
        return parse_costs(files.read_file(directory, _CONF_NAME, owners=(0,), limit=MAX_SIZE))
    except FileNotFoundError:
        raise UpdateError(account.name, update_facts.NO_CONF) from None
    finally:
        os.close(directory)
