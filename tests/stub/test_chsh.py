"""`chsh` changes the real shell, and pyhome-shell stays. What runs whenever /etc/passwd changes is run by hand here."""

from __future__ import annotations

import pytest

from tests.stub.place import ADA, BASH, STATUS_LOCKED, STUB, Place
from tests.stub.test_enable import fresh, login_shell, pyhome, recorded

__all__ = ["fresh"]
SYNC = "/usr/lib/pyhome/pyhome-sync"
DASH = "/usr/bin/dash"


@pytest.fixture
def enrolled(fresh: Place) -> Place:
    """Ada has pyhome-shell, and may use chsh, which on Debian asks pam_shells as well."""
    fresh.machine.write_stack("chsh", "auth required pam_shells.so\nauth required pam_permit.so\naccount required pam_permit.so\n")
    assert pyhome(fresh, "enable", "ada").status == 0
    return fresh


def sync(place: Place) -> None:
    """With the few rights that its unit has."""
    rights = "-all,+chown,+dac_override,+dac_read_search,+fowner,+setuid,+setgid"
    place.machine.run(["/usr/bin/setpriv", f"--bounding-set={rights}", "--no-new-privs", SYNC])


def test_the_real_shell_changes_and_pyhome_shell_stays(enrolled: Place) -> None:
    as_ada = ["/usr/bin/setpriv", f"--reuid={ADA}", f"--regid={ADA}", "--clear-groups"]
    enrolled.machine.run([*as_ada, "chsh", "-s", DASH])
    assert login_shell(enrolled, "ada") == DASH
    sync(enrolled)
    assert (login_shell(enrolled, "ada"), recorded(enrolled)) == (STUB, [f"ada:{DASH}"])
    assert f"the real shell is {DASH} now, behind pyhome-shell" in enrolled.machine.log()
    enrolled.sshd()
    assert enrolled.ssh("ada", "true").status == STATUS_LOCKED
    sync(enrolled)
    assert enrolled.machine.log().count("the real shell is") == 1
    # Debian 13 lists it under one of its two names, and root may use the other.
    enrolled.machine.run(["/bin/sh", "-c", "sed -i '/^.bin.dash/d' /etc/shells; chsh -s /bin/dash ada"])
    sync(enrolled)
    assert (login_shell(enrolled, "ada"), recorded(enrolled)) == (STUB, ["ada:/bin/dash"])
    assert pyhome(enrolled, "disable", "ada").status == 0
    sync(enrolled)
    assert (login_shell(enrolled, "ada"), recorded(enrolled)) == ("/bin/dash", [])


@pytest.mark.parametrize(
    "change",
    [
        "usermod -s /usr/sbin/nologin ada; echo /usr/sbin/nologin >> /etc/shells",
        "cp /bin/dash /opt/own-shell; usermod -s /opt/own-shell ada",
        f"usermod -s {DASH} ada; remove-shell {STUB}",
        f"usermod -s {DASH} ada; chmod 0700 {STUB}",
        f"usermod -s {DASH} ada; rm -r /home/ada /home/.ecryptfs/ada; mkdir /home/ada",
    ],
)
def test_what_root_has_decided_and_what_would_not_work_stays(enrolled: Place, change: str) -> None:
    """A login is not let in where root wants none, and nobody gets a login shell that does not work."""
    enrolled.machine.run(["/bin/sh", "-e", "-c", change])
    before = login_shell(enrolled, "ada")
    sync(enrolled)
    assert (login_shell(enrolled, "ada"), recorded(enrolled)) == (before, [f"ada:{BASH}"])


def test_what_cannot_be_put_back_is_on_record(enrolled: Place) -> None:
    shells = enrolled.machine.path("/etc/pyhome-shells")
    enrolled.machine.run(["usermod", "-s", DASH, "ada"])
    shells.rename(shells.with_name("elsewhere"))
    shells.symlink_to("elsewhere")
    sync(enrolled)
    assert login_shell(enrolled, "ada") == DASH
    (told,) = enrolled.machine.records("shell-not-kept")
    assert told["PYHOME_WHY"] == "pyhome-shells: is a link or no regular file"
    assert (told["SYSLOG_IDENTIFIER"], "USER" in told) == ("pyhome-sync", False)
