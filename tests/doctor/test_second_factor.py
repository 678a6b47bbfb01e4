"""Doctor finds second factors that encrypted homes hide, and those behind whose failure keys are derived."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING

import pytest

from tests.pam.harness import MODULES
from tests.sshd.harness import ADA

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.doctor.harness import DoctorMachine

COMMON = "/etc/pam.d/common-auth"
LAST = "auth optional pam_pyhome.so unwrap\n"


def planted(machine: DoctorMachine, rules: Iterable[str], *who: str) -> dict[str, dict[str, str]]:
    """What is said about rules behind all others of common-auth, by the place."""
    before = machine.path(COMMON).read_text(encoding="ascii")
    machine.edit(COMMON, LAST, LAST + "".join(f"auth {rule}\n" for rule in rules))
    found = machine.complaints(*who)
    machine.path(COMMON).write_text(before, encoding="ascii")
    return {each["subject"]: each for each in found if each["check"] == "pam.second_factor"}


RULES = {
    "required pam_google_authenticator.so nullok": ("fail", "/home/ada/.google_authenticator", "with nullok, the password alone"),
    "required pam_google_authenticator.so": ("fail", "/home/ada/.google_authenticator", "nobody then gets in"),
    "[success=ok default=die] pam_google_authenticator.so [secret=${HOME}/x/ga]": ("fail", "/home/ada/x/ga", "nobody"),
    "requisite pam_u2f.so cue nouserok": ("fail", "/home/ada/.config/Yubico/u2f_keys", "with nouserok, the password alone"),
    "requisite pam_u2f.so authfile=.u2f": ("fail", "/home/ada/.u2f", "nobody"),
    "requisite pam_yubico.so mode=challenge-response": ("fail", "/home/ada/.yubico/challenge", "nobody"),
    "sufficient pam_ssh_agent_auth.so file=~/.ssh/authorized_keys": ("warn", "/home/ada/.ssh/authorized_keys", "nothing"),
    "required pam_oath.so usersfile=/home/${USER}/.oath": ("fail", "/home/ada/.oath", "nobody"),
    "required pam_p11.so": ("fail", "/home/ada/.eid/authorized_certificates", "nobody"),
    "required pam_unheard_of.so seed=%h/.seed": ("fail", "/home/ada/.seed", "nobody"),
    "required pam_unheard_of.so /home/ada/seed": ("fail", "/home/ada/seed", "nobody"),
}
OUTSIDE = [
    "required pam_google_authenticator.so secret=/var/lib/google-authenticator/${USER} user=root",
    "required pam_u2f.so authfile=/etc/u2f_mappings",
    "required pam_oath.so",
    "required pam_unheard_of.so seed=/etc/seeds/%u other=/home/adam/x",
    "required pam_unix.so nullok",
]


def test_a_secret_in_a_home_is_found(machine: DoctorMachine) -> None:
    found = planted(machine, RULES, "ada")
    assert list(found) == [f"{COMMON}:{5 + at}" for at in range(len(RULES))]
    for said, (level, path, text) in zip(found.values(), RULES.values(), strict=True):
        assert said["level"] == level
        assert f"reads {path}, in the encrypted home of ada, and finds nothing" in said["text"]
        assert text in said["text"]
        assert said["mend"]
    assert planted(machine, OUTSIDE, "ada") == {}
    assert planted(machine, RULES, "bob") == {}
    assert len(planted(machine, [*OUTSIDE, next(iter(RULES))])) == 1


@pytest.mark.parametrize(
    ("rule", "home", "outside"),
    [
        ("required pam_google_authenticator.so nullok secret=${HOME}/.ga", ".ga", "/var/lib/google-authenticator/ada"),
        ("required pam_u2f.so cue", ".config/Yubico/u2f_keys", "/etc/u2f_mappings"),
    ],
)
def test_what_doctor_says_works_when_typed(machine: DoctorMachine, rule: str, home: str, outside: str) -> None:
    """Whatever else the file says, only the user's own lines are copied where all users' lines are."""
    machine.edit(COMMON, LAST, f"{LAST}auth {rule}\n")
    secret = machine.path(f"/home/ada/{home}")
    secret.parent.mkdir(parents=True, exist_ok=True)
    secret.write_text("ada:secret\n" if "ga" in home else "bob:planted\nada:secret\n", encoding="ascii")
    for path in (secret.parent, secret):
        os.chown(path, ADA, ADA)
    (found,) = [each for each in machine.complaints("ada") if each["check"] == "pam.second_factor"]
    machine.run(["/bin/sh", "-c", found["mend"]])
    assert machine.path(outside).read_text(encoding="ascii") == "ada:secret\n"
    assert [each for each in machine.complaints("ada") if each["check"] == "pam.second_factor"] == []
    changed = machine.path(COMMON).read_text(encoding="ascii").splitlines()[4]
    kept = [word for word in rule.split() if "HOME" not in word]
    assert shlex.split(changed)[1 : len(kept) + 1] == kept


EARLY = [
    ("required pam_otp.so", "sed -i '1s/required/requisite/' /etc/pam.d/common-auth"),
    ("[success=ok default=bad] pam_otp.so", "editor /etc/pam.d/common-auth"),
]


def test_a_failure_that_ends_nothing_is_found(machine: DoctorMachine) -> None:
    machine.path(MODULES / "pam_otp.so").touch()
    text = machine.path(COMMON).read_text(encoding="ascii")
    for rule, mend in EARLY:
        machine.path(COMMON).write_text(f"auth {rule}\n{text}", encoding="ascii")
        found = [each for each in machine.complaints("ada") if each["check"] == "pam.early"]
        assert {each["mend"] for each in found} == {mend}
        said = f"{COMMON}:1: whoever fails at pam_otp.so is refused only behind {COMMON}:5"
        assert any("sshd" in each["subject"] and said in each["text"] for each in found)
    machine.path(COMMON).write_text(f"auth {EARLY[0][0]}\n{text}", encoding="ascii")
    machine.run(["/bin/sh", "-c", EARLY[0][1]])
    assert [each for each in machine.complaints("ada") if each["check"] == "pam.early"] == []
    # Behind us it is the next module's business, and one that lets pass has nothing to end.
    machine.path(COMMON).write_text(f"auth optional pam_otp.so\n{text}auth required pam_otp.so\n", encoding="ascii")
    assert [each for each in machine.complaints("ada") if each["check"] == "pam.early"] == []
