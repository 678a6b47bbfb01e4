"""Recovery keys of fscrypt homes, with the kernel's encryption; the tools of google/fscrypt show and open what comes out."""

from __future__ import annotations

import json
import os
import re
import subprocess
from typing import TYPE_CHECKING

import pexpect  # type: ignore[import-untyped]  # the package has no annotations
import pytest

from pam_pyhome.formats import broker
from pam_pyhome.formats.broker import Request
from pam_pyhome.formats.recovery import emit_recovery
from tests.fscrypt.homes import OPENED, READ, FscryptMachine
from tests.login.homes import ADA, AUTHINFO_UNAVAIL, BOB, answers, crypt, differences
from tests.pam.harness import eventually
from tests.recovery.conftest import KEY, PASSWORD, install
from tests.verbs.command import ROOT, Ran, on_terminal, pyhome
from tests.verbs.test_hostile import send

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.root

NEW = b"battery staple"
OTHER = b"yet another one"
SLOPPY = KEY.upper().replace(b"0", b"o").replace(b"1", b"l").replace(b"-", b" ")
HIMSELF = f"ruid={ADA}"


def said(machine: FscryptMachine, uid: int, *arguments: str, lines: tuple[bytes, ...] = ()) -> Ran:
    """A verb that reads what is typed from its standard input."""
    return pyhome(machine, uid, *arguments, "--password-file", "-", stdin=b"".join(line + b"\n" for line in lines))


def recovery_protectors(machine: FscryptMachine) -> list[Path]:
    """The files beside the link to the login protector."""
    return [path for path in machine.path("/home/.fscrypt/protectors").iterdir() if path.suffix != ".link"]


def opens_with_tool(machine: FscryptMachine, key: bytes) -> bool:
    """Whether the real tool opens the home with its recovery protector and this passphrase; it is locked again."""
    (protector,) = recovery_protectors(machine)
    machine.fscrypt("unlock", "/home/ada", f"--unlock-with=/home:{protector.name}", "--quiet", "--user=ada",
                    said=key.decode() + "\n", status=None)  # fmt: skip
    opened = machine.is_open()
    if opened:
        machine.fscrypt("lock", "/home/ada", "--user=ada", "--quiet")
    return opened


def everybody_opens(machine: FscryptMachine, password: bytes) -> None:
    """Our module, theirs, and the command."""
    for service in ("login", "pam_fscrypt"):
        assert machine.log_in(password, READ, service=service) == OPENED, service
        assert eventually(lambda: not machine.is_open()), service
    assert machine.opens(password)


def new_key(ran: Ran) -> bytes:
    """The key that `recovery new` printed."""
    assert ran.code == 0, ran
    (key,) = re.findall(r"^    (\S{47})$", ran.out, re.MULTILINE)
    return str(key).encode()


def reset(machine: FscryptMachine, password: bytes) -> None:
    """What root does when a password is forgotten."""
    assert machine.pam("unix", "ada", *answers(password, password), "chauthtok")[-1] == "chauthtok 0"


def test_it_opens_the_home_however_it_is_typed_and_changes_nothing(served: FscryptMachine) -> None:
    protector, policy = served.protector().read_bytes(), served.policy().read_bytes()
    for typed in (KEY, SLOPPY, KEY.replace(b"-", b"")):
        ran = said(served, ADA, "unlock", lines=(typed,))
        assert ran.code == 0, ran
        assert served.is_open()
        assert pyhome(served, ADA, "lock").code == 0
    assert (served.protector().read_bytes(), served.policy().read_bytes()) == (protector, policy)
    assert not (served.kept() / f"fscrypt-protector-{served.protector().name}").exists()  # nothing has opened it
    everybody_opens(served, PASSWORD)


@pytest.mark.parametrize("uid", [ROOT, ADA])
def test_a_forgotten_password(served: FscryptMachine, uid: int) -> None:
    """Root resets the login password, the recovery key gives the home the same one."""
    reset(served, NEW)
    old = served.protector().name
    ran = said(served, uid, "passwd", "ada", "--home-only", lines=(SLOPPY, NEW))
    assert (ran.code, ran.out) == (0, "The home of ada opens with the new password; the login password is as it was.\n"), ran
    assert served.protector().name != old
    assert served.protector().stat().st_uid == ADA
    everybody_opens(served, NEW)
    status = served.fscrypt("status", "/home/ada")
    assert status.count("login protector for ada") == 1
    assert "Recovery passphrase for ada" in status
    assert old not in served.fscrypt("status", "/") + status
    assert opens_with_tool(served, KEY)
    assert not served.path(f"/home/.fscrypt/protectors/{old}.link").exists()
    # The home has been opened with the new one. What else the old one opens may be on a disk that is not here.
    assert list(served.kept().glob("*.previous")) == []
    assert (served.kept() / f"fscrypt-protector-{old}.retired").exists()
    assert served.path("/.fscrypt").stat().st_uid == 0
    assert {path.name for path in served.path("/.fscrypt").iterdir()} == {"policies", "protectors"}


