"""What a login over SSH meets: sshd's effective settings, and which file has the user's keys while the home is locked."""

from __future__ import annotations

import glob
import os
import pwd
import re
import subprocess
from typing import TYPE_CHECKING

from pam_pyhome.admin import login_shell
from pam_pyhome.admin.doctor.finding import FAIL, OK, SKIP, WARN, Finding, edit
from pam_pyhome.admin.doctor.kernel import read_lines
from pam_pyhome.admin.plan import observe
from pam_pyhome.errors import PyhomeError, SshdError
from pam_pyhome.formats.words import quoted
from pam_pyhome.sshd import config, daemon, inspection, manage, pam_stack, people

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pam_pyhome.sshd.layout import User

_APPLY = "pyhome sshd apply"
_SHOWN_MAX = 200
_UNITS = ("/usr/lib/systemd/system", "/lib/systemd/system", "/etc/systemd/system")


def check(name: str | None) -> Iterator[Finding]:
    """Everything about sshd, and about one user in particular."""
    try:
        binary = daemon.find()
    except SshdError:
        yield Finding(SKIP, "sshd", "sshd", "is not installed")
        return
    try:
        daemon.check(binary, daemon.main_file())
        dump = daemon.dump(binary, name if name and daemon.can_ask_about(name) else None)
    except (PyhomeError, OSError, subprocess.SubprocessError) as error:
        yield Finding(FAIL, "sshd.config", daemon.main_file(), str(error), edit(_file_named(str(error))))
        return
    yield from _about_settings(dump)
    yield from _about_principals()
    yield from _about_skipped()
    yield from _about_layout()
    user = people.look_up(name) if name else None
    if user is not None:
        yield from _about_user(user, dump)


def _about_settings(dump: dict[str, tuple[str, ...]]) -> Iterator[Finding]:
    def value(keyword: str) -> str:
        return dump.get(keyword, ("",))[0]

    if value("usepam") != "yes":
        text = "UsePAM is not on: no home opens or closes over SSH"
        yield Finding(FAIL, "sshd.pam", "sshd", text, _set("UsePAM yes"))
    else:
        yield Finding(OK, "sshd.pam", "sshd", "asks PAM")
    for keyword in ("subsystem", "forcecommand"):
        if any("internal-sftp" in each.split() for each in dump.get(keyword, ())):
            text = f"{keyword} is internal-sftp, which bypasses the login shell: with a locked home, sftp shows an empty one"
            yield Finding(WARN, "sshd.sftp", "sshd", text, edit(_file_with("internal-sftp")))


def _about_principals() -> Iterator[Finding]:
    """Certificates for whose users sshd looks into a home."""
    for each in config.principals_in_homes(daemon.read_config(without=config.DROP_IN)):
        yield Finding(WARN, "sshd.principals", each.place, inspection.about(each), edit(each.path))


def _set(line: str) -> str:
    """The command that has sshd take a setting: the first one in its files counts."""
    then = ""
    if os.path.isdir("/run/systemd/system"):
        unit = next((name for name in ("ssh", "sshd") if any(os.path.exists(f"{at}/{name}.service") for at in _UNITS)), "sshd")
        then = f" && systemctl try-reload-or-restart {unit}.service"
    if daemon.main_file() == config.VENDOR_MAIN:
        return f"echo '{line}' > /etc/ssh/sshd_config.d/00-local.conf{then}"
    return f"sed -i '1i {line}' {config.MAIN}{then}"


def _file_with(word: str) -> str:
    """The file of sshd's that has a word in it."""
    every = (daemon.main_file(), *sorted(glob.glob("/etc/ssh/sshd_config.d/*.conf")))
    return next((path for path in every if any(word in line for line in read_lines(path))), daemon.main_file())


def _file_named(said: str) -> str:
    """The file that sshd complains about."""
    found = re.search(r"(/\S+?):? line \d+", said)
    return found[1] if found else daemon.main_file()


