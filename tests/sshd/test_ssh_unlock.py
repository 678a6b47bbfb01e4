"""Unlocking during authentication, with the real sshd: who is asked, who is let in, and how the opened home reaches the session."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pexpect  # type: ignore[import-untyped]  # the package has no annotations
import pytest

from tests.sshd.full import PASSWORD
from tests.sshd.harness import ADA, DROP_IN

if TYPE_CHECKING:
    from pathlib import Path

    from tests.sshd.full import FullMachine

ASKED = "The encrypted home of ada is locked. Password: "
PROMPT = "assword: "
TRIED = "the home was not opened"  # for want of eCryptfs: the keys had arrived in the process that opens the session
TIMEOUT = 30


@pytest.fixture
def unlocking(full: FullMachine) -> FullMachine:
    """With an sshd that asks after the key."""
    for user in ("ada", "bob"):
        full.authorize(user, full.line)
    full.pyhome("apply", "--yes", "--unlock-at-login")
    full.start_sshd()
    return full


def words(machine: FullMachine, *options: str) -> list[str]:
    """What ssh, scp and sftp need to get there."""
    quiet = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR")
    given = (*quiet, "IdentitiesOnly=yes", f"Port={machine.port}", *options)
    return ["-F", "/dev/null", "-i", str(machine.key), *(word for option in given for word in ("-o", option))]


def terminal(machine: FullMachine, *argv: str) -> pexpect.spawn:
    """A program on a terminal."""
    return pexpect.spawn(argv[0], list(argv[1:]), timeout=TIMEOUT, encoding="utf-8", cwd=str(machine.key.parent))


def ssh(machine: FullMachine, user: str, *options: str) -> pexpect.spawn:
    """A command over ssh, from a terminal."""
    return terminal(machine, "ssh", *words(machine, *options), f"{user}@127.0.0.1", "echo arrived; exit 3")


def ended(session: pexpect.spawn) -> int:
    """Wait for the end; the exit status."""
    session.expect(pexpect.EOF)
    session.close()
    return int(session.exitstatus or 0)


def test_wrong_wrong_right(unlocking: FullMachine) -> None:
    session = ssh(unlocking, "ada")
    for answer in ("wrong", "wrong too", PASSWORD):
        session.expect_exact(ASKED)
        session.sendline(answer)
    assert ended(session) == 3
    said = str(session.before)
    assert "arrived" in said
    assert "assword:" not in said
    log = unlocking.log()
    assert log.count(TRIED) == 1
    assert log.count("a wrong password was given for the home") == 2
    assert "wrong" not in log.replace("a wrong password was given", "")
    assert PASSWORD not in log


@pytest.mark.parametrize("tool", ["scp", "scp -O", "sftp"])
def test_what_copies_files_asks_on_the_terminal(unlocking: FullMachine, tool: str, tmp_path: Path) -> None:
    (tmp_path / "here").write_text("content", encoding="ascii")
    os.chown(unlocking.path("/home/ada"), ADA, ADA)
    there = "ada@127.0.0.1:there"
    files = [there] if tool == "sftp" else [str(tmp_path / "here"), there]
    if tool == "sftp":
        unlocking.path("/home/ada/there").write_text("content", encoding="ascii")
    session = terminal(unlocking, *tool.split(), *words(unlocking), *files)
    session.expect_exact(ASKED)
    session.sendline(PASSWORD)
    assert ended(session) == 0
    arrived = unlocking.key.parent / "there" if tool == "sftp" else unlocking.path("/home/ada/there")
    assert arrived.read_text(encoding="ascii") == "content"
    assert unlocking.log().count(TRIED) == 1


def test_an_open_home_asks_nothing_and_so_do_users_without_one(unlocking: FullMachine) -> None:
    unlocking.record_home()
    lasting = unlocking.start("login", "ada", "open", "wait", "close")
    assert lasting.line() == "open 0"
    for user in ("ada", "bob"):
        done = silent(unlocking, user)
        assert (done.returncode, done.stdout) == (3, b"arrived\n"), done.stderr
    lasting.go_on()
    lasting.finish()


def test_whoever_wishes_that_logins_open_nothing_is_asked_for_nothing(unlocking: FullMachine) -> None:
    unlocking.path("/home/.ecryptfs/ada/.ecryptfs/auto-mount").unlink()
    done = silent(unlocking, "ada")
    assert (done.returncode, done.stdout) == (3, b"arrived\n"), done.stderr
    assert TRIED not in unlocking.log()


def silent(machine: FullMachine, user: str, *options: str) -> subprocess.CompletedProcess[bytes]:
    """The same command where nobody can be asked."""
    return subprocess.run(
        ["setsid", "-w", "ssh", *words(machine, *options), f"{user}@127.0.0.1", "echo arrived; exit 3"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=TIMEOUT,
        env={"PATH": os.environ["PATH"]},
    )


def test_root_is_not_locked_out(unlocking: FullMachine) -> None:
    """Whom sshd itself refuses after a prompt, with PermitRootLogin as it is by default."""
    directory = unlocking.path("/root/.ssh")
    directory.mkdir(mode=0o700, exist_ok=True)
    (directory / "authorized_keys").write_bytes(unlocking.line)
    for options in ((), ("BatchMode=yes",)):
        assert silent(unlocking, "root", *options).stdout == b"arrived\n"


def test_batch_mode_fails_as_documented(unlocking: FullMachine) -> None:
    for user in ("ada", "bob"):
        done = silent(unlocking, user, "BatchMode=yes")
        assert done.returncode == 255
        assert b"Permission denied (password,keyboard-interactive" in done.stderr


@pytest.mark.parametrize("is_open", [False, True])
@pytest.mark.parametrize("methods", ["publickey,keyboard-interactive:pam", "any"])
@pytest.mark.guarantee(14, 19)
def test_keyboard_interactive_without_a_public_key_gains_nothing(full: FullMachine, methods: str, is_open: bool) -> None:
    """Not even where sshd is set up badly: what proves the key is sshd's own word about this connection."""
    full.authorize("ada", full.line)
    full.set_password("ada", "login word")
    full.pyhome("apply", "--yes", "--unlock-at-login")
    drop_in = full.path(DROP_IN)
    lines = drop_in.read_text(encoding="ascii").splitlines()
    kept = [line for line in lines if not line.startswith("AuthenticationMethods")]
    drop_in.write_text("\n".join([*kept, f"AuthenticationMethods {methods}", ""]), encoding="ascii")
    full.start_sshd()
    if is_open:
        full.record_home()
    preferred = "PreferredAuthentications=keyboard-interactive"
    session = ssh(full, "ada", "PubkeyAuthentication=no", preferred, "NumberOfPasswordPrompts=1")
    if session.expect([PROMPT, pexpect.EOF]) == 0:
        assert "encrypted home" not in str(session.before)
        session.sendline(PASSWORD)
        session.expect(pexpect.EOF)
    assert "Permission denied" in str(session.before)
    assert "arrived" not in str(session.before)
    assert TRIED not in full.log()