def test_a_login_after_a_reset_takes_it_for_the_old_password(place: FscryptMachine) -> None:
    reset(place, NEW)
    lines = place.pam("login", "ada", *answers(NEW, SLOPPY), "auth", "setcred", "open", READ, "close")
    assert [line for line in lines if not line.startswith("message")] == OPENED
    everybody_opens(place, NEW)
    assert not place.opens(PASSWORD)


def test_a_slip_in_a_key_is_not_the_end_of_a_login(place: FscryptMachine) -> None:
    reset(place, NEW)
    slips = (KEY.replace(b"0m308", b"0m309"), KEY.replace(b"0m308", b"0m30a"))
    lines = place.pam("login", "ada", *answers(NEW, *slips, KEY), "auth", "setcred", "open", READ, "close")
    assert [line for line in lines if not line.startswith("message")] == OPENED
    assert sum("This recovery key is mistyped in group 3; please type it once more" in line for line in lines) == 2


def test_a_key_that_cannot_be_printed_is_not_the_one(place: FscryptMachine) -> None:
    """The old one opens the home, and no new one does."""
    before = [path.read_bytes() for path in recovery_protectors(place)]
    script = "cd /; printf 'correct horse\\n' | /usr/bin/pyhome recovery new --password-file - ada >/dev/full"
    done = subprocess.run(place.enter(["/bin/sh", "-c", script], {}), capture_output=True, text=True, timeout=60)
    line = "pyhome: the standard output cannot be written: No space left on device; send it somewhere else, and start again: "
    assert done.returncode == 1
    assert done.stderr.endswith(f"{line}nothing was changed\n")
    assert [path.read_bytes() for path in recovery_protectors(place)] == before


def test_a_slip_at_the_prompt_is_named_and_the_key_is_shown(place: FscryptMachine) -> None:
    terminal = on_terminal(place, ROOT, "recovery", "test", "ada")
    terminal.expect_exact("Recovery key: ")
    terminal.sendline(KEY.replace(b"0m308", b"0m309").decode())
    terminal.expect_exact("0m309")  # it is seen while it is typed
    terminal.expect_exact("This recovery key is mistyped in group 3; type it once more, it is shown now.")
    terminal.expect_exact("Recovery key: ")
    terminal.sendline(KEY.decode())
    terminal.expect_exact("This recovery key opens the home of ada.")
    terminal.expect_exact(pexpect.EOF)


def test_passwd_takes_it_for_the_old_password(place: FscryptMachine) -> None:
    reset(place, NEW)
    lines = place.pam("login", "ada", HIMSELF, *answers(NEW, KEY, OTHER, OTHER), "chauthtok")
    assert lines[-1] == "chauthtok 0"
    everybody_opens(place, OTHER)


def test_over_ssh_it_is_an_answer_like_the_password(place: FscryptMachine) -> None:
    place.write_stack("verify", "auth required pam_pyhome.so authenticate\nsession optional pam_pyhome.so\n")
    assert place.pam("verify", "ada", *answers(KEY), "auth")[-1] == f"auth {AUTHINFO_UNAVAIL}"  # nothing has opened it yet
    assert said(place, ROOT, "unlock", "ada", lines=(KEY,)).code == 0
    assert pyhome(place, ROOT, "lock", "ada").code == 0
    lines = place.pam("verify", "ada", *answers(KEY), "auth", "open", READ, "close")
    assert [line for line in lines if not line.startswith("message")] == [OPENED[0], *OPENED[2:]]
    wrong = KEY.replace(b"000gd", b"0010f")
    assert place.pam("verify", "ada", *answers(wrong), "auth")[-1] != "auth 0"


def other_directory(machine: FscryptMachine) -> Path:
    """A second directory that the login protector guards."""
    other = machine.path("/home/other")
    other.mkdir(mode=0o700)
    machine.run(["chown", "ada:ada", "/home/other"])
    machine.fscrypt("encrypt", "/home/other", f"--protector=/:{machine.protector().name}", "--user=ada", "--quiet",
                    said=PASSWORD.decode() + "\n")  # fmt: skip
    (other / "file").write_text("inside", encoding="ascii")
    machine.fscrypt("lock", "/home/other", "--user=ada", "--quiet")
    return other


