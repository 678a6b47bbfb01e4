"""What `pyhome recover` says and prints: for people at a terminal, for programs, and whatever strangers have written on a disk."""

from __future__ import annotations

import re
from pathlib import Path

import pexpect  # type: ignore[import-untyped]  # the package has no annotations
import pytest

from tests.create.machine import PASSWORD, PYHOME
from tests.salvage.machine import ADA, BOB, OLD, SalvageMachine

pytestmark = pytest.mark.root

HARMLESS = "ro,nosuid,nodev,noexec"
MAKE = "install -d -m 700 /root/disk"
DOCS = (Path(__file__).parents[2] / "docs/json.md").read_text(encoding="utf-8").partition("### Homes of other installations")[2]


def documented(what: str) -> set[str]:
    """The fields of the table, or of a sentence, of docs/json.md."""
    if what == "table":
        return set(re.findall(r"^\| `(\w+)` \|", DOCS.partition("\n###")[0], re.MULTILINE))
    sentence = re.sub(r"\(.*?\)", "", DOCS.partition(f"*{what}*:")[2].partition("\n\n")[0], flags=re.DOTALL)
    return set(re.findall(r"`(\w+)`", sentence))


def test_the_objects_have_the_documented_fields(machine: SalvageMachine) -> None:
    listed = machine.parsed(OLD)
    assert listed.keys() == documented("table")
    assert (listed["complete"], listed["opened"], listed["version"]) == (True, None, 1)
    ada, bob = listed["homes"]
    assert ada.keys() == bob.keys() == documented("found")
    assert (ada["user"], ada["backend"], ada["path"], ada["trouble"]) == ("ada", "fscrypt", ADA, "")
    assert ada["opens"] == [f"login password of uid {ada['uid']}", "Recovery passphrase for ada"]
    one = machine.parsed("--password-file", "-", ADA, said=PASSWORD)
    assert one.keys() == documented("table")
    assert one["opened"].keys() == documented("opened")
    assert one["homes"] == [ada]
    machine.close(one["opened"]["directory"])
    assert machine.parsed("--list", ADA) == {"version": 1, "homes": [ada], "complete": True, "opened": None}
    failed = machine.parsed("--password-file", "-", ADA, said=b"wrong", status=13)
    assert failed["error"]["kind"] == "WrongPassphraseError"
    assert failed["error"]["message"].startswith(f"{ADA}: this opens nothing there; ")


def test_at_a_terminal(machine: SalvageMachine) -> None:
    """The password is asked for without echo."""
    command = machine.enter(["/usr/bin/setsid", "--ctty", PYHOME, "recover", BOB], {})
    for answer, status in ((b"wrong", 13), (PASSWORD, 0)):
        terminal = pexpect.spawn(command[0], command[1:], timeout=30)
        terminal.expect_exact(b"Recovery key or password of the home of bob: ")
        terminal.sendline(answer)
        terminal.expect(pexpect.EOF)
        terminal.close()
        assert answer not in terminal.before
        assert terminal.exitstatus == status, terminal.before
    assert b"The home of bob is open at /run/pyhome-recover/bob, read-only. " in terminal.before
    machine.close("/run/pyhome-recover/bob")
    terminal = pexpect.spawn(command[0], command[1:], timeout=30)
    terminal.expect_exact(b"home of bob: ")
    terminal.sendintr()
    terminal.expect_exact(f"{BOB}: interrupted; nothing is open, start again if that was not meant".encode())
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 130


def test_the_command_line(machine: SalvageMachine) -> None:
    machine.path("/root/empty").mkdir(exist_ok=True)
    machine.path("/root/image").touch()
    for arguments, status, line in (
        (("--close",), 2, "--close wants a PATH, and no other option but --json"),
        (("--close", "--writable", ADA), 2, "--close wants a PATH"),
        (("/root/empty",), 90, "/root/empty: there is no encrypted home in it; mount the disk that the homes are on, and name "),
        (("/none",), 90, "/none: there is no such directory; mount the disk"),
        (("/root/image",), 90, f"is not a directory; if it is an image of a disk, '{MAKE} && mount -o loop,{HARMLESS} "),
        (("/dev/loop0",), 90, f"/dev/loop0: is a device; mount it with '{MAKE} && mount -o {HARMLESS} /dev/loop0 "),
    ):
        assert line in machine.refuses_to(*arguments, status=status)


