"""Which file sshd really reads a key from: its own rules, and what `check` says about them."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from typing import TYPE_CHECKING

import pytest

from pam_pyhome.sshd.config import UNLOCK_METHODS
from tests.pam.harness import ENVIRONMENT, REPOSITORY
from tests.sshd.harness import ADA, BOB, CONFIG, DROP_IN, LAYOUT, PYHOME

if TYPE_CHECKING:
    from tests.sshd.harness import SshdMachine

HOMES = ".ssh/authorized_keys .ssh/authorized_keys2"
FIRST = f"{LAYOUT}/%u {HOMES}"

# Owner, group and mode of the file and of its directory, and whether sshd reads it.
STRICT_MODES = {
    "as the layout has it": ((0, 0, 0o644), (0, 0, 0o755), True),
    "readable by the group": ((0, ADA, 0o640), (0, 0, 0o755), True),
    "the user's own": ((ADA, ADA, 0o600), (0, 0, 0o755), True),
    "root's alone": ((0, 0, 0o600), (0, 0, 0o755), False),
    "writable by all": ((0, 0, 0o666), (0, 0, 0o755), False),
    "another user's": ((BOB, BOB, 0o644), (0, 0, 0o755), False),
    "in a directory that can be searched": ((0, 0, 0o644), (0, 0, 0o711), True),
    "in a directory that cannot be entered": ((0, 0, 0o644), (0, 0, 0o700), False),
    "in a directory that a group can write": ((0, 0, 0o644), (0, BOB, 0o775), False),
    "in a directory of another user": ((0, 0, 0o644), (BOB, BOB, 0o755), False),
}


@pytest.mark.parametrize(("file", "directory", "read"), STRICT_MODES.values(), ids=STRICT_MODES.keys())
def test_strict_modes(
    served: SshdMachine, file: tuple[int, int, int], directory: tuple[int, int, int], read: bool
) -> None:
    served.authorize("ada", served.line)
    served.pyhome("apply", "--yes")
    served.hide_home("ada")
    for path, (uid, gid, mode) in ((LAYOUT / "ada", file), (LAYOUT, directory)):
        os.chown(served.path(path), uid, gid)
        served.path(path).chmod(mode)
    assert served.lets_in("ada", served.key) is read
    says = served.pyhome_json("check", "ada", status=None)["findings"]
    answer = next(each for each in says if each["subject"] == "ada")
    assert (answer["level"] == "ok") is read
    served.pyhome("apply", "--yes") if file[0] == 0 else None
    assert served.lets_in("ada", served.key) is (file[0] == 0 or read)


def test_the_drop_in_goes_before_all_others(served: SshdMachine) -> None:
    served.drop_in("00-site.conf", "AuthorizedKeysFile /etc/ssh/site/%u .ssh/authorized_keys\n")
    served.authorize("ada", served.line)
    served.pyhome("apply", "--yes")
    assert served.effective("ada") == f"{LAYOUT}/%u /etc/ssh/site/%u .ssh/authorized_keys"
    served.hide_home("ada")
    assert served.lets_in("ada", served.key)


def test_a_key_of_a_site_that_worked_goes_on_working(served: SshdMachine) -> None:
    site = served.path("/etc/ssh/site")
    site.mkdir()
    (site / "ada").write_bytes(served.line)
    served.drop_in("50-site.conf", "AuthorizedKeysFile /etc/ssh/site/%u .ssh/authorized_keys\n")
    served.pyhome("apply", "--yes")
    assert served.lets_in("ada", served.key)


def test_match_blocks_keep_their_meaning(machine: SshdMachine) -> None:
    machine.config(
        f"{CONFIG}Match User bob\n  AuthorizedKeysFile {HOMES}\nMatch Group root\n  AuthorizedKeysFile /srv/%u\n"
    )
    machine.pyhome("apply", "--yes")
    assert machine.effective("ada") == FIRST
    assert machine.effective("bob") == FIRST
    assert machine.effective("root") == "/srv/%u"
    machine.pyhome("check")


def test_users_who_read_different_files_get_what_is_theirs(machine: SshdMachine) -> None:
    machine.config(f"{CONFIG}Match User bob\n  AuthorizedKeysFile .ssh/bobs\n")
    _, other = machine.new_key("other")
    for user in ("ada", "bob"):
        machine.authorize(user, machine.line)
        machine.authorize(user, other, "bobs")
    machine.pyhome("apply", "--yes")
    assert machine.effective("bob") == f"{LAYOUT}/%u .ssh/bobs"
    assert machine.line in (machine.laid_out("ada") or b"")
    assert other not in (machine.laid_out("ada") or b"")
    assert other in (machine.laid_out("bob") or b"")
    assert machine.line not in (machine.laid_out("bob") or b"")
    machine.authorize("bob", machine.line + other, "bobs")
    machine.pyhome("sync", "bob", "--yes")
    assert machine.line in (machine.laid_out("bob") or b"")


REFUSED = {
    "no Include": ("UsePAM yes\n", "has no Include"),
    "Include in a Match block": ("Match User ada\nInclude /etc/ssh/sshd_config.d/*.conf\n", "has no Include"),
    "set before the Include": (f"AuthorizedKeysFile .ssh/authorized_keys\n{CONFIG}", "sshd_config:1 wins over"),
    "does not parse": (f"{CONFIG}NoSuchKeyword yes\n", "NoSuchKeyword"),
    "no keys from files": (f"{CONFIG}AuthorizedKeysFile none\n", "no file in a home"),
    "by address": (f"{CONFIG}Match Address 10.0.0.0/8\n  AuthorizedKeysFile .ssh/inside\n", "one key file per user"),
}


@pytest.mark.parametrize(("config", "reason"), REFUSED.values(), ids=REFUSED.keys())
def test_what_would_not_come_out_right_is_refused_and_nothing_changes(
    machine: SshdMachine, config: str, reason: str
) -> None:
    machine.authorize("ada", machine.line)
    machine.config(config)
    before = machine.etc()
    assert reason in machine.pyhome("apply", "--yes", status=18)
    assert machine.etc() == before


def test_a_drop_in_that_lost_is_noticed(machine: SshdMachine) -> None:
    machine.pyhome("apply", "--yes")
    machine.config(f"AuthorizedKeysFile .ssh/authorized_keys\n{CONFIG}")
    assert "wins over" in machine.pyhome("check", status=1)


def test_sshd_reads_its_configuration_again(served: SshdMachine) -> None:
    served.authorize("ada", served.line)
    said = served.pyhome("apply", "--yes")
    assert "reads its configuration again" in said
    assert f"{LAYOUT}/ada answers, with 1 keys" in said
    served.hide_home("ada")
    assert served.lets_in("ada", served.key)


def test_without_a_running_sshd_it_says_so(machine: SshdMachine) -> None:
    assert "no sshd is running" in machine.pyhome("apply", "--yes")


def test_a_pid_that_is_no_sshd_gets_no_signal(machine: SshdMachine) -> None:
    machine.path("/run/sshd.pid").write_text("1\n", encoding="ascii")
    assert "no sshd is running" in machine.pyhome("apply", "--yes")


@pytest.mark.parametrize("line", ["Subsystem sftp internal-sftp", "ForceCommand internal-sftp -d /tmp"])
def test_check_says_when_the_login_shell_is_bypassed(machine: SshdMachine, line: str) -> None:
    machine.config(CONFIG.replace("Subsystem sftp /usr/lib/openssh/sftp-server", line))
    machine.pyhome("apply", "--yes")
    assert "bypasses the login shell" in machine.pyhome("check", "ada")


def test_the_external_sftp_server_does_not(machine: SshdMachine) -> None:
    machine.pyhome("apply", "--yes")
    assert "bypasses" not in machine.pyhome("check", "ada")


def test_unlocking_at_login(machine: SshdMachine) -> None:
    before = machine.etc()
    said = machine.pyhome("apply", "--yes", "--unlock-at-login")
    assert "BatchMode" in said
    machine.path("/run/sshd").mkdir()
    dump = machine.run(["/usr/sbin/sshd", "-T"]).splitlines()
    assert f"authenticationmethods {UNLOCK_METHODS} password" in dump
    assert "kbdinteractiveauthentication yes" in dump
    stack = machine.path("/etc/pam.d/sshd").read_text(encoding="ascii").splitlines()
    assert stack[0].split() == ["auth", "[success=done", "default=ignore]", "pam_pyhome.so", "ssh-unlock"]
    machine.pyhome("apply", "--yes")
    assert "publickey,keyboard-interactive:pam" in machine.path(DROP_IN).read_text(encoding="ascii")
    machine.pyhome("apply", "--yes", "--no-unlock-at-login")
    assert "keyboard" not in machine.path(DROP_IN).read_text(encoding="ascii")
    assert machine.path("/etc/pam.d/sshd").read_bytes() == before["/etc/pam.d/sshd"][3]
    machine.pyhome("revert", "--yes")
    assert machine.etc() == before


@pytest.mark.guarantee(19)
def test_unlocking_at_login_replaces_no_other_methods(machine: SshdMachine) -> None:
    machine.drop_in("50-site.conf", "AuthenticationMethods publickey,password\n")
    before = machine.etc()
    assert "publickey,password already" in machine.pyhome("apply", "--yes", "--unlock-at-login", status=18)
    assert machine.etc() == before


def test_the_files_are_as_they_must_be_whatever_the_umask(machine: SshdMachine) -> None:
    machine.authorize("ada", machine.line)
    script = f"umask 077; PYTHONPATH={REPOSITORY} exec {' '.join(PYHOME)} sshd apply --yes"
    machine.run(["/bin/sh", "-c", script])
    for path, mode in ((LAYOUT, 0o755), (LAYOUT / "ada", 0o644), (DROP_IN, 0o644)):
        status = machine.path(path).stat()
        assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (0, 0, mode)


# Keys that are in no file of a home


def test_the_configuration_of_the_distribution_counts_where_there_is_no_other(machine: SshdMachine) -> None:
    """As openSUSE has it."""
    machine.path("/usr/etc/ssh").mkdir(parents=True)
    machine.path("/etc/ssh/sshd_config").rename(machine.path("/usr/etc/ssh/sshd_config"))
    machine.authorize("ada", machine.line)
    before = machine.etc()
    machine.start_sshd("-f", "/usr/etc/ssh/sshd_config")
    machine.pyhome("apply", "--yes")
    machine.hide_home("ada")
    assert machine.lets_in("ada", machine.key)
    assert f"{LAYOUT}/ada answers" in machine.pyhome("check", "ada")
    machine.pyhome("revert", "--yes")
    assert machine.etc() == before


def doctor(machine: SshdMachine, user: str) -> dict[str, tuple[str, str]]:
    """Level and sentence of what `pyhome doctor` finds about sshd and the user's keys."""
    command = machine.enter([*PYHOME, "doctor", "--json", user], ENVIRONMENT | {"PYTHONPATH": str(REPOSITORY)})
    ran = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=120, check=False)
    findings = json.loads(ran.stdout)["findings"]
    return {each["check"]: (each["level"], each["text"]) for each in findings if each["check"].startswith(("sshd.", "keys."))}


