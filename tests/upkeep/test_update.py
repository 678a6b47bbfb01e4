"""`pyhome update`: what is asked for is how the home is from then on, in every phase of a login."""

from __future__ import annotations

import json
import os

import pytest

from pam_pyhome.formats import fscrypt_meta as meta
from tests.create.machine import PASSWORD, CreateMachine
from tests.fscrypt.homes import CONFIG, COSTS
from tests.login.homes import LoginMachine, answers
from tests.pam.harness import eventually
from tests.verbs.command import ROOT, Ran, pyhome

pytestmark = pytest.mark.root

FSCRYPT, ECRYPTFS = 61011, 61012
PEOPLE = {"fay": FSCRYPT, "eve": ECRYPTFS}
SECRET = PASSWORD + b"\n"


@pytest.fixture(scope="module", autouse=True)
def people(served: CreateMachine) -> None:
    served.add_fscrypt_home("fay", FSCRYPT, PASSWORD)
    served.path("/home/.ecryptfs").mkdir(exist_ok=True)
    served.add_home("eve", ECRYPTFS, PASSWORD)


def update(machine: CreateMachine, uid: int, *arguments: str, stdin: bytes = b"") -> Ran:
    return pyhome(machine, uid, "update", *arguments, stdin=stdin)


def facts(machine: CreateMachine, name: str) -> dict[str, object]:
    (home,) = json.loads(pyhome(machine, ROOT, "inspect", name, "--json").out)["homes"]
    assert isinstance(home, dict)
    return home


@pytest.mark.parametrize("name", PEOPLE)
@pytest.mark.parametrize("who", ["root", "the user"])
def test_wishes_are_kept_and_shown(served: CreateMachine, name: str, who: str) -> None:
    uid = ROOT if who == "root" else PEOPLE[name]
    for option, field, value in (
        ("--no-open-at-login", "opens_at_login", False),
        ("--no-lock-at-logout", "locks_at_logout", False),
        ("--open-at-login", "opens_at_login", True),
        ("--lock-at-logout", "locks_at_logout", True),
    ):
        ran = update(served, uid, option, name, "--json")
        assert ran.code == 0, ran
        said = json.loads(ran.out)
        assert said.keys() == {"version", "home", "changed"}
        assert (said["changed"], said["home"][field], facts(served, name)[field]) == (True, value, value)
        again = update(served, uid, option, name)
        assert (again.code, again.out) == (0, f"The home of {name} was so already.\n")
    ran = update(served, uid, "--no-open-at-login", "--no-lock-at-logout", name)
    assert ran.out == (
        f"The home of {name} opens by hand only, with the login password, and stays open after the last session.\n"
    )
    assert update(served, uid, "--open-at-login", "--lock-at-logout", name).code == 0


def test_the_flag_files_are_the_users(served: CreateMachine) -> None:
    assert update(served, ROOT, "--no-open-at-login", "eve").code == 0
    assert not (served.config("eve") / "auto-mount").exists()
    assert update(served, ROOT, "--open-at-login", "eve").code == 0
    status = (served.config("eve") / "auto-mount").stat()
    assert (status.st_uid, status.st_mode & 0o777) == (ECRYPTFS, 0o600)


def test_logins_honour_the_wishes_of_an_fscrypt_home(served: CreateMachine) -> None:
    read = "sh=fay:cat /home/fay/secret"
    opened = ["auth 0", "setcred 0", "open 0", "written while open", "sh 0", "close 0"]
    assert served.log_in(PASSWORD, read, name="fay") == opened
    assert eventually(lambda: not served.is_open("fay"))
    assert update(served, FSCRYPT, "--no-lock-at-logout").code == 0
    assert served.log_in(PASSWORD, read, name="fay") == opened
    assert served.is_open("fay")
    assert pyhome(served, FSCRYPT, "lock").code == 0
    assert not served.is_open("fay")
    assert update(served, FSCRYPT, "--lock-at-logout", "--no-open-at-login").code == 0
    lines = served.log_in(PASSWORD, read, name="fay")
    assert "written while open" not in lines
    assert not served.is_open("fay")
    assert pyhome(served, FSCRYPT, "unlock", "--password-file", "-", stdin=SECRET).code == 0
    assert served.is_open("fay")
    assert pyhome(served, FSCRYPT, "lock").code == 0
    assert update(served, ROOT, "--open-at-login", "fay").code == 0
    assert served.log_in(PASSWORD, read, name="fay") == opened


