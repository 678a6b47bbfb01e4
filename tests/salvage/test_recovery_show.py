"""The recovery key as a QR code and on a page: read back by a real decoder, and never where it must not be."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pexpect  # type: ignore[import-untyped]  # the package has no annotations
import pytest

from tests.create import killed
from tests.create.machine import PASSWORD, PYHOME, CreateMachine
from tests.encrypt.machine import EncryptMachine
from tests.salvage import codes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.pam.harness import Build

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory, build: Build, tree: Path, image: Path) -> Iterator[EncryptMachine]:
    """One for all: every test has users of its own."""
    with EncryptMachine(tmp_path_factory.mktemp("show"), build) as machine:
        machine.furnish(tree)
        machine.furnish_fscrypt(image=image)
        machine.furnish_create()
        yield machine


def recovery_key(said: str) -> str:
    """The key among what was printed, with a code below it."""
    (found,) = re.findall(r"^ {4}(\w{5}(?:-\w{5}){7})\r?$", said, re.MULTILINE)
    return str(found)


def test_on_the_standard_output(machine: EncryptMachine, tmp_path: Path) -> None:
    said = machine.create("qr1", "--qr")
    assert codes.decoded(codes.from_text(said), tmp_path) == recovery_key(said)
    assert "\x1b" not in said


def test_on_a_terminal(machine: EncryptMachine, tmp_path: Path) -> None:
    """Black on white whatever the colours there are; what is read is what is seen."""
    command = machine.enter(["/usr/bin/setsid", "--ctty", PYHOME, "create", "--qr", "qr2"], {})
    terminal = pexpect.spawn(command[0], command[1:], timeout=30, encoding="utf-8", dimensions=(60, 100))
    for prompt in ("Login password of qr2: ", "Login password of qr2 (again): "):
        terminal.expect_exact(prompt)
        terminal.sendline(PASSWORD.decode())
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 0, terminal.before
    coloured = [line for line in terminal.before.splitlines() if "\x1b" in line]
    assert all(line.startswith("\x1b[30;107m") and line.endswith("\x1b[0m") for line in coloured)
    plain = "\n".join(line.removeprefix("\x1b[30;107m").removesuffix("\x1b[0m") for line in coloured)
    key = recovery_key(terminal.before)
    assert codes.decoded(codes.from_text(plain), tmp_path) == key
    modules = codes.from_text(plain)
    assert not any(module for row in (modules[:4] + modules[-4:]) for module in row)
    assert not any(row[:4] != [0] * 4 or row[-4:] != [0] * 4 for row in modules)


@pytest.mark.parametrize("suffix", ["txt", "svg", "SVG"])
def test_a_page_to_print(machine: EncryptMachine, tmp_path: Path, suffix: str) -> None:
    user = f"page-{suffix.lower()}{len(suffix) if suffix.isupper() else ''}"
    path = f"/root/{user}.{suffix}"
    said = machine.create(user, "--recovery-file", path)
    key = recovery_key(said)
    assert f"A page to print with it is in {path}; keep it in a safe place, and remove the file." in said
    status = machine.path(path).stat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_nlink) == (0o600, 0, 1)
    page = machine.read(path)
    if suffix == "txt":
        assert codes.decoded(codes.from_text(page), tmp_path) == key
        words = page
    else:
        words = "\n".join(ET.fromstring(page).itertext())
        assert codes.decoded(codes.from_svg(page), tmp_path) == key
    assert f"/home/{user}" in words
    assert os.uname().nodename in words
    assert "pyhome recover" in words
    first, second = (" - ".join(key.split("-")[start : start + 4]) for start in (0, 4))
    assert words.index(first) < words.index(second)


def test_encrypting_a_home(machine: EncryptMachine, tmp_path: Path) -> None:
    machine.add_plain("plain1", 61011)
    said = machine.convert("encrypt", "--qr", "--recovery-file", "/root/plain1", "plain1")
    key = recovery_key(said)
    assert codes.decoded(codes.from_text(said), tmp_path) == key
    assert codes.decoded(codes.from_text(machine.read("/root/plain1")), tmp_path) == key
    line = machine.convert("encrypt", "--qr", "--json", "plain1", status=2)
    assert "--qr is for people and --json for programs; give one of them" in line


@pytest.mark.parametrize("verb", ["create", "encrypt"])
def test_files_that_are_refused(machine: EncryptMachine, verb: str) -> None:
    user = f"refused-{verb}"
    if verb == "encrypt":
        machine.add_plain(user, 61012)
    else:
        machine.add_user(user, 61013, encrypted=False)
    machine.path("/root/there").write_text("something", encoding="ascii")
    machine.path(f"/root/link-{verb}").symlink_to("/root/nowhere")
    machine.path(f"/root/way-{verb}").symlink_to(f"/home/{user}")
    before = machine.state_of_things()
    for path, reason in (
        ("/root/there", "is there already; name a file that is not there yet"),
        (f"/root/link-{verb}", "is there already; name a file"),
        ("/root/no/such", "No such file or directory; name a file in a directory where it can be written"),
        (f"/home/{user}/key", "is in the home; name one elsewhere"),
        (f"/root/way-{verb}/key", "is in the home; name one elsewhere"),
    ):
        arguments = ("--recovery-file", path, user)
        said = machine.create(*arguments, status=94) if verb == "create" else machine.convert(verb, *arguments, status=94)
        assert said.count("\n") == 1, said
        assert reason in said
        assert machine.state_of_things() == before
    assert machine.read("/root/there") == "something"


def test_without_the_library(machine: EncryptMachine) -> None:
    """Said before anything is done, also before a password is asked for."""
    library = Path("/usr/lib/python3/dist-packages/qrcode")
    machine.run(["mv", str(library), "/root/away"])
    try:
        for option in (("--qr",), ("--recovery-file", "/root/page")):
            line = CreateMachine.refuses(machine, *option, "nobody-new", status=93)
            advice = "'apt install python3-qrcode' (Arch: 'pacman -S python-qrcode') mends that"
            assert line == f"pyhome create: nobody-new: there is no QR code: python3-qrcode is not installed; {advice}\n"
        machine.create("without")
    finally:
        machine.run(["mv", "/root/away", str(library)])


def test_a_page_whose_key_is_void_does_not_stay(machine: EncryptMachine) -> None:
    """Whatever fails after it was written; and when it cannot be written, nothing else is done either."""
    script = str(Path(killed.__file__))

    def run(step: int, user: str) -> tuple[int, str]:
        options = ("--password-file", "-", "--recovery-file", f"/root/void-{user}")
        done = machine.ran("/usr/bin/python3", "-I", "-B", script, "fail", str(step), "create", *options, user)
        return done.returncode, (done.stdout + done.stderr).decode()

    status, said = run(0, "void0")
    assert status == 0, said
    steps = int(said.rpartition("steps=")[2])
    void = 0
    for step in (steps, *range(steps - 46, steps - 82, -4)):  # the last of them only keep copies of the key files
        user = f"void{step}"
        status, said = run(step, user)
        page = machine.path(f"/root/void-{user}")
        assert page.exists() == (status == 0), (step, said)
        assert machine.has_account(user) == (status == 0), (step, said)
        void += "the recovery key above is void" in said
    assert void > 1
