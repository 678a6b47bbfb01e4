"""`pyhome shell`: on, off, again and again; and every way in which it would lock somebody out is refused."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.stub.place import ADA, BASH, STATUS_LOCKED, STUB, Done, Place, ended, spawn

if TYPE_CHECKING:
    from collections.abc import Sequence

REFUSED = 19


@pytest.fixture
def fresh(place: Place) -> Place:
    """Nobody has the login shell yet."""
    place.set_shell("ada", BASH)
    place.set_shell("pat", BASH)
    place.machine.path("/etc/pyhome-shells").unlink()
    place.machine.run(["add-shell", STUB])
    return place


def pyhome(place: Place, *arguments: str) -> Done:
    """Run `pyhome shell …`, as scripts do."""
    sure = ["--yes"] if arguments[:1] in (("enable",), ("disable",)) else []
    return pyhome_unsure(place, *arguments[:1], *sure, *arguments[1:])


def pyhome_unsure(place: Place, *arguments: str) -> Done:
    """The same as it is."""
    command = place.machine.enter(["/usr/bin/python3", "-I", "/usr/bin/pyhome", "shell", *arguments], {})
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=60)
    return Done(done.returncode, done.stdout, done.stderr)


def login_shell(place: Place, name: str) -> str:
    return place.machine.run(["getent", "passwd", name]).rstrip("\n").rpartition(":")[2]


def recorded(place: Place) -> list[str]:
    path = place.machine.path("/etc/pyhome-shells")
    lines = path.read_text(encoding="ascii").splitlines() if path.exists() else []
    return [line for line in lines if not line.startswith("#")]


def refused(place: Place, words: Sequence[str], *expected: str, status: int = REFUSED) -> None:
    """It says why in one line, and nothing has changed."""
    before = (place.machine.path("/etc/passwd").read_bytes(), recorded(place))
    done = pyhome(place, *words)
    assert done.status == status, done
    assert done.err.count(b"\n") == 1
    for text in expected:
        assert text.encode() in done.err
    assert (place.machine.path("/etc/passwd").read_bytes(), recorded(place)) == before


def test_on_and_off(fresh: Place) -> None:
    fresh.sshd()
    assert pyhome(fresh, "show", "ada").status == 1
    done = pyhome(fresh, "enable", "ada")
    assert done.status == 0, done
    assert done.out.splitlines()[0].decode() == f"ada: the login shell is {STUB}, the real shell {BASH}"
    assert (login_shell(fresh, "ada"), recorded(fresh)) == (STUB, [f"ada:{BASH}"])
    assert fresh.machine.path("/etc/pyhome-shells").stat().st_mode & 0o777 == 0o644
    assert pyhome(fresh, "show", "ada").status == 0
    assert fresh.ssh("ada", "true").status == STATUS_LOCKED
    again = pyhome(fresh, "enable", "ada")
    assert (again.status, b"nothing was changed" in again.out) == (0, True)
    assert pyhome(fresh, "disable", "ada").status == 0
    assert (login_shell(fresh, "ada"), recorded(fresh)) == (BASH, [])
    told = fresh.machine.records("shell-changed")[-2:]
    assert [each["PYHOME_WHY"] for each in told] == [STUB, BASH]
    assert {(each["USER"], each["UID"], each["HOME"]) for each in told} == {("ada", str(ADA), "/home/ada")}
    assert b"nothing was changed" in pyhome(fresh, "disable", "ada").out
    assert fresh.ssh("ada", "true").status == 0


def test_others_stay_as_they_are(fresh: Place) -> None:
    fresh.shells("eve:/bin/zsh\n")
    assert pyhome(fresh, "enable", "ada").status == 0
    assert recorded(fresh) == [f"ada:{BASH}", "eve:/bin/zsh"]
    assert pyhome(fresh, "disable", "ada").status == 0
    assert recorded(fresh) == ["eve:/bin/zsh"]
    assert login_shell(fresh, "pat") == BASH


def test_the_locked_home_gets_a_place_for_the_agent(fresh: Place) -> None:
    place = fresh.machine.path("/home/ada/.ssh/agent")
    assert pyhome(fresh, "enable", "ada").status == 0
    for path in (place, place.parent):
        assert (path.stat().st_uid, path.stat().st_mode & 0o7777) == (ADA, 0o700)
    assert fresh.machine.path("/home/ada").stat().st_mode & 0o7777 == 0o500
    place.rmdir()
    assert pyhome(fresh, "enable", "ada").status == 0
    assert place.is_dir()
    assert pyhome(fresh, "disable", "ada").status == 0
    assert not place.parent.exists()
    assert fresh.machine.path("/home/ada").stat().st_mode & 0o7777 == 0o500


def test_also_while_something_is_mounted_over_it(fresh: Place) -> None:
    """An open home is looked under; what is in the home itself is not touched."""
    fresh.machine.run(["mount", "-t", "tmpfs", "-o", f"mode=0700,uid={ADA},gid={ADA}", "home", "/home/ada"])
    fresh.machine.run(["/bin/sh", "-c", "mkdir /home/ada/.ecryptfs; cp /home/.ecryptfs/ada/.ecryptfs/* /home/ada/.ecryptfs"])
    fresh.machine.run(["chown", "-R", f"{ADA}:{ADA}", "/home/ada"])
    assert pyhome(fresh, "enable", "ada").status == 0
    assert not fresh.machine.path("/home/ada/.ssh").exists()
    fresh.machine.run(["umount", "/home/ada"])
    assert fresh.machine.path("/home/ada/.ssh/agent").is_dir()


def test_a_trap_in_its_place_is_not_followed(fresh: Place) -> None:
    fresh.machine.path("/home/ada/.ssh").symlink_to("/etc")
    done = pyhome(fresh, "enable", "ada")
    assert not fresh.machine.path("/etc/agent").exists()
    assert done.status != 0
    assert login_shell(fresh, "ada") == BASH


@pytest.mark.parametrize(
    ("user", "expected"),
    [("nobody-here", "no user nob"), ("root", "uid 0"), ("daemon", "ordinary"), ("pat", "no encrypted home"), ("", "no user")],
)
def test_users_for_whom_it_makes_no_sense(fresh: Place, user: str, expected: str) -> None:
    refused(fresh, ["enable", "--", user], expected, status=41 if expected.startswith("no user") else REFUSED)


def test_a_directory_in_the_home_is_not_the_home(fresh: Place) -> None:
    fresh.machine.path("/home/.ecryptfs/ada/.ecryptfs/Private.mnt").write_text("/home/ada/Private\n", encoding="ascii")
    refused(fresh, ["enable", "ada"], "what is encrypted is /home/ada/Private")


@pytest.mark.parametrize("shell", ["/usr/sbin/nologin", "/bin/false", "/bin/gone", "/etc/passwd"])
def test_a_real_shell_that_lets_nobody_in(fresh: Place, shell: str) -> None:
    fresh.set_shell("ada", shell)
    refused(fresh, ["enable", "ada"], shell)


def test_a_login_shell_that_is_not_listed(fresh: Place) -> None:
    fresh.machine.run(["remove-shell", STUB])
    refused(fresh, ["enable", "ada"], "/etc/shells", f"add-shell {STUB}")


@pytest.mark.parametrize(
    "damage",
    [
        f"rm {STUB}",
        f"chmod 0700 {STUB}",
        "chmod 0700 /usr/lib/pyhome",
        "rm /usr/lib/pyhome/pam_pyhome/shell_stub/main.py",
        f"sed -i '1s|.*|#!/no/python|' {STUB}",
    ],
)
def test_a_program_that_does_not_work_for_this_user(fresh: Place, damage: str) -> None:
    fresh.machine.run(["/bin/sh", "-e", "-c", damage])
    refused(fresh, ["enable", "ada"], "does not work for this user")


def test_the_shell_and_the_files_of_the_user_are_not_run(fresh: Place) -> None:
    """On root's terminal they could type what root has not typed."""
    shell = fresh.machine.path("/usr/bin/own-shell")
    shell.write_text("#!/bin/sh\ntouch /tmp/was-run\n", encoding="ascii")
    shell.chmod(0o755)
    fresh.set_shell("ada", "/usr/bin/own-shell")
    assert pyhome(fresh, "enable", "ada").status == 0
    assert recorded(fresh) == ["ada:/usr/bin/own-shell"]
    assert not fresh.machine.path("/tmp/was-run").exists()


