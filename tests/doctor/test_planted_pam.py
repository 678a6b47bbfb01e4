"""PAM files that are not as they should be: each cause is found once, however many services it is met in, and cured as said."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.doctor.harness import tree, without_pyhome
from tests.doctor.planted import Case, add, edit, matrix, several
from tests.pam.harness import MODULES

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.doctor.planted import PlantedMachine

DEBIAN = ("debian12", "debian13")
COMMON = "/etc/pam.d/common-"
AUTH, SESSION = "auth optional pam_pyhome.so unwrap\n", "session optional pam_pyhome.so\n"
ACCOUNT = "account [success=ok perm_denied=bad acct_expired=bad default=ignore] pam_pyhome.so\n"
PASSWORD = tree("debian12")[f"{COMMON}password"].splitlines(keepends=True)[-1]
KEYINIT = "session optional pam_keyinit.so force revoke\n"
SYSTEMD = "session optional pam_systemd.so\n"
Y = ("y",)


def _no_lines(machine: PlantedMachine) -> None:
    machine.set_pam(without_pyhome(tree(machine.name)))


def _copies_aside(machine: PlantedMachine) -> None:
    """Files that nothing asks for, beside a fault."""
    for ending in ("pam-old", "dpkg-old", "bak"):
        machine.add(f"{COMMON}auth.{ending}", "auth sufficient pam_permit.so\n")
    machine.edit(f"{COMMON}auth", AUTH, "")


def _authselect(machine: PlantedMachine) -> None:
    """Links, as authselect makes them, and its `opt-out`, which puts files in their place."""
    _no_lines(machine)
    machine.path("/etc/authselect").mkdir(exist_ok=True)
    for name in ("system-auth", "password-auth", "postlogin"):
        machine.path(f"/etc/pam.d/{name}").rename(machine.path(f"/etc/authselect/{name}"))
        machine.path(f"/etc/pam.d/{name}").symlink_to(f"/etc/authselect/{name}")
    program = machine.path("/usr/bin/authselect")
    script = '#!/bin/sh\n[ "$1" = opt-out ] && cd /etc/authselect && cp --remove-destination * /etc/pam.d\n'
    program.write_text(script, encoding="ascii")
    program.chmod(0o755)


def _own_stack(machine: PlantedMachine) -> None:
    machine.edit("/etc/pam.d/sshd", "@include common-auth", "auth required pam_unix.so")


def _other(module: str, line: str, *files: tuple[str, str]) -> Callable[[PlantedMachine], object]:
    """Another tool beside ours, which has something to do."""
    return several(add("/etc/pam.d/system-auth", line), add(str(MODULES / module), ""), *(add(*each) for each in files))


CASES = {
    "no lines": Case(_no_lines, "pam.lines", "no service", "fail", (*DEBIAN, "arch", "fedora"), answers=Y),
    "no line in auth": Case(edit(f"{COMMON}auth", AUTH, ""), "pam.auth", "login, sshd", "fail", DEBIAN, answers=Y),
    "no line in session": Case(edit(f"{COMMON}session", SESSION, ""), "pam.session", "mounted", "fail", answers=Y),
    "no line in account": Case(edit(f"{COMMON}account", ACCOUNT, ""), "pam.account", "jobs", answers=Y),
    "no line in password": Case(edit(f"{COMMON}password", PASSWORD, ""), "pam.password", "passwd", "fail", answers=Y),
    "files that people keep": Case(_copies_aside, "pam.auth", "login, sshd", "fail", answers=Y),
    "below pam_systemd": Case(
        edit(f"{COMMON}session", SESSION + SYSTEMD, SYSTEMD + SESSION), "pam.order", "after pam_systemd", trees=DEBIAN, answers=Y
    ),
    "before the password": Case(
        several(edit(f"{COMMON}auth", AUTH, ""), edit(f"{COMMON}auth", "auth [", f"{AUTH}auth [")), "pam.order", "behind", answers=Y
    ),
    "before a deny": Case(
        several(edit(f"{COMMON}auth", AUTH, ""), edit(f"{COMMON}auth", "auth requisite", f"{AUTH}auth requisite")),
        "pam.refused", "even a right", "fail", answers=Y,
    ),
    "before a deny, and jumped over": Case(
        several(
            edit(f"{COMMON}auth", AUTH, ""), edit(f"{COMMON}auth", "auth requisite", f"{AUTH}auth requisite"),
            edit(f"{COMMON}auth", "success=1", "success=2"),
        ),
        "pam.auth", "never", "fail", answers=Y,
    ),
    "twice": Case(add(f"{COMMON}session", SESSION), "pam.twice", "more than once", beside=("pam.order",), answers=Y),
    "another control": Case(edit(f"{COMMON}auth", AUTH, "auth required pam_pyhome.so\n"), "pam.edited", "optional", answers=Y),
    "an edited password line": Case(
        edit(f"{COMMON}password", PASSWORD, "password optional pam_pyhome.so\n"), "pam.edited", "password", answers=Y
    ),
    "a stack of its own": Case(_own_stack, "pam.auth", "sshd", "fail", answers=Y),
    "a keyring too late": Case(
        several(edit("/etc/pam.d/login", KEYINIT, ""), add("/etc/pam.d/login", KEYINIT)), "keyinit", "only after"
    ),
    "no keyring": Case(edit("/etc/pam.d/sshd", KEYINIT, ""), "keyinit", "not reached", trees=DEBIAN),
    "a word that is none": Case(
        add("/etc/pam.d/cron", "sesion optional pam_umask.so\n"), "pam.syntax", "sesion is no kind", "fail",
        edits=(("sesion", "session"),),
    ),
    "an include of nothing": Case(
        edit("/etc/pam.d/login", "@include common-auth", "@include common-oath"), "pam.syntax", "common-oath", "fail",
        edits=(("common-oath", "common-auth"),),
    ),
    "a line more than the jump knows": Case(
        edit(f"{COMMON}auth", "auth requisite", "auth optional pam_faildelay.so\nauth requisite"),
        "pam.refused", "pam_deny", "fail",
        edits=(("success=1", "success=2"),),
    ),
    "arch: no line in password": Case(
        edit("/etc/pam.d/system-auth", PASSWORD, ""), "pam.password", "passwd", "fail", ("arch",), answers=Y
    ),
    "arch: inside a jump": Case(
        several(
            edit("/etc/pam.d/system-auth", AUTH, ""),
            edit("/etc/pam.d/system-auth", "auth [default=die]", f"{AUTH}auth [default=die]"),
        ),
        "pam.refused", "pam_faillock", "fail", ("arch",), answers=Y,
    ),
    "arch: pam_ecryptfs": Case(
        _other("pam_ecryptfs.so", "session optional pam_ecryptfs.so unwrap\n"), "pam.others", "same homes", trees=("arch",)
    ),
    "fedora: no line in auth": Case(
        edit("/etc/pam.d/postlogin", AUTH, ""), "pam.auth", "gdm-password, login, sshd", "fail", ("fedora",), answers=Y
    ),
    "fedora: no line for sshd": Case(
        edit("/etc/pam.d/password-auth", SESSION, ""), "pam.session", "sshd", "fail", ("fedora",), answers=Y
    ),
    "fedora: authselect": Case(_authselect, "pam.lines", "no service", "fail", ("fedora",), answers=Y),
}  # fmt: skip


@matrix(CASES)
def test_it_is_found_and_cured(planted: PlantedMachine, case: Case) -> None:
    planted.prove(case)