@pytest.mark.parametrize("files", ["AuthorizedKeysFile none\n", ""])
def test_keys_that_come_from_a_command_only(machine: SshdMachine, files: str) -> None:
    command = machine.path("/usr/local/bin/keys")
    command.write_bytes(b"#!/bin/sh\necho '" + machine.line.strip() + b"'\n")
    command.chmod(0o755)
    machine.encrypt("ada")
    machine.config(f"{CONFIG}{files}AuthorizedKeysCommand /usr/local/bin/keys\nAuthorizedKeysCommandUser nobody\n")
    machine.start_sshd()
    machine.hide_home("ada")
    assert machine.lets_in("ada", machine.key)
    if not files:
        machine.pyhome("apply", "--yes")
    said = machine.pyhome("check", "ada")
    assert "AuthorizedKeysCommand /usr/local/bin/keys may give sshd keys, also while the home is locked" in said
    found = doctor(machine, "ada")
    assert found["keys.authorized"][0] == "ok"
    assert "/usr/local/bin/keys" in found["keys.authorized"][1]
    assert found["sshd.unlock"] == ("warn", "logs in by key to a locked home, and nothing asks for its password")


def test_whoever_has_no_keys_logs_in_by_password_if_sshd_takes_any(machine: SshdMachine) -> None:
    machine.encrypt("ada")
    assert doctor(machine, "ada")["keys.authorized"] == ("skip", "has no keys that sshd could read now, and logs in by password")
    machine.config(f"{CONFIG}PasswordAuthentication no\n")
    assert doctor(machine, "ada")["keys.authorized"][0] == "warn"