def test_what_runs_as_the_user_has_no_terminal(fresh: Place) -> None:
    program = fresh.machine.path(STUB)
    program.write_text(f"#!/bin/sh\n(: </dev/tty) 2>/dev/null && echo a terminal >&2\necho {BASH}\n", encoding="ascii")
    enable = ["/usr/bin/python3", "-I", "/usr/bin/pyhome", "shell", "enable", "--yes", "ada"]
    command = ["/usr/bin/setsid", "--wait", "--ctty", *fresh.machine.enter(enable, {"TERM": "dumb"})]
    terminal = spawn(command)
    terminal.expect("the real shell")
    assert ended(terminal) == 0
    program.write_text(f"#!/bin/sh\n(: </dev/tty) && echo {BASH}\n", encoding="ascii")
    fresh.set_shell("ada", BASH)
    terminal = spawn(command)
    terminal.expect("does not work for this user")
    assert ended(terminal) == REFUSED


def test_where_commands_wait_the_trial_does_not(fresh: Place) -> None:
    fresh.machine.configure("locked_command = wait:600\n")
    assert pyhome(fresh, "enable", "ada").status == 0


def test_a_user_of_another_database_is_left_alone(fresh: Place) -> None:
    """What usermod cannot change is not recorded either."""
    usermod = fresh.machine.path("/usr/sbin/usermod")
    usermod.unlink()
    usermod.write_text("#!/bin/sh\necho not in /etc/passwd >&2; exit 6\n", encoding="ascii")
    usermod.chmod(0o755)
    refused(fresh, ["enable", "ada"], "not in /etc/passwd")


