"""What a site has PAM ask after a key is asked with `--unlock-at-login` too, whatever is changed afterwards."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pexpect  # type: ignore[import-untyped]  # the package has no annotations
import pytest

from pam_pyhome.sshd.config import UNLOCK_METHODS
from tests.pam.harness import MODULES, eventually
from tests.sshd.full import PASSWORD, STACK
from tests.sshd.harness import CONFIG, DROP_IN
from tests.sshd.test_ssh_unlock import ASKED, silent, terminal, words

if TYPE_CHECKING:
    from tests.sshd.full import FullMachine

pytestmark = pytest.mark.guarantee(14)

LOGIN = "login word"
CODE = "314159"
REFUSED, ARRIVED = 255, 3
ASKING = CONFIG.replace("KbdInteractiveAuthentication no", "KbdInteractiveAuthentication yes")
METHODS = "AuthenticationMethods publickey,keyboard-interactive"
OTP = "auth required pam_otp.so\n"
PROMPTS = ["(?i)password: ", "Code: ", pexpect.EOF]


@pytest.fixture(scope="session")
def otp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    module = tmp_path_factory.mktemp("otp") / "pam_otp.so"
    source = str(Path(__file__).with_name("pam_otp.c"))
    subprocess.run(["cc", "-shared", "-fPIC", "-o", str(module), source, "-lpam"], check=True)
    return module


@pytest.fixture
def site(full: FullMachine, otp: Path) -> FullMachine:
    """Ada and bob have login passwords and keys, and there is a module for a second factor."""
    full.path(MODULES / "pam_otp.so").write_bytes(otp.read_bytes())
    for user in ("ada", "bob"):
        full.authorize(user, full.line)
        full.set_password(user, LOGIN)
    full.config(ASKING)
    return full


def login(machine: FullMachine, user: str, password: str, code: str = CODE, *options: str) -> tuple[int, list[str]]:
    """Log in by key, and answer what is asked: how that ended, and what was asked."""
    given = words(machine, "NumberOfPasswordPrompts=1", "ConnectionAttempts=10", *options)
    session = terminal(machine, "ssh", *given, f"{user}@127.0.0.1", "echo arrived; exit 3")
    asked = []
    while (which := session.expect(PROMPTS)) < 2:
        asked.append(("password", "code")[which])
        session.sendline((password, code)[which])
    session.close()
    return int(session.exitstatus or 0), asked


def reload(machine: FullMachine) -> None:
    """Have the running sshd read its configuration again."""
    machine.run(["/bin/sh", "-c", "kill -HUP $(cat /run/sshd.pid)"])
    assert eventually(machine.answers)


BLOCKS = [
    "Match User ada,bob",
    "Match Group bob,ada",
    "Match Address 127.0.0.0/8",
    'Match Host "127.0.0.1" User *',
    "Match LocalPort *",
]


def test_a_match_block_that_comes_later_loses_nothing(site: FullMachine) -> None:
    site.pyhome("apply", "--yes", "--unlock-at-login")
    site.start_sshd()
    assert silent(site, "bob").returncode == ARRIVED
    blocks = [block.replace("LocalPort *", f"LocalPort {site.port}") for block in BLOCKS]
    for block in blocks:
        site.config(f"{ASKING}{block}\n    {METHODS}\n")
        reload(site)
        assert login(site, "bob", LOGIN) == (ARRIVED, ["password"]), block
    # The same words as ours, in an included file, for a user whose home is locked: the login password is asked for, and opens it.
    site.config(ASKING)
    site.drop_in("50-site.conf", f"Match User ada\n    {METHODS}:pam\n")
    reload(site)
    assert login(site, "ada", LOGIN) == (ARRIVED, ["password"])
    assert login(site, "ada", PASSWORD) == (REFUSED, ["password"])
    assert silent(site, "bob").returncode == ARRIVED
    said = site.pyhome("check", status=1)
    assert f"50-site.conf:2: has PAM ask after the key by {METHODS}:pam" in said


def test_another_sshd_has_its_own_rules(site: FullMachine) -> None:
    """One that reads another file, or is started with other words, with the same PAM file."""
    site.pyhome("apply", "--yes", "--unlock-at-login")
    site.path("/etc/ssh/admin_config").write_text(f"{ASKING.replace('Include', '#')}{METHODS}:pam\n", encoding="ascii")
    for arguments in (["-f", "/etc/ssh/admin_config"], ["-o", f"{METHODS.replace(' ', '=')}:pam"]):
        site.start_sshd(*arguments)
        assert login(site, "bob", LOGIN) == (ARRIVED, ["password"])
    site.start_sshd("-f", "/etc/ssh/sshd_config")
    assert silent(site, "bob").returncode == ARRIVED


STACKS = {
    "behind": f"auth required pam_unix.so\n{OTP}",
    "before": f"{OTP}auth required pam_unix.so\n",
    "included": "@include common-auth\n",
    "in a substack": "auth substack common-auth\n",
    "jumped": f"auth [success=1 default=ignore] pam_unix.so\nauth requisite pam_deny.so\n{OTP}auth required pam_permit.so\n",
    "absent, and unknown": "auth required pam_unix.so\nauth requisite pam_never_heard_of.so\n",
    "sufficient": "auth required pam_unix.so\nauth sufficient pam_otp.so\nauth requisite pam_deny.so\n",
}


def write_stack(machine: FullMachine, stack: str) -> None:
    """One of `STACKS` for sshd."""
    machine.write_stack("common-auth", f"auth [success=1 default=ignore] pam_unix.so\nauth requisite pam_deny.so\n{OTP}")
    machine.write_stack("sshd", STACKS[stack] + STACK.partition("\n")[2])


def mend(machine: FullMachine) -> None:
    """Run the command that a refusal names."""
    said = machine.pyhome("plan", "--unlock-at-login", status=18)
    machine.run(shlex.split(said.partition("what helps: ")[2].strip()))


def test_other_modules_are_not_passed_over(site: FullMachine) -> None:
    """`apply` refuses, changes nothing, and names a command after which it works."""
    for stack in STACKS:
        write_stack(site, stack)
        before = site.etc()
        said = site.pyhome("apply", "--yes", "--unlock-at-login", status=18)
        assert re.search(r"/etc/pam.d/(sshd|common-auth):\d: has pam_(otp|never_heard_of).so, which may ask for more", said), said
        assert site.etc() == before
        mend(site)
        site.pyhome("plan", "--unlock-at-login")


@pytest.mark.parametrize("stack", ["in a substack", "sufficient"])
def test_behind_other_modules_everything_is_asked(site: FullMachine, stack: str) -> None:
    write_stack(site, stack)
    mend(site)
    site.pyhome("apply", "--yes", "--unlock-at-login")
    site.pyhome("check")
    site.start_sshd()
    for user in ("ada", "bob"):
        ended, asked = login(site, user, LOGIN)
        assert (ended, "code" in asked) == (ARRIVED, True)
    assert login(site, "bob", LOGIN, "wrong")[0] == REFUSED


def test_methods_of_the_sites_own_are_not_passed_over(site: FullMachine) -> None:
    """Key, password and code for administrators: for them it stays so, with and without a home that is locked."""
    site.config(f"{ASKING}Match Group ada,bob\n    {METHODS}\n")
    site.write_stack("sshd", STACKS["behind"] + STACK.partition("\n")[2])
    site.pyhome("apply", "--yes", "--unlock-at-login", status=18)
    site.write_stack("sshd", STACK)
    said = site.pyhome("apply", "--yes", "--unlock-at-login", status=18)
    assert f"sshd_config:6: has PAM ask after the key by {METHODS}, and" in said
    site.write_stack("sshd", STACKS["behind"] + STACK.partition("\n")[2])
    mend(site)
    site.pyhome("apply", "--yes", "--unlock-at-login")
    site.start_sshd()
    for user in ("ada", "bob"):
        assert login(site, user, LOGIN) == (ARRIVED, ["password", "code"])
        assert login(site, user, LOGIN, "wrong")[0] == REFUSED


def test_what_comes_later_is_found(site: FullMachine) -> None:
    site.pyhome("apply", "--yes", "--unlock-at-login")
    site.pyhome("check")
    stack = site.path("/etc/pam.d/sshd")
    stack.write_text(stack.read_text(encoding="ascii").replace("account", f"{OTP}account", 1), encoding="ascii")
    said = site.pyhome("check", status=1)
    assert "/etc/pam.d/sshd:3: has pam_otp.so, which may ask for more than the password" in said
    site.run(shlex.split(re.findall(r"what helps: (.*)", said)[0]))
    site.pyhome("check")
    lines = stack.read_text(encoding="ascii").splitlines()
    assert [line.split()[-1] for line in lines[:3]] == ["pam_unix.so", "pam_otp.so", "ssh-unlock"]


def test_what_was_silent_stays_silent_where_the_site_has_methods_of_its_own(site: FullMachine) -> None:
    """No passwords at all, and a user for whom another method would be enough if it were not switched off."""
    keys_only = f"{CONFIG}PasswordAuthentication no\nMatch User bob\n    AuthenticationMethods publickey keyboard-interactive\n"
    site.config(keys_only)
    site.pyhome("apply", "--yes", "--unlock-at-login")
    site.start_sshd()
    assert silent(site, "bob", "BatchMode=yes").returncode == ARRIVED
    assert login(site, "bob", LOGIN, CODE, "PubkeyAuthentication=no") == (REFUSED, [])
    assert login(site, "ada", LOGIN, CODE, "PubkeyAuthentication=no") == (REFUSED, [])


def test_what_0_1_0_wrote_is_taken_for_ours_once_it_is_marked(site: FullMachine) -> None:
    site.pyhome("apply", "--yes", "--unlock-at-login")
    drop_in = site.path(DROP_IN)
    new = drop_in.read_text(encoding="ascii")
    once = UNLOCK_METHODS.split()[0]
    drop_in.write_text(new.replace(UNLOCK_METHODS, once), encoding="ascii")
    assert "0-pyhome.conf: is not as it should be" in site.pyhome("check", status=1)
    site.pyhome("apply", "--yes")
    assert drop_in.read_text(encoding="ascii") == new
    site.start_sshd()
    session = terminal(site, "ssh", *words(site), "ada@127.0.0.1", "echo arrived; exit 3")
    session.expect_exact(ASKED)
    session.close(force=True)
