"""PAM files that are not as they should be: each cause is found once, in however many services it is met, and its cure works.

The plan of `pyhome setup` is carried out on the files of each distribution in a directory of their own; a few are typed for real.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pam_pyhome.admin import debian_pam, pam_files, pam_plan, plan
from pam_pyhome.admin.doctor import finding, pam
from pam_pyhome.formats import pam_stack
from tests.doctor.harness import ABSENT, tree, without_pyhome
from tests.doctor.planted import Case, matrix

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.doctor.planted import PlantedMachine

DEBIAN = ("debian12", "debian13")
COMMON = "/etc/pam.d/common-"
AUTH, SESSION = "auth optional pam_pyhome.so unwrap\n", "session optional pam_pyhome.so\n"
ACCOUNT = "account [success=ok perm_denied=bad acct_expired=bad default=ignore] pam_pyhome.so\n"
PASSWORD = tree("debian12")[f"{COMMON}password"].splitlines(keepends=True)[-1]
KEYINIT = "session optional pam_keyinit.so force revoke\n"
INCLUDE = "@include common-session\n"
SYSTEMD = "session optional pam_systemd.so\n"


def _no_lines(files: Files) -> None:
    for path, text in without_pyhome(tree(files.name)).items():
        files.path(path).write_text(text, encoding="ascii")


def _copies_aside(files: Files) -> None:
    """Files that nothing asks for, beside a fault."""
    for ending in ("pam-old", "dpkg-old", "bak"):
        files.add(f"{COMMON}auth.{ending}", "auth sufficient pam_permit.so\n")
    files.edit(f"{COMMON}auth", AUTH, "")


def _authselect(machine: PlantedMachine) -> None:
    """Links, as authselect makes them, and its `opt-out`, which puts files in their place."""
    machine.set_pam(without_pyhome(tree(machine.name)))
    machine.path("/etc/authselect").mkdir(exist_ok=True)
    for name in ("system-auth", "password-auth", "postlogin"):
        machine.path(f"/etc/pam.d/{name}").rename(machine.path(f"/etc/authselect/{name}"))
        machine.path(f"/etc/pam.d/{name}").symlink_to(f"/etc/authselect/{name}")
    program = machine.path("/usr/bin/authselect")
    opt_out = '[ "$1" = opt-out ] && cd /etc/authselect && cp --remove-destination * /etc/pam.d'
    program.write_text(f"#!/bin/sh\n{opt_out}\n", encoding="ascii")
    program.chmod(0o755)


def _edit(path: str, *edits: tuple[str, str]) -> Callable[[Files], None]:
    def plant(files: Files) -> None:
        for old, new in edits:
            files.edit(path, old, new)

    return plant


class Files:
    """The PAM files of a distribution in a directory, and its modules."""

    def __init__(self, top: Path, name: str) -> None:
        self.top, self.name = top, name
        for path, text in tree(name).items():
            self.add(path, text)
        (top / "modules").mkdir()
        texts = tree(name).items()
        for module in {rule.target for path, text in texts for rule in pam_stack.parse(text, path) if not rule.includes}:
            if module not in ABSENT[name]:
                (top / "modules" / module).touch()
        (top / "modules/pam_ecryptfs.so").touch()

    def path(self, inside: str) -> Path:
        """Where a file is."""
        return self.top / inside.lstrip("/")

    def edit(self, path: str, old: str, new: str) -> None:
        """Replace a part of a file."""
        text = self.path(path).read_text(encoding="ascii")
        assert old in text, text
        self.path(path).write_text(text.replace(old, new, 1), encoding="ascii")

    def add(self, path: str, text: str) -> None:
        """Append to a file."""
        self.path(path).parent.mkdir(parents=True, exist_ok=True)
        with self.path(path).open("a", encoding="ascii") as file:
            file.write(text)

    def complaints(self) -> list[finding.Finding]:
        """What doctor says of them."""
        return [each for each in pam.check(("systemd-user",)) if each.level in {"warn", "fail"}]


@dataclass(frozen=True)
class Fault:
    """What is planted, the one finding (by name and a part of "SUBJECT: TEXT"), where, and what a person changes in an editor."""

    plant: Callable[[Files], object]
    check: str
    text: str
    level: str = "warn"
    trees: tuple[str, ...] = ("debian12",)
    edits: tuple[tuple[str, str], ...] = ()


FAULTS = {
    "no lines": Fault(_no_lines, "pam.lines", "no service", "fail", (*DEBIAN, "arch", "fedora")),
    "no line in auth": Fault(_edit(f"{COMMON}auth", (AUTH, "")), "pam.auth", "login, sshd", "fail", DEBIAN),
    "no line in session": Fault(_edit(f"{COMMON}session", (SESSION, "")), "pam.session", "mounted", "fail", DEBIAN),
    "no line in account": Fault(_edit(f"{COMMON}account", (ACCOUNT, "")), "pam.account", "jobs"),
    "no line in password": Fault(_edit(f"{COMMON}password", (PASSWORD, "")), "pam.password", "passwd", "fail"),
    "files that people keep": Fault(_copies_aside, "pam.auth", "login, sshd", "fail"),
    "below pam_systemd": Fault(
        _edit(f"{COMMON}session", (SESSION + SYSTEMD, SYSTEMD + SESSION)), "pam.order", "after pam_systemd", trees=DEBIAN
    ),
    "before the password": Fault(_edit(f"{COMMON}auth", (AUTH, ""), ("auth [", f"{AUTH}auth [")), "pam.order", "behind"),
    "before a deny": Fault(
        _edit(f"{COMMON}auth", (AUTH, ""), ("auth requisite", f"{AUTH}auth requisite")),
        "pam.refused", "even a right", "fail", DEBIAN
    ),
    "before a deny, and jumped over": Fault(
        _edit(f"{COMMON}auth", (AUTH, ""), ("auth requisite", f"{AUTH}auth requisite"), ("success=1", "success=2")),
        "pam.auth", "never", "fail",
    ),
    "twice": Fault(_edit(f"{COMMON}session", (SYSTEMD, SYSTEMD + SESSION)), "pam.twice", "more than once", trees=DEBIAN),
    "another control": Fault(_edit(f"{COMMON}auth", (AUTH, "auth required pam_pyhome.so\n")), "pam.edited", "optional"),
    "an edited password line": Fault(
        _edit(f"{COMMON}password", (PASSWORD, "password optional pam_pyhome.so\n")), "pam.edited", "password"
    ),
    "a stack of its own": Fault(
        _edit("/etc/pam.d/sshd", ("@include common-auth", "auth required pam_unix.so")), "pam.auth", "sshd", "fail"
    ),
    "a keyring too late": Fault(_edit("/etc/pam.d/login", (KEYINIT, ""), (INCLUDE, INCLUDE + KEYINIT)), "keyinit", "only after"),
    "no keyring": Fault(_edit("/etc/pam.d/sshd", (KEYINIT, "")), "keyinit", "not reached", trees=DEBIAN),
    "a word that is none": Fault(
        _edit("/etc/pam.d/cron", ("session ", "sesion ")),
        "pam.syntax", "sesion is no kind", "fail", edits=(("sesion ", "session "),)
    ),
    "an include of nothing": Fault(
        _edit("/etc/pam.d/login", ("common-auth", "common-oath")), "pam.syntax", "common-oath", "fail",
        edits=(("common-oath", "common-auth"),),
    ),
    "a line more than the jump knows": Fault(
        _edit(f"{COMMON}auth", ("auth requisite", "auth optional pam_faildelay.so\nauth requisite")),
        "pam.refused", "pam_deny", "fail", edits=(("success=1", "success=2"),),
    ),
    "no line in password on Arch": Fault(
        _edit("/etc/pam.d/system-auth", (PASSWORD, "")), "pam.password", "passwd", "fail", ("arch",)
    ),
    "inside a jump on Arch": Fault(
        _edit("/etc/pam.d/system-auth", (AUTH, ""), ("auth [default=die]", f"{AUTH}auth [default=die]")),
        "pam.refused", "pam_faillock", "fail", ("arch",),
    ),
    "pam_ecryptfs on Arch": Fault(
        _edit("/etc/pam.d/system-auth", (SESSION, f"session optional pam_ecryptfs.so unwrap\n{SESSION}")),
        "pam.others", "same homes",
        trees=("arch",),
    ),
    "no line in auth on Fedora": Fault(
        _edit("/etc/pam.d/postlogin", (AUTH, "")), "pam.auth", "login, sshd, gdm-password", "fail", ("fedora",)
    ),
    "no line for sshd on Fedora": Fault(
        _edit("/etc/pam.d/password-auth", (SESSION, "")), "pam.session", "sshd", "fail", ("fedora",)
    ),
}  # fmt: skip


@pytest.mark.parametrize(("name", "key"), [(name, key) for key, fault in FAULTS.items() for name in fault.trees])
def test_a_cause_is_found_once_and_cured(name: str, key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fault, files = FAULTS[key], Files(tmp_path, name)
    monkeypatch.setattr(pam_files, "DIRECTORIES", (f"{tmp_path}/etc/pam.d", f"{tmp_path}/usr/lib/pam.d"))
    monkeypatch.setattr(pam_files, "_module_directories", lambda: (f"{tmp_path}/modules",))
    monkeypatch.setattr(debian_pam, "PROFILE", f"{tmp_path}/none")
    monkeypatch.setattr(pam_plan, "DIRECTORY", f"{tmp_path}/etc/pam.d")
    assert files.complaints() == []
    fault.plant(files)
    (found,) = files.complaints()
    assert (found.check, found.level) == (fault.check, fault.level), found
    assert fault.text in f"{found.subject}: {found.text}", found
    verb, _, path = found.mend.partition(" ")
    if found.mend == "pyhome setup":
        plan.carry_out(pam_plan.changes())
    elif verb == "editor":
        for old, new in fault.edits:
            files.edit(path.removeprefix(str(tmp_path)), old, new)
    else:
        subprocess.run(["/bin/sh", "-ec", found.mend], check=True)
    assert files.complaints() == []
    assert pam_plan.changes() == []


CASES = {
    "below pam_systemd": Case(
        lambda machine: machine.edit(f"{COMMON}session", SESSION + SYSTEMD, SYSTEMD + SESSION),
        "pam.order", "after pam_systemd", trees=("debian13",), answers=("y",),
    ),
    "files of authselect": Case(_authselect, "pam.lines", "no service", "fail", ("fedora",), answers=("y",)),
}  # fmt: skip


@matrix(CASES)
def test_a_cure_that_is_typed(planted: PlantedMachine, case: Case) -> None:
    planted.prove(case)
