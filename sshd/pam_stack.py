"""The line in sshd's PAM file that asks for the home's password after a public key."""

from __future__ import annotations

from pam_pyhome.admin.plan import Change, observe
from pam_pyhome.errors import SshdError

PAM_FILE = "/etc/pam.d/sshd"
# Success ends the questions: the key has been verified by sshd, and the home is open. Anything else goes on as without it.
LINE = b"auth       [success=done default=ignore]  pam_pyhome.so ssh-unlock\n"
_AUTH = (b"auth", b"-auth", b"@include common-auth")


def changes(*, wanted: bool) -> list[Change]:
    """The change that puts the line before all others of its kind, or takes it out. SshdError if it does not fit in."""
    now = observe(PAM_FILE)
    content = now.content if now is not None else None
    if now is None or content is None:
        if not wanted:
            return []
        raise SshdError(PAM_FILE, "is not there, so that sshd would not ask for the home's password")
    lines = content.splitlines(keepends=True)
    new = b"".join(_with_line(lines) if wanted else [line for line in lines if line != LINE])
    return [] if new == content else [Change(PAM_FILE, now, now._replace(content=new))]


def _with_line(lines: list[bytes]) -> list[bytes]:
    if any(not line.lstrip().startswith(b"#") and {b"pam_pyhome.so", b"ssh-unlock"} <= set(line.split()) for line in lines):
        return lines
    first = next((at for at, line in enumerate(lines) if line.lower().startswith(_AUTH)), None)
    if first is None:
        raise SshdError(PAM_FILE, "has no auth line before which the new one could stand")
    return [*lines[:first], LINE, *lines[first:]]