def test_the_login_password_is_taken_where_only_the_home_has_another(unlocking: FullMachine) -> None:
    """As after a reset by root: one answer, with which pam_unix is content."""
    unlocking.set_password("ada", "login word")
    session = ssh(unlocking, "ada")
    session.expect_exact(ASKED)
    session.sendline("login word")
    assert ended(session) == 3
    assert TRIED not in unlocking.log()


def test_a_passphrase_of_the_homes_own_is_for_no_other_module(unlocking: FullMachine) -> None:
    flag = unlocking.path("/home/.ecryptfs/ada/.ecryptfs/wrapping-independent")
    flag.touch()
    os.chown(flag, ADA, ADA)
    unlocking.set_password("ada", "login word")
    session = ssh(unlocking, "ada")
    session.expect_exact("The encrypted home of ada is locked. Passphrase of the encrypted home: ")
    session.sendline("login word")
    session.expect_exact("Password: ")
    session.sendline("login word")
    assert ended(session) == 3


def test_a_home_that_nothing_can_open_blocks_no_login(unlocking: FullMachine) -> None:
    unlocking.set_password("ada", "login word")
    unlocking.path("/home/.ecryptfs/ada/.ecryptfs/wrapped-passphrase").write_bytes(b"damaged")
    session = ssh(unlocking, "ada")
    session.expect_exact(ASKED)
    session.sendline("login word")
    assert ended(session) == 3