def _about_skipped() -> Iterator[Finding]:
    """Whatever has put the line for the home's password there: what it keeps from being asked."""
    try:
        found = list(pam_stack.objections((), daemon.read_config(without=config.DROP_IN)))
    except (PyhomeError, OSError) as error:
        yield Finding(FAIL, "sshd.skipped", pam_stack.PAM_FILE, str(error), "pyhome sshd check")
        return
    for each in found:
        yield Finding(FAIL, "sshd.skipped", each.what, each.reason, each.mend)


def _about_layout() -> Iterator[Finding]:
    """Only where it is in use: whether it is as it should be."""
    try:
        present = observe(config.DROP_IN)
        if present is None:
            yield Finding(SKIP, "sshd.layout", config.DROP_IN, "is not in place: sshd looks for keys in the homes")
            return
        proposal = manage.examine(manage.Options())
        manage.verify(proposal)
    except (PyhomeError, OSError, subprocess.SubprocessError) as error:
        yield Finding(FAIL, "sshd.layout", config.DROP_IN, str(error), "pyhome sshd check")
        return
    for change in proposal.changes[:_SHOWN_MAX]:
        yield Finding(FAIL, "sshd.layout", change.path, "is not as it should be", _APPLY)
    if not proposal.changes:
        yield Finding(OK, "sshd.layout", config.DROP_IN, "is in place and wins, and the keys are as the users have them")


def _about_user(user: User, dump: dict[str, tuple[str, ...]]) -> Iterator[Finding]:
    """Which file answers while the home is locked, and whether anything then unlocks it."""
    if not people.has_encrypted_home(user):
        return
    found = inspection.answers(user, dump)
    home = user.home.rstrip("/") + "/"
    outside = [answer for answer in found if answer.keys and not answer.path.startswith(home)]
    inside = [answer for answer in found if answer.keys and answer.path.startswith(home)]
    if outside:
        answer = outside[0]
        yield Finding(OK, "keys.authorized", user.name, f"{answer.path} answers while the home is locked, with {answer.keys} keys")
        yield from _about_unlocking(user, dump)
        return
    refused = [answer for answer in found if not answer.path.startswith(home) and answer.reason != "is absent"]
    for answer in refused:
        yield Finding(FAIL, "keys.authorized", user.name, f"{answer.path} does not count: it {answer.reason}", _APPLY)
    ways = [] if refused else list(inspection.without_files(dump))
    if ways:
        yield Finding(OK, "keys.authorized", user.name, f"has no keys in files outside the home; {'; '.join(ways)}")
        yield from _about_unlocking(user, dump)
    elif inside and not refused:
        text = f"has keys in {inside[0].path} only, which sshd cannot read while the home is locked"
        yield Finding(WARN, "keys.authorized", user.name, text, _APPLY)
    elif not refused and _takes_passwords(dump):
        yield Finding(SKIP, "keys.authorized", user.name, "has no keys that sshd could read now, and logs in by password")
    elif not refused:
        text = "has no keys that sshd could read now, and sshd takes no passwords, so it may let nobody in"
        yield Finding(WARN, "keys.authorized", user.name, text, f"pyhome sshd check {quoted(user.name)}")


def _about_unlocking(user: User, dump: dict[str, tuple[str, ...]]) -> Iterator[Finding]:
    asks = any("keyboard-interactive" in each for each in dump.get("authenticationmethods", ()))
    if asks and not pam_stack.asks():
        text = "sshd goes on with PAM after a public key, but nothing there asks for the home's password"
        yield Finding(FAIL, "sshd.unlock", user.name, text, f"{_APPLY} --unlock-at-login")
    elif not asks and not _has_stub(user):
        text = "logs in by key to a locked home, and nothing asks for its password"
        yield Finding(WARN, "sshd.unlock", user.name, text, f"pyhome shell enable {quoted(user.name)}")


def _takes_passwords(dump: dict[str, tuple[str, ...]]) -> bool:
    """Whether somebody without a key has a way in."""
    return any(dump.get(keyword, ("",))[0] == "yes" for keyword in ("passwordauthentication", "kbdinteractiveauthentication"))


def _has_stub(user: User) -> bool:
    return pwd.getpwnam(user.name).pw_shell == login_shell.STUB
