"""The words about homes in every state, word for word."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

from pam_pyhome import errors
from pam_pyhome.cli import homes_text
from pam_pyhome.formats.facts import RECOVERY, HomeFacts, Slot
from pam_pyhome.policy.failures import failure_of
from tests.unit.cli import known_homes as known


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


RESTORE = (
    "'pyhome recovery backups ada' lists what can be restored, and the recovery key opens it; "
    "'journalctl -b -t pam_pyhome -t pyhomed' has more"
)
SENTENCES = [
    (known.LOCKED, "The home of ada is locked.", "it opens at the next login with the password; 'pyhome unlock ada' opens it now"),
    (
        known.OPEN,
        "The home of ada is open since 2026-11-21 12:00, held by 2 sessions.",
        "it is locked after the last session; 'pyhome lock ada' locks it before",
    ),
    (known.HELD, "The home of ada is open since 2026-11-21 12:00, until 'pyhome lock'.", "'pyhome lock ada' locks it"),
    (known.LEFT, "The home of ada is open, used by processes that sessions left behind.", "'pyhome lock ada' locks it"),
    (
        known.PARTLY,
        "The home of ada is only partly locked: files that are in use stay readable.",
        "end the processes that use it, then 'pyhome lock ada'; 'pyhome unlock ada' opens it again",
    ),
    (
        known.BROKEN,
        f"The home of ada is locked, and cannot be opened: {known.KEY_FILE}: damaged: only 3 bytes long.",
        RESTORE,
    ),
    (
        known.UNKNOWN,
        "The home of ada is in an unknown state: /home/ada/.ecryptfs: is a link.",
        "'pyhome doctor ada', typed by root, says what to do; 'journalctl -b -t pam_pyhome -t pyhomed' has more",
    ),
]


@pytest.mark.parametrize(("facts", "sentence", "step"), SENTENCES)
def test_a_sentence_and_a_step(facts: HomeFacts, sentence: str, step: str) -> None:
    assert homes_text.headline(facts) == sentence
    assert homes_text.next_step(facts) == step


INSPECTED = """\
The home of ada is open since 2026-11-21 12:00, held by 2 sessions.

  Backend    ecryptfs
  Where      /home/ada
  Stored in  /home/.ecryptfs/ada/.Private
  State      open since 2026-11-21 12:00
  Opens      at login, with the login password; locks after the last session
  Sessions   pid 1412 (sshd): ssh from 203.0.113.7, since 2026-11-21 12:00
             pid 1502 (login): tty1, since 2026-11-21 12:01
  Used by    pid 1413 (bash, uid 1000): cwd /home/ada
  Recovery   no key: 'pyhome recovery new' makes one
  Key slots  /home/.ecryptfs/ada/.ecryptfs/wrapped-passphrase: login password, but is of version 1, which is weak; the next login renews it
             /var/lib/pyhome/1000.ada/wrapped-passphrase: copy of the key file
  Next       it is locked after the last session; 'pyhome lock ada' locks it before"""  # noqa: E501 - a line as it is printed

WAITING = known.LOCKED.but(waits_for_old=True, slots=(Slot("/x", RECOVERY),))
LISTED = """\
USER  STATE          BACKEND   SINCE             SESSIONS  RECOVERY  HOME       TROUBLE
ada   locked         ecryptfs  -                 0         none      /home/ada  -
ada   open           ecryptfs  2026-11-21 12:00  2         none      /home/ada  wrapped-passphrase is of version 1, which is weak; the next login renews it
ada   partly locked  fscrypt   2026-11-21 12:00  0         none      /home/ada  files that are in use stay readable
ada   unknown        -         -                 0         -         /home/ada  /home/ada/.ecryptfs: is a link
ada   locked         ecryptfs  -                 0         none      /home/ada  /home/.ecryptfs/ada/.ecryptfs/wrapped-passphrase: damaged: only 3 bytes long
ada   locked         ecryptfs  -                 0         key       /home/ada  waits for the old password"""  # noqa: E501 - a line as it is printed

SESSIONS = """\
USER  PID   SERVICE  TTY   FROM         SINCE
ada   1412  sshd     ssh   203.0.113.7  2026-11-21 12:00
ada   1502  login    tty1  -            2026-11-21 12:01"""


def test_an_inspection() -> None:
    assert "\n".join(homes_text.inspection(known.OPEN)) == INSPECTED
    waiting = homes_text.inspection(WAITING)
    assert any(line.startswith("  Password   The login password of ada was set anew, but the home waits") for line in waiting)
    assert "the next login asks for the old password" in waiting[-1]


def test_the_tables() -> None:
    homes = [known.LOCKED, known.OPEN, known.PARTLY, known.UNKNOWN, known.BROKEN, WAITING]
    assert "\n".join(homes_text.table(homes_text.home_rows(homes))) == LISTED
    assert "\n".join(homes_text.table(homes_text.session_rows(homes))) == SESSIONS


FAILURES: list[tuple[errors.PyhomeError | OSError, str]] = [
    (
        errors.HomeBusyError("/home/ada", (known.BASH,)),
        f"/home/ada stays open while it is used by {known.BASH}; leave it with 'cd /', end what uses it, or insist with --force",
    ),
    (
        errors.HomeBusyError("/home/ada", (), partly_locked=True),
        "/home/ada is only partly locked while it is used by a process that was not found; leave it with 'cd /', ",
    ),
    (errors.DaemonError("has hung up"), "pyhomed cannot be asked: has hung up; run 'systemctl start pyhomed.socket "),
    (errors.StorageError("mounting /x", "no"), "mounting /x: no; 'journalctl -b -t pam_pyhome -t pyhomed' may know more"),
    (errors.UnsafeFileError("/x", "is a link"), "/x: is a link; repair that and try again"),
    (errors.FormatError("Private.sig", "empty"), "Private.sig is damaged (empty); 'pyhome recovery backups ada' lists copies of "),
    (OSError(28, "full", "/x"), f"/x: {os.strerror(28)}; try again when that is repaired"),
]


@pytest.mark.parametrize(("error", "expected"), FAILURES)
def test_failures_name_the_thing_and_a_way_forward(error: errors.PyhomeError | OSError, expected: str) -> None:
    failure = failure_of(error)
    assert homes_text.failed(failure, "ada").startswith(expected)
    assert failure.code == getattr(error, "exit_code", 1)


def test_every_error_has_words() -> None:
    """None of ours comes out as a mere name, whatever facts it has."""
    facts = {errors.HomeBusyError: ("/x", ()), errors.HomeInUseError: ("ada", ()), errors.UnknownVersionError: ("x", 3)}
    for each in vars(errors).values():
        if isinstance(each, type) and issubclass(each, errors.PyhomeError):
            code = getattr(each.__init__, "__code__", None)
            arguments = facts.get(each, ("ada",) * (code.co_argcount - 1 if code else 1))
            text = homes_text.failed(failure_of(each(*arguments)), "ada")
            assert "; " in text, each