def test_only_root(machine: SalvageMachine) -> None:
    done = machine.try_to(f"setpriv --reuid=5000 --clear-groups {PYHOME} recover {OLD}")
    assert done.returncode == 42
    assert done.stderr.endswith(b"pyhome recover: opens homes of others; run it as root\n")


# A disk that somebody has made to do harm


@pytest.mark.guarantee(17)
def test_what_strangers_have_written_stays_in_its_line(machine: SalvageMachine) -> None:
    name = "e\nv\x1b[2Je"
    (machine.path(OLD) / "home" / name / ".Private").mkdir(parents=True)
    try:
        said = machine.recover(OLD)
        assert "e\\nv\\x1b[2Je" in said
        assert "\x1b" not in said
        assert len(said.splitlines()) == 5
        assert "nothing: .ecryptfs/Private.sig is lost" in said
        line = machine.refuses_to(f"{OLD}/home/{name}", status=92)
        assert ".ecryptfs/Private.sig is lost; mount the other disks of that machine as well" in line
        assert {home["user"] for home in machine.parsed(OLD)["homes"]} == {"ada", "bob", "e\\nv\\x1b[2Je"}
    finally:
        machine.run(["rm", "-r", f"{OLD}/home/{name}"])


@pytest.mark.parametrize("kind", ["fifo", "huge", "link", "random"])
def test_metadata_that_is_none(machine: SalvageMachine, kind: str) -> None:
    """In the place of a login protector; the recovery key still opens the home, the password does with the good copy."""
    owner = machine.path(ADA).stat().st_uid
    (path,) = (path for path in machine.path(f"{OLD}/.fscrypt/protectors").iterdir() if path.stat().st_uid == owner)
    inside = f"{OLD}/.fscrypt/protectors/{path.name}"
    make = {
        "fifo": f"mkfifo {inside}", "huge": f"truncate -s 1T {inside}", "link": f"ln -s /root/kept {inside}",
        "random": f"head -c 300 /dev/urandom > {inside}",
    }  # fmt: skip
    machine.run(["mv", inside, "/root/kept"])
    machine.run(["mv", f"{OLD}/var/lib/pyhome", "/root/copies"])
    try:
        machine.run(["sh", "-c", make[kind]])
        assert f"its protector {path.name} is not found" in machine.parsed("--list", ADA)["homes"][0]["trouble"]
        machine.refuses_to("--password-file", "-", ADA, said=PASSWORD, status=13)
        machine.close(machine.opens(ADA, machine.recovery))
    finally:
        machine.run(["mv", "/root/copies", f"{OLD}/var/lib/pyhome"])
        machine.run(["rm", "-rf", inside])
        machine.run(["mv", "/root/kept", inside])


@pytest.mark.guarantee(17)
def test_costs_beyond_reason_are_not_paid(machine: SalvageMachine) -> None:
    """A protector may ask for anything; what this machine does not bear is refused at once."""
    (path,) = (path for path in machine.path(f"{OLD}/home/.fscrypt/protectors").iterdir() if b"for ada" in path.read_bytes())
    good = path.read_bytes()
    copies = machine.path(f"{OLD}/var/lib/pyhome")
    machine.run(["mv", f"{OLD}/var/lib/pyhome", "/root/copies"])
    costs = b"\x22\x08\x10\x01\x18\x40\x20\x02\x28\x01"  # field 4: one pass, 64 KiB, two lanes
    assert good.count(costs) == 1
    try:
        path.write_bytes(good.replace(costs, b"\x22\x0c\x10\x01\x18\x80\x80\x80\x80\x7f\x20\x02\x28\x01"))
        line = machine.refuses_to("--password-file", "-", ADA, said=machine.recovery.encode(), status=10)
        assert "too much for this machine; " in line
        machine.close(machine.opens(ADA, PASSWORD))
    finally:
        path.write_bytes(good)
        machine.run(["mv", "/root/copies", f"{OLD}/var/lib/pyhome"])
    assert copies.is_dir()