def test_a_login_of_an_ecryptfs_home_that_is_not_to_be_opened_asks_for_nothing(served: CreateMachine) -> None:
    def tried() -> bool:
        before = len(served.log())
        served.pam("login", "eve", *answers(PASSWORD), "auth", "setcred", "open", "close")
        return "the home was not opened" in served.log()[before:] or "opened the home" in served.log()[before:]

    assert tried()
    assert update(served, ECRYPTFS, "--no-open-at-login").code == 0
    assert not tried()
    assert update(served, ECRYPTFS, "--open-at-login").code == 0


def test_damaged_wishes_are_none(served: CreateMachine) -> None:
    path = served.kept("fay", FSCRYPT) / "wishes"
    assert update(served, ROOT, "--no-open-at-login", "fay").code == 0
    for content in (b"", b"open_at_login=no\n", b"open_at_login=no\nlock_at_logout=no\n\n", bytes(100)):
        path.write_bytes(content)
        assert facts(served, "fay")["opens_at_login"] is True
    assert update(served, ROOT, "--open-at-login", "--lock-at-logout", "fay").code == 0
    path.unlink()
    path.symlink_to("/etc/passwd")
    assert facts(served, "fay")["opens_at_login"] is True
    path.unlink()


def test_a_passphrase_of_its_own_and_back(served: CreateMachine) -> None:
    own = b"another one"
    wrong = update(served, ECRYPTFS, "--passphrase", "own", "--password-file", "-", stdin=b"no\n" + own + b"\n")
    assert wrong.code == 13
    assert LoginMachine.opens(served, PASSWORD, "eve")
    ran = update(served, ECRYPTFS, "--passphrase", "own", "--password-file", "-", stdin=SECRET + own + b"\n")
    assert (ran.code, ran.err) == (0, "")
    assert "with a passphrase of its own" in ran.out
    assert (served.config("eve") / "wrapping-independent").exists()
    assert LoginMachine.opens(served, own, "eve")
    wrong = update(served, ECRYPTFS, "--passphrase", "login", "--password-file", "-", stdin=own + b"\nwrong\n")
    assert wrong.code == 50
    assert wrong.err == (
        "pyhome update: eve: this is not the login password; nothing was changed, give the one that the user logs in with\n"
    )
    assert LoginMachine.opens(served, own, "eve")
    ran = update(served, ECRYPTFS, "--passphrase", "login", "--password-file", "-", stdin=own + b"\n" + SECRET)
    assert ran.code == 0
    assert not (served.config("eve") / "wrapping-independent").exists()
    assert LoginMachine.opens(served, PASSWORD, "eve")


@pytest.mark.guarantee(1)
def test_costs_are_those_of_the_configuration(served: CreateMachine) -> None:
    conf = served.path("/etc/fscrypt.conf")
    before = protector(served)
    dearer = CONFIG | {"hash_costs": dict(COSTS) | {"time": "2", "memory": "128"}}
    conf.write_text(json.dumps(dearer), encoding="ascii")
    try:
        ran = update(served, FSCRYPT, "--costs", "--password-file", "-", stdin=b"wrong\n")
        assert ran.code == 13
        assert protector(served) == before
        assert update(served, FSCRYPT, "--costs", "--password-file", "-", stdin=SECRET).code == 0
        after = protector(served)
        assert after.costs == meta.Costs(2, 128, 2)
        assert after.salt != before.salt
        again = update(served, FSCRYPT, "--costs", "--password-file", "-", stdin=SECRET)
        assert again.out == "The home of fay was so already.\n"
        assert served.opens(PASSWORD, "fay"), "the real tool"
        assert served.log_in(PASSWORD, name="fay")[:3] == ["auth 0", "setcred 0", "open 0"]
        conf.unlink()
        ran = update(served, FSCRYPT, "--costs", "--password-file", "-", stdin=SECRET)
        assert ran.code == 50
        assert "'pyhome update --costs'" in ran.err
    finally:
        conf.write_text(json.dumps(CONFIG), encoding="ascii")