def test_another_directory_of_the_forgotten_password_is_not_lost(served: FscryptMachine) -> None:
    other = other_directory(served)
    old = served.protector().name
    reset(served, NEW)
    command = ["--home-only", "--password-file", "/root/lines", "ada"]
    served.path("/root").mkdir(exist_ok=True)
    served.path("/root/lines").write_bytes(KEY + b"\n" + NEW + b"\n")
    assert pyhome(served, ROOT, "passwd", *command).code == 0
    protectors = sorted(path.name for path in served.path("/.fscrypt/protectors").iterdir())
    assert len(protectors) == 2
    assert old in protectors
    status = served.fscrypt("status", "/")
    assert status.count("login protector for ada") == 1
    assert 'custom protector "Former login passphrase of ada"' in status
    for service in ("login", "pam_fscrypt"):
        assert served.log_in(NEW, READ, service=service) == OPENED
    served.fscrypt("unlock", "/home/other", f"--unlock-with=/:{old}", "--quiet", "--user=ada", said=PASSWORD.decode() + "\n")
    assert (other / "file").read_text(encoding="ascii") == "inside"
    served.fscrypt("lock", "/home/other", "--user=ada", "--quiet")


def test_a_person_is_told_of_the_other_directory(place: FscryptMachine) -> None:
    other_directory(place)
    reset(place, NEW)
    lines = place.pam("login", "ada", HIMSELF, *answers(NEW, KEY, OTHER, OTHER), "chauthtok")
    assert any("other encrypted directories of ada open with the old password only" in line for line in lines)


@pytest.mark.parametrize("uid", [ROOT, ADA])
def test_trying_the_paper_copy_changes_nothing(served: FscryptMachine, uid: int) -> None:
    before = {path: path.read_bytes() for path in (*recovery_protectors(served), served.policy(), served.protector())}
    ran = said(served, uid, "recovery", "test", "ada", lines=(SLOPPY,))
    assert (ran.code, ran.out, ran.err) == (0, "This recovery key opens the home of ada.\n", "")
    assert {path: path.read_bytes() for path in before} == before
    assert not served.is_open()
    assert not served.kept().exists()
    found = json.loads(said(served, uid, "recovery", "test", "ada", "--json", lines=(KEY,)).out)
    assert (found["changed"], found["home"]["state"]) == (False, "locked")


def test_what_is_wrong_with_it_is_said(served: FscryptMachine) -> None:
    mistyped = said(served, ADA, "recovery", "test", lines=(KEY.replace(b"0m308", b"0m309"),))
    assert (mistyped.code, mistyped.out, mistyped.err) == (
        80,
        "",
        "pyhome recovery test: this is no recovery key: mistyped in group 3; compare it with the paper, group by group\n",
    )
    wrong = said(served, ADA, "recovery", "test", lines=(emit_recovery(bytes(20)).encode(),))
    assert (wrong.code, wrong.out) == (81, "")
    assert wrong.err.startswith("pyhome recovery test: this recovery key does not open the home of ada; ")
    assert said(served, ADA, "recovery", "test", lines=(PASSWORD,)).code == 80
    assert said(served, ADA, "recovery", "test").code == 47
    assert said(served, ADA, "recovery", "test", "root", lines=(KEY,)).code == 42


@pytest.mark.parametrize(("uid", "answer"), [(ROOT, SLOPPY), (ADA, PASSWORD)])
@pytest.mark.guarantee(1)
def test_a_new_key(served: FscryptMachine, uid: int, answer: bytes) -> None:
    served.log_in(PASSWORD)  # leaves good copies
    (old,) = recovery_protectors(served)
    assert (served.kept() / f"fscrypt-protector-{old.name}").exists()
    key = new_key(said(served, uid, "recovery", "new", "ada", lines=(answer,)))
    assert key != KEY
    assert said(served, uid, "recovery", "test", "ada", lines=(KEY,)).code == 81
    assert said(served, uid, "recovery", "test", "ada", lines=(key,)).code == 0
    assert opens_with_tool(served, key)
    assert not opens_with_tool(served, KEY)
    assert old not in recovery_protectors(served)
    everybody_opens(served, PASSWORD)
    assert [path for path in served.kept().iterdir() if old.name in path.name or old.name.encode() in path.read_bytes()] == []
    # It does not come back when the policy is lost.
    served.policy().unlink()
    assert said(served, uid, "recovery", "test", "ada", lines=(KEY,)).code == 81
    assert served.log_in(PASSWORD, READ) == OPENED
    assert opens_with_tool(served, key)


