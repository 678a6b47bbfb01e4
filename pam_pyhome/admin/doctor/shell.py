"""Whether those who have pyhome-shell as their login shell can log in."""

from __future__ import annotations

import os
import pwd
from typing import TYPE_CHECKING

from pam_pyhome.admin import login_shell
from pam_pyhome.admin.doctor.finding import FAIL, OK, SKIP, WARN, Finding, edit
from pam_pyhome.errors import PyhomeError
from pam_pyhome.formats import shells
from pam_pyhome.formats.words import quoted

if TYPE_CHECKING:
    from collections.abc import Iterator


def check_shell(user: str | None) -> Iterator[Finding]:
    """Those who have pyhome-shell as their login shell can log in."""
    entries = [entry for entry in pwd.getpwall() if entry.pw_shell == login_shell.STUB and user in {None, entry.pw_name}]
    if not entries:
        subject = user or "pyhome-shell"
        yield Finding(SKIP, "shell", subject, "has another login shell" if user else "is nobody's login shell")
        return
    if login_shell.STUB not in _listed():
        text = f"is not in {login_shell.LISTED}, so some programs refuse its users"
        yield Finding(WARN, "shell.listed", login_shell.STUB, text, f"echo {login_shell.STUB} >> {login_shell.LISTED}")
    try:
        status = os.stat(shells.PATH)
    except FileNotFoundError:
        status = None
    if status is not None and (status.st_uid != 0 or status.st_mode & 0o022):
        text = f"belongs to uid {status.st_uid} with mode {status.st_mode & 0o7777:04o}, so it does not count"
        yield Finding(FAIL, "shell.real", shells.PATH, text, f"chown root: {shells.PATH} && chmod 0644 {shells.PATH}")
        return
    for entry in entries:
        yield _about_real(entry.pw_name)


def _listed() -> set[str]:
    try:
        with open(login_shell.LISTED, encoding="utf-8", errors="replace") as file:
            return {line.strip() for line in file}
    except OSError:
        return set()


def _about_real(name: str) -> Finding:
    mend = f"usermod --shell /bin/bash {quoted(name)} && pyhome shell enable {quoted(name)}"
    try:
        real = login_shell.show(name).real_shell
    except (OSError, PyhomeError) as error:
        return Finding(FAIL, "shell.real", shells.PATH, str(error), edit(shells.PATH))
    if real is None:
        return Finding(FAIL, "shell.real", name, f"has pyhome-shell, but no real shell in {shells.PATH}", mend)
    if not os.access(real, os.X_OK):
        return Finding(FAIL, "shell.real", name, f"has the real shell {real}, which cannot be run", mend)
    return Finding(OK, "shell", name, f"has pyhome-shell, and then {real}")