def protector(machine: CreateMachine) -> meta.Protector:
    path = machine.protector()
    return meta.parse_protector(path.read_bytes(), path.name)


REFUSED = {
    "nothing": (FSCRYPT, "", 2, "say what is to be changed; see 'pyhome update --help'"),
    "another's": (FSCRYPT, "--no-open-at-login eve", 42, "the home of eve is not yours; run this as eve, or as root"),
    "nobody's": (ROOT, "--costs nosuch", 41, "there is no user nosuch; check the name"),
    "costs of eCryptfs": (
        ROOT, "--costs eve", 50,
        "eve: the costs of an eCryptfs password are fixed; nothing was changed, a longer password is what makes guessing harder",
    ),
    "an own passphrase of fscrypt": (
        FSCRYPT, "--passphrase own", 50,
        (
            "fay: whether an fscrypt home follows the login password is decided by its protectors, which stay as they are; "
            "nothing was changed, 'fscrypt metadata add-protector-to-policy' adds another one"
        ),
    ),
    "no password": (
        FSCRYPT, "--costs", 47,
        "there is no terminal to ask for the password on; type it at the prompt, or give it with --password-file",
    ),
}  # fmt: skip


def test_refusals_are_one_line_with_a_way_forward(served: CreateMachine) -> None:
    served.path("/etc/fscrypt.conf").write_text(json.dumps(CONFIG | {"hash_costs": dict(COSTS) | {"time": "3"}}), encoding="ascii")
    before = served.snapshot("/home/.fscrypt", "/.fscrypt", "/var/lib/pyhome", "/home/.ecryptfs")
    for name, (uid, line, code, expected) in REFUSED.items():
        ran = update(served, uid, *line.split())
        assert (ran.code, ran.out, ran.err) == (code, "", f"pyhome update: {expected}\n"), name
    assert served.snapshot("/home/.fscrypt", "/.fscrypt", "/var/lib/pyhome", "/home/.ecryptfs") == before
    served.path("/etc/fscrypt.conf").write_text(json.dumps(CONFIG), encoding="ascii")


def test_what_a_user_puts_in_the_place_of_a_flag_is_theirs(served: CreateMachine) -> None:
    """A link instead of a flag: nothing outside the home is made or removed."""
    victim = served.path("/etc/victim")
    victim.write_text("stays\n", encoding="ascii")
    flag = served.config("eve") / "auto-mount"
    flag.unlink()
    flag.symlink_to("/etc/victim")
    assert update(served, ROOT, "--no-open-at-login", "eve").code == 0
    assert not flag.is_symlink()
    assert victim.read_text(encoding="ascii") == "stays\n"
    config = served.config("eve")
    config.rename(config.with_name("moved"))
    config.symlink_to("/etc")
    etc = served.snapshot("/etc")
    assert update(served, ROOT, "--no-open-at-login", "eve").code != 0
    assert update(served, ROOT, "--no-lock-at-logout", "eve").code != 0
    assert served.snapshot("/etc") == etc
    config.unlink()
    config.with_name("moved").rename(config)
    os.chown(config, ECRYPTFS, ECRYPTFS)
    assert update(served, ROOT, "--open-at-login", "eve").code == 0