def test_a_home_with_a_recovery_passphrase_of_fscrypts(bare: FscryptMachine) -> None:
    """It opens the home, and gives way to a key."""
    install(bare)
    bare.add_user("ada", ADA, password=crypt(PASSWORD), encrypted=False)
    passphrase = b"qwertyuiopasdfghjklz"
    bare.inside("create", PASSWORD, passphrase)
    bare.inside("lock")
    assert bare.inside("verify", passphrase) == "ok"
    assert said(bare, ROOT, "recovery", "test", "ada", lines=(passphrase.upper(),)).code == 0
    key = new_key(said(bare, ROOT, "recovery", "new", "ada", lines=(passphrase,)))
    assert bare.inside("verify", key) == "ok"
    assert bare.inside("verify", passphrase).startswith("WrongPassphraseError")


def test_a_home_that_fscrypt_made_gets_one(bare: FscryptMachine) -> None:
    install(bare)
    bare.add_fscrypt_home("ada", ADA, PASSWORD)
    ran = said(bare, ROOT, "recovery", "new", "ada", "--json", lines=(PASSWORD,))
    found = json.loads(ran.out)
    assert found["changed"] is True
    assert [slot["kind"] for slot in found["home"]["slots"]] == ["login password", "recovery key"]
    assert opens_with_tool(bare, found["recovery_key"].encode())
    everybody_opens(bare, PASSWORD)


def test_inspect_names_the_slot(place: FscryptMachine) -> None:
    ran = pyhome(place, ROOT, "inspect", "ada")
    (protector,) = recovery_protectors(place)
    assert f"/home/.fscrypt/protectors/{protector.name}: recovery key\n" in ran.out


def test_a_wrong_password_gets_no_key(served: FscryptMachine) -> None:
    before = served.policy().read_bytes()
    ran = said(served, ADA, "recovery", "new", lines=(b"wrong",))
    assert (ran.code, ran.out) == (13, "")
    assert served.policy().read_bytes() == before


def test_a_login_protector_that_is_lost_altogether(served: FscryptMachine) -> None:
    """Without any good copy: the key opens the home and makes a new one."""
    served.protector().unlink()
    ran = said(served, ADA, "passwd", lines=(KEY, PASSWORD))
    assert ran.code == 0, ran
    everybody_opens(served, PASSWORD)


def test_a_damaged_login_protector(served: FscryptMachine) -> None:
    served.protector().write_bytes(b"\x0a\x02no")
    assert said(served, ADA, "unlock", lines=(KEY,)).code == 0
    assert pyhome(served, ADA, "lock").code == 0
    ran = said(served, ADA, "passwd", "--home-only", lines=(KEY, PASSWORD))
    assert ran.code == 0, ran
    assert served.log_in(PASSWORD, READ) == OPENED


def test_what_others_put_beside_it(place: FscryptMachine) -> None:
    """Where everybody may write metadata, only what is ada's is read or removed, and no link is followed."""
    protectors = place.path("/.fscrypt/protectors")
    for path in (protectors, place.path("/home/.fscrypt/protectors")):
        path.chmod(0o1777)
    (recovery,) = recovery_protectors(place)
    mine = place.protector()
    forged = protectors / "0123456789abcdef"
    forged.write_bytes(mine.read_bytes().replace(mine.name.encode(), forged.name.encode()))
    os.chown(forged, BOB, BOB)  # as if it were another login protector of ada's
    (protectors / "fedcba9876543210").symlink_to("/etc/shadow")
    os.mkfifo(protectors / "00000000ffffffff")
    place.path("/.fscrypt/victim").write_bytes(recovery.read_bytes())
    before = place.snapshot("/etc")
    reset(place, NEW)
    assert said(place, ROOT, "passwd", "ada", "--home-only", lines=(KEY, NEW)).code == 0
    assert set(differences(before, place.snapshot("/etc"))) <= {"/etc/shadow", "/etc/.pwd.lock"}  # of the reset
    assert not mine.exists()
    assert forged.exists()
    assert len(list(protectors.iterdir())) == 4
    recovery.unlink()
    recovery.symlink_to("/.fscrypt/victim")
    assert said(place, ROOT, "recovery", "test", "ada", lines=(KEY,)).code == 81
    key = new_key(said(place, ROOT, "recovery", "new", "ada", lines=(NEW,)))
    assert place.path("/.fscrypt/victim").exists()
    assert said(place, ROOT, "recovery", "test", "ada", lines=(key,)).code == 0


def test_a_key_that_nobody_took_is_not_the_one(served: FscryptMachine) -> None:
    """Who asks pyhomed for a new one and hangs up while it is shown keeps the old one."""
    answer = broker.packet(broker.ANSWER, PASSWORD)
    packets = [broker.request_packet(Request(broker.NEW_KEY)), answer, broker.packet(broker.SAY, b"x")]
    (came,) = send(served, ADA, packets)
    assert [int(packet[:2], 16) for packet in came] == [broker.PROMPT, broker.SHOW_KEY]
    assert said(served, ADA, "recovery", "test", lines=(KEY,)).code == 0
