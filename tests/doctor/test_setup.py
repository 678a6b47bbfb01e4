"""`pyhome setup` puts the right lines at the right places or changes nothing; `pyhome rollback` leaves no trace of it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pexpect  # type: ignore[import-untyped]  # the package has no annotations
import pytest

from pam_pyhome.admin import pam_edit
from tests.doctor.harness import PYHOME, STATE, tree, without_pyhome
from tests.pam.harness import ENVIRONMENT, MODULES, REPOSITORY

if TYPE_CHECKING:
    from tests.doctor.harness import DoctorMachine

SYSTEM_AUTH = "/etc/pam.d/system-auth"
REFUSED = 60
ARCH = pytest.mark.parametrize("machine", ["arch"], indirect=True)


def bare(machine: DoctorMachine) -> DoctorMachine:
    """Before anybody has put our lines in; with one service to prove the rest with, which is quicker."""
    files = without_pyhome(tree(machine.name))
    for name in ("sddm", "gdm-password", "sshd"):
        files.pop(f"/etc/pam.d/{name}", None)
    machine.set_pam(files)
    return machine


def words(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines() if line.strip()]


@ARCH
def test_setup_then_rollback_leaves_no_trace(machine: DoctorMachine) -> None:
    machine.set_pam(without_pyhome(tree("arch")))
    machine.path(SYSTEM_AUTH).chmod(0o640)
    before = machine.snapshot("/etc")
    assert {each["check"] for each in machine.complaints("ada")} == {"pam.lines"}
    said = machine.said("setup", "--yes")
    assert "proved: login lets a right password in, keeps a wrong one out and reaches pyhome\n" in said
    assert "proved: sshd" in said
    assert machine.complaints("ada") == []
    assert words(machine.path(SYSTEM_AUTH).read_text(encoding="ascii")) == words(tree("arch")[SYSTEM_AUTH])
    wants = machine.path("/etc/systemd/system/sockets.target.wants")
    assert {os.readlink(path) for path in wants.iterdir()} >= {"/usr/lib/systemd/system/pyhomed.socket"}
    assert machine.said("setup", "--yes").endswith("nothing to change; this machine is ready\n")
    assert "setup" in machine.said("rollback")
    assert "done" in machine.said("rollback", "setup", "--yes")
    assert machine.snapshot("/etc") == before
    done, undone = machine.records("setup-changed")
    assert SYSTEM_AUTH in done["PYHOME_WHY"]
    assert undone["PYHOME_WHY"].startswith("took back what 'pyhome setup' had done: ")
    assert SYSTEM_AUTH in undone["PYHOME_WHY"]
    assert machine.said("rollback") == "there is nothing to take back\n"
    assert machine.said("rollback", "setup", "--yes") == "nothing to change\n"


@ARCH
def test_a_dry_run_touches_nothing(machine: DoctorMachine) -> None:
    bare(machine)
    tops = ("/etc", "/home", "/run", "/var/lib/systemd", "/var/lib/pyhome", "/var/log")
    before = machine.snapshot(*tops)
    log = machine.path("/run/log")
    said = machine.said("setup", "--dry-run")
    assert f"+++ {SYSTEM_AUTH}" in said
    assert "+auth       optional                    pam_pyhome.so unwrap" in said
    assert said.endswith("nothing was changed\n")
    after = machine.snapshot(*tops)
    # What the modules log does arrive.
    assert {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)} <= {f"/run/{log.name}"}
    assert "pyhome-proof" in machine.log()


VARIANTS = {
    "three ways to log in": (
        "auth required pam_faillock.so preauth\n-auth [success=3 default=ignore] pam_systemd_home.so\n"
        "auth [success=2 default=ignore] pam_other.so\nauth [success=1 default=bad] pam_unix.so try_first_pass nullok\n"
        "auth [default=die] pam_faillock.so authfail\nauth optional pam_permit.so\nauth required pam_env.so\n"
        "auth required pam_faillock.so authsucc\n"
    ),
    "a jump behind the password": (
        "auth required pam_unix.so\nauth optional pam_permit.so\n"
        "auth [success=1 default=ignore] pam_succeed_if.so user = nobody\nauth optional pam_env.so\nauth optional pam_permit.so\n"
    ),
    "a line that goes on": "auth \\\n required \\\n pam_unix.so # here\n\n# the end\n",
    "nothing but a password": "auth required pam_unix.so\n",
}


@ARCH
@pytest.mark.parametrize("name", list(VARIANTS))
def test_jumps_still_land_where_they_did(machine: DoctorMachine, name: str) -> None:
    bare(machine)
    rest = "account required pam_unix.so\npassword required pam_unix.so\nsession required pam_unix.so"
    machine.path(SYSTEM_AUTH).write_text(VARIANTS[name] + rest, encoding="ascii")
    before = machine.snapshot("/etc")
    machine.said("setup", "--yes")
    lines = machine.path(SYSTEM_AUTH).read_bytes().splitlines(keepends=True)
    assert [line for line in lines if line in pam_edit.LINES.values()] == list(pam_edit.LINES.values())
    assert pam_edit.without_lines(b"".join(lines)).rstrip() == (VARIANTS[name] + rest).encode()
    machine.said("rollback", "setup", "--yes")
    assert machine.snapshot("/etc") == before


@ARCH
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("auth sufficient pam_unix.so\nauth required pam_deny.so\n", "has no place among its auth lines"),
        ("auth [success=done default=die] pam_unix.so\nauth optional pam_permit.so\n", "has no place among its auth lines"),
    ],
)
def test_where_no_line_can_stand_nothing_changes(machine: DoctorMachine, text: str, reason: str) -> None:
    bare(machine)
    rest = "account required pam_unix.so\npassword required pam_unix.so\nsession required pam_unix.so\n"
    machine.path(SYSTEM_AUTH).write_text(text + rest, encoding="ascii")
    before = machine.snapshot("/etc")
    assert reason in machine.said("setup", "--yes", status=REFUSED)
    assert machine.snapshot("/etc") == before


@pytest.mark.parametrize("machine", ["fedora"], indirect=True)
def test_files_of_authselect_are_left_alone(machine: DoctorMachine) -> None:
    bare(machine)
    machine.run(["/bin/mkdir", "/etc/authselect"])
    machine.run(["/bin/mv", SYSTEM_AUTH, "/etc/authselect"])
    machine.run(["/bin/ln", "-s", "../authselect/system-auth", SYSTEM_AUTH])
    before = machine.snapshot("/etc")
    assert "authselect opt-out" in machine.said("setup", "--yes", status=REFUSED)
    assert machine.snapshot("/etc") == before
    (found,) = machine.complaints()
    assert (found["check"], found["mend"]) == ("pam.lines", "authselect opt-out && pyhome setup")
    # What opting out does: files in the place of the links.
    machine.run(["/bin/cp", "--remove-destination", "/etc/authselect/system-auth", SYSTEM_AUTH])
    machine.said("setup", "--yes")
    assert machine.complaints() == []


@ARCH
def test_what_does_not_work_is_not_done(machine: DoctorMachine) -> None:
    bare(machine)
    machine.path(MODULES / "pam_pyhome.so").write_text("not a module", encoding="ascii")
    before = machine.snapshot("/etc")
    assert "pyhome does not notice" in machine.said("setup", "--yes", status=REFUSED)
    assert machine.snapshot("/etc") == before
    machine.path("/etc/nologin").write_text("closed\n", encoding="ascii")
    assert "has no service" in machine.said("setup", "--yes", status=REFUSED)


@ARCH
def test_what_others_have_written_since_stays(machine: DoctorMachine) -> None:
    bare(machine)
    machine.said("setup", "--yes")
    machine.add(SYSTEM_AUTH, "session optional pam_umask.so\n")
    machine.said("rollback", "setup", "--yes")
    assert machine.path(SYSTEM_AUTH).read_text(encoding="ascii") == (
        without_pyhome(tree("arch"))[SYSTEM_AUTH] + "session optional pam_umask.so\n"
    )


@ARCH
def test_setup_again_after_others_have_taken_the_lines_out(machine: DoctorMachine) -> None:
    bare(machine)
    machine.said("setup", "--yes")
    fresh = without_pyhome(tree("arch"))[SYSTEM_AUTH] + "session optional pam_umask.so\n"
    machine.path(SYSTEM_AUTH).write_text(fresh, encoding="ascii")
    machine.said("setup", "--yes")
    machine.said("rollback", "setup", "--yes")
    assert machine.path(SYSTEM_AUTH).read_text(encoding="ascii") == fresh


@ARCH
@pytest.mark.parametrize("by_hand", [True, False])
def test_removing_the_package_takes_the_lines_out(machine: DoctorMachine, by_hand: bool) -> None:
    """Those that setup has put in as well as those that somebody has put in as the package says, edited since or not."""
    bare(machine)
    machine.add(SYSTEM_AUTH, "# pam_pyhome.so is not named in vain\nsession optional pam_umask.so\n")
    before = machine.snapshot("/etc/pam.d")
    if by_hand:
        machine.path(SYSTEM_AUTH).write_text(
            tree("arch")[SYSTEM_AUTH] + "# pam_pyhome.so is not named in vain\nsession optional pam_umask.so\n", encoding="ascii"
        )
    else:
        machine.said("setup", "--yes")
    machine.edit(SYSTEM_AUTH, "pam_pyhome.so unwrap", "pam_pyhome.so \\\n unwrap")
    machine.path(f"{SYSTEM_AUTH}.pacsave").write_text("session optional pam_pyhome.so\n", encoding="ascii")
    said = machine.run(["/bin/bash", "-c", f". {REPOSITORY}/packaging/arch/pyhome.install; pre_remove 2>&1"])
    assert "Traceback" not in said
    machine.path(f"{SYSTEM_AUTH}.pacsave").unlink()
    assert machine.snapshot("/etc/pam.d") == before


@ARCH
@pytest.mark.parametrize("verb", ["setup", "rollback"])
def test_killed_at_any_step_the_next_run_restores(machine: DoctorMachine, verb: str) -> None:
    bare(machine)
    said = machine.run(["/usr/bin/python3", "-B", "-m", "tests.doctor.killed", verb], environment={"PYTHONPATH": str(REPOSITORY)})
    assert int(said) > 15


@ARCH
def test_a_killed_run_is_named_and_restored(machine: DoctorMachine) -> None:
    bare(machine)
    before = machine.snapshot("/etc")
    machine.said("setup", "--yes")
    # As if the run had not come to its end.
    machine.run(["/bin/cp", f"{STATE}/journal", f"{STATE}/pending/journal"])
    assert "interrupted" in machine.said("setup", "--dry-run", status=1)
    said = machine.said("rollback", "setup", "--yes")
    assert "an earlier run was interrupted; 1 path to write, 5 paths to remove was restored" in said
    assert machine.snapshot("/etc") == before


@ARCH
@pytest.mark.parametrize(("answer", "changed"), [("y", True), ("n", False), ("\x03", False)])
def test_on_a_terminal_it_shows_and_asks(machine: DoctorMachine, answer: str, changed: bool) -> None:
    bare(machine)
    before = machine.snapshot("/etc")
    command = machine.enter([*PYHOME, "setup"], ENVIRONMENT | {"TERM": "dumb"})
    terminal = pexpect.spawn(command[0], command[1:], timeout=60, encoding="utf-8")
    terminal.expect(r"Go on\? \[y/N\]: ")
    assert f"+++ {SYSTEM_AUTH}" in str(terminal.before)
    terminal.send(answer if answer == "\x03" else f"{answer}\r")
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert (terminal.exitstatus == 0) is changed
    assert "Traceback" not in str(terminal.before)
    assert (machine.snapshot("/etc") != before) is changed


@ARCH
def test_without_a_terminal_it_does_not_go_on_unasked(machine: DoctorMachine) -> None:
    bare(machine)
    before = machine.snapshot("/etc")
    assert "--yes" in machine.said("setup", status=2)
    assert machine.snapshot("/etc") == before


def test_the_layout_is_taken_back_by_its_name(machine: DoctorMachine) -> None:
    machine.path("/run/sshd").mkdir()
    machine.authorize("bob", machine.line)
    before = machine.snapshot("/etc")
    machine.pyhome("apply", "--yes")
    assert machine.said("rollback").startswith("sshd ")
    machine.said("rollback", "sshd", "--yes")
    assert machine.snapshot("/etc") == before


def test_lines_are_those_that_the_arch_package_shows() -> None:
    shown = (REPOSITORY / "packaging/arch/pyhome.install").read_bytes()
    for line in pam_edit.LINES.values():
        assert b"    " + line in shown
    profile = (REPOSITORY / "packaging/debian/pam-configs/pyhome").read_text(encoding="ascii").split()
    for line in pam_edit.LINES.values():
        assert " ".join(line.decode().split()[1:]) in " ".join(profile)