def test_off_with_a_real_shell_that_has_gone_or_was_never_known(fresh: Place) -> None:
    assert pyhome(fresh, "enable", "ada").status == 0
    fresh.shells("ada:/bin/gone\n")
    refused(fresh, ["disable", "ada"], "/bin/gone")
    fresh.shells("")
    refused(fresh, ["disable", "ada"], "/etc/pyhome-shells", "chsh")
    refused(fresh, ["enable", "ada"], "/etc/pyhome-shells", "chsh")


def test_a_damaged_list_is_not_overwritten(fresh: Place) -> None:
    fresh.shells("eve:/bin/sh\nnonsense\n")
    done = pyhome(fresh, "enable", "ada")
    assert done.status == 10
    assert b"line 2" in done.err
    assert fresh.machine.path("/etc/pyhome-shells").read_text(encoding="ascii") == "eve:/bin/sh\nnonsense\n"
    assert login_shell(fresh, "ada") == BASH


def test_without_a_terminal_it_does_not_go_on_unasked(fresh: Place) -> None:
    done = pyhome_unsure(fresh, "enable", "ada")
    assert done.status == 2
    assert b"--yes" in done.err
    assert login_shell(fresh, "ada") == BASH
    pyhome(fresh, "enable", "ada")
    assert pyhome_unsure(fresh, "disable", "ada").status == 2
    assert login_shell(fresh, "ada") == STUB


def test_only_root(fresh: Place) -> None:
    as_ada = ["/usr/bin/setpriv", f"--reuid={ADA}", f"--regid={ADA}", "--clear-groups"]
    done = fresh.local(fresh.machine.enter([*as_ada, "/usr/bin/python3", "-I", "/usr/bin/pyhome", "shell", "enable", "ada"], {}))
    assert (done.status, done.out) == (42, b"")
    assert b"as root" in done.err


def test_on_a_terminal_it_asks_first(fresh: Place) -> None:
    command = fresh.machine.enter(["/usr/bin/python3", "-I", "/usr/bin/pyhome", "shell", "enable", "ada"], {"TERM": "dumb"})
    for answer, shell in (("n", BASH), ("", BASH), ("y", STUB)):
        terminal = spawn(command)
        terminal.expect(r"\[y/N\]: ")
        terminal.sendline(answer)
        assert ended(terminal) == (0 if shell == STUB else 1)
        assert login_shell(fresh, "ada") == shell
    assert ended(spawn([*command, "--yes"])) == 0
