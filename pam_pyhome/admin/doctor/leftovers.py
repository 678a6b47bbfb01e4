"""What is left of making, encrypting or moving a home: copies of it without encryption, and what was begun and not finished."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from pam_pyhome.admin import conversion_record
from pam_pyhome.admin.doctor.finding import WARN, Finding
from pam_pyhome.errors import FormatError, PyhomeError
from pam_pyhome.formats.words import quoted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pam_pyhome.backends.base import Account

_RANDOM = re.compile(r"[A-Za-z0-9]{8}")  # what mktemp makes of ecryptfs-migrate-home's eight X
_MOST_NAMES = 10000


def check(account: Account) -> Iterator[Finding]:
    """Beside the home."""
    parent, prefix = os.path.dirname(account.home), f"{os.path.basename(account.home)}."
    try:
        with os.scandir(parent) as entries:
            names = [entry.name for entry, _ in zip(entries, range(_MOST_NAMES)) if entry.name.startswith(prefix)]
    except OSError:
        return
    for name in sorted(names):
        path = f"{parent.rstrip('/')}/{name}"
        if _RANDOM.fullmatch(name.removeprefix(prefix)) and os.path.isdir(path) and not os.path.islink(path):
            text = f"is the home of {account.name} from before ecryptfs-migrate-home, without encryption; open the home first"
            yield Finding(WARN, "plain.copy", path, text, f"rm --recursive --one-file-system {quoted(path)}")
    yield from _about_conversion(account)


def _about_conversion(account: Account) -> Iterator[Finding]:
    name = quoted(account.name)
    try:
        record = conversion_record.find(account.name)
        if record is None:
            return
        swapped = conversion_record.is_swapped(record)
    except (OSError, FormatError, PyhomeError) as error:
        text = f"has a home that is being encrypted or decrypted, and it cannot be seen how far that is: {error}"
        yield Finding(WARN, "plain.conversion", account.name, text, f"pyhome status {name}")
        return
    verb = record.direction
    if swapped:
        text = f"has another copy of the home from before '{verb}'; see first that the home opens"
        yield Finding(WARN, "plain.conversion", account.name, text, f"pyhome confirm {name}")
    else:
        text = f"has a home that 'pyhome {verb}' has not finished with"
        yield Finding(WARN, "plain.conversion", account.name, text, f"pyhome {verb} --resume {name}")
