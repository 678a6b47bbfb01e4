"""Which key files somebody besides whoever types a password has proved to be right: what `authenticate` demands.

Key files are their owner's, whose processes can put an older one back. So a file of root's, `digests` beside the good copies, has
the SHA-256 of those that opened the home when something else had verified the login, and of those that pyhome has made of them.
A line is ``DIGEST NAME``. Where an earlier version has kept good copies and no such file, the copies count in its place.
"""

from __future__ import annotations

from pam_pyhome import events
from pam_pyhome.backends import kept
from pam_pyhome.errors import UnprovedError, UnsafeFileError
from pam_pyhome.formats.words import quoted
from pam_pyhome.kernel.digest import sha256
from pam_pyhome.kernel.log import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pam_pyhome.backends.base import Account

Digests = dict[str, set[str]]


def is_approved(account: Account, name: str, content: bytes) -> bool:
    """Whether the key file `name` is approved with this content."""
    return sha256(content) in _read(account).get(name, set())


def approve(account: Account, name: str, *contents: bytes) -> None:
    """From now on the key file `name` is approved with one of these `contents`, if there are any, and with no other. OSError."""
    found = _read(account)
    digests = {sha256(content) for content in contents}
    _write(account, found | {name: digests})
    if len(digests) == 1 and digests != found.get(name):
        log(events.KEY_FILE_APPROVED, name, account)


def unproved(account: Account, name: str) -> UnprovedError:
    """What is to be said of a file that is not approved."""
    reason = "is not the file that was last proved; log in once where another module verifies the password, or run as root"
    return UnprovedError(name, f"{reason} 'pyhome passwd --home-only {quoted(account.name)}'")


def begin(account: Account) -> None:
    """Have the file before there are new copies, which would count in its place. OSError."""
    if kept.read(account, kept.DIGESTS) is None:
        _write(account, _read(account))


def _read(account: Account) -> Digests:
    """By the names of the files. Of a file that is damaged, the lines that can be read."""
    found: Digests = {}
    try:
        content = kept.read(account, kept.DIGESTS)
    except UnsafeFileError:
        return found
    if content is None:
        return {name: {sha256(kept.read(account, name) or b"")} for name in kept.names(account)}
    for line in content.decode("utf-8", "surrogateescape").splitlines():
        digest, _, name = line.partition(" ")
        found.setdefault(name, set()).add(digest)
    return found


def _write(account: Account, digests: Digests) -> None:
    lines = [f"{digest} {name}\n" for name in sorted(digests) for digest in sorted(digests[name])]
    kept.keep(account, kept.DIGESTS, "".join(lines).encode("utf-8", "surrogateescape"))
