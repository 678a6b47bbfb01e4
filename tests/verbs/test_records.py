"""The records of the journal, as journald is sent them: one for each event, with whose home it was and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pam_pyhome import events
from tests.fscrypt.homes import READ
from tests.fscrypt.test_repair import set_login
from tests.login.homes import ADA, AS_ADA, answers, crypt, first_line
from tests.pam.harness import eventually
from tests.verbs.command import ROOT, pyhome
from tests.verbs.conftest import PASSWORD
from tests.verbs.test_open_home import busy, unlock

if TYPE_CHECKING:
    from tests.fscrypt.homes import FscryptMachine

pytestmark = pytest.mark.root

NEW, RESET = b"battery staple", b"set by root"
WHOSE = {"USER": "ada", "UID": str(ADA), "HOME": "/home/ada"}
EVENTS = {event.name: event for event in vars(events).values() if isinstance(event, events.Event)}


class Since:
    """What has been recorded since the last look, but for copies, approvals and clients that hang up."""

    def __init__(self, machine: FscryptMachine) -> None:
        """From the beginning."""
        self.machine = machine
        self.seen = 0

    def look(self, *, again: bool = False) -> list[dict[str, str]]:
        """The records; `again`: so that the next look finds them as well."""
        found = self.machine.records()[self.seen :]
        self.seen += 0 if again else len(found)
        return [record for record in found if record["PRIORITY"] < "6" and record["PYHOME_WHAT"] != "guest-refused"]

    def names(self, *, again: bool = False) -> list[str]:
        """The events."""
        return [record["PYHOME_WHAT"] for record in self.look(again=again)]


def test_logins_and_verbs(fscrypt_served: FscryptMachine) -> None:
    machine, since = fscrypt_served, Since(fscrypt_served)
    machine.log_in(PASSWORD, READ)
    opened, locked = since.look()
    assert opened == {
        "MESSAGE": "login: user ada: opened the home",
        "MESSAGE_ID": events.UNLOCKED.id,
        "PRIORITY": "5",
        "SYSLOG_FACILITY": "10",
        "SYSLOG_IDENTIFIER": "pam_pyhome",
        "PYHOME_WHAT": "unlocked",
        "PYHOME_SERVICE": "login",
        **WHOSE,
    }
    assert (locked["PYHOME_WHAT"], locked["PYHOME_WHY"]) == ("locked", "the last session has ended")
    machine.pam("login", "ada", "open", "close")
    assert since.names() == ["starts-locked"]

    unlock(machine, ADA, b"wrong")
    unlock(machine, ROOT)
    assert since.names() == ["wrong-password", "unlocked"]
    pyhome(machine, ADA, "passwd", "--home-only", "--password-file", "-", stdin=PASSWORD + b"\n" + NEW + b"\n")
    pyhome(machine, ROOT, "update", "--no-lock-at-logout", "ada")
    pyhome(machine, ROOT, "update", "--lock-at-logout", "ada")
    assert since.names() == ["password-changed", "settings-changed", "settings-changed"]
    made = pyhome(machine, ROOT, "recovery", "new", "ada", "--password-file", "-", "--json", stdin=NEW + b"\n")
    assert since.names() == ["recovery-key-made"], made
    with busy(machine, *AS_ADA) as holder:
        first_line(holder)
        pyhome(machine, ROOT, "lock", "ada")
        assert eventually(lambda: "stays-open" in since.names(again=True))
        (stays,) = since.look()
        assert (stays["SYSLOG_IDENTIFIER"], stays["USER"]) == ("pyhomed", "ada")
        assert stays["PYHOME_WHY"].startswith("pid ")
    assert eventually(lambda: "locked" in since.names(again=True))
    assert since.names() == ["locked"]

    set_login(machine, crypt(RESET))
    machine.pam("login", "ada", *answers(RESET, NEW), "auth", "setcred", "open", "close")
    assert since.names()[:3] == ["out-of-step", "unlocked", "key-file-renewed"]
    for record in machine.records():
        event = EVENTS[record["PYHOME_WHAT"]]
        assert (record["MESSAGE_ID"], record["PRIORITY"]) == (event.id, str(event.priority))
        assert event.text in record["MESSAGE"]
        assert record["USER"] == "ada"
        assert not any(secret.decode() in value for secret in (PASSWORD, NEW, RESET) for value in record.values())