def test_principals_in_homes_are_named(machine: SshdMachine) -> None:
    """A certificate lets in while the home is open, and not while it is locked."""
    authority, line = machine.new_key("authority")
    machine.path("/etc/ssh/ca.pub").write_bytes(line)
    subprocess.run(["ssh-keygen", "-q", "-s", str(authority), "-I", "x", "-n", "staff", f"{machine.key}.pub"], check=True)
    machine.config(f"{CONFIG}TrustedUserCAKeys /etc/ssh/ca.pub\nAuthorizedPrincipalsFile %h/.ssh/authorized_principals\n")
    machine.authorize("ada", b"staff\n", "authorized_principals")
    machine.encrypt("ada")
    machine.start_sshd()
    assert machine.lets_in("ada", machine.key)
    words = "AuthorizedPrincipalsFile %h/.ssh/authorized_principals is in the homes"
    for verb in (["plan"], ["apply", "--yes"], ["check", "ada"]):
        assert f"/etc/ssh/sshd_config:6: {words}" in machine.pyhome(*verb)
    assert words in doctor(machine, "ada")["sshd.principals"][1]
    machine.hide_home("ada")
    assert not machine.lets_in("ada", machine.key)
    assert "but not while the home is locked" in machine.pyhome("check", "ada")


def test_those_whose_keys_cannot_be_read_are_named(machine: SshdMachine) -> None:
    machine.authorize("ada", machine.line)
    machine.pyhome("apply", "--yes")
    for user in ("ada", "bob"):
        machine.encrypt(user)
        machine.hide_home(user)
    machine.settle()
    for verb in (["plan"], ["apply", "--yes"], ["apply", "--yes"], ["check"]):
        said = machine.pyhome(*verb)
        assert "are locked, so sshd has no keys of theirs: bob" in said, verb
        assert "are locked, so sshd has their keys as they were when they were last read: ada" in said, verb
    assert "(2 users)" not in said
