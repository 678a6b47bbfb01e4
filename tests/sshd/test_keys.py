"""Whose keys get into the layout, when, and what keeps them there."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.pam.harness import REPOSITORY
from tests.sshd.harness import ADA, BOB, CONFIG, DROP_IN, LAYOUT, STATE

if TYPE_CHECKING:
    from pathlib import Path

    from tests.sshd.harness import SshdMachine

OWN = "/home/ada/.ssh/authorized_keys"


def test_a_locked_home_lets_its_owner_in_and_an_open_one_still_does(served: SshdMachine) -> None:
    second_key, second = served.new_key("second", "-t", "ecdsa")
    served.authorize("ada", served.line)
    served.authorize("ada", second, "authorized_keys2")
    served.pyhome("apply", "--yes")
    for _ in range(2):
        assert served.lets_in("ada", served.key)
        assert served.lets_in("ada", second_key)
        assert not served.lets_in("bob", served.key)
        served.hide_home("ada")
    served.pyhome("apply", "--yes")
    assert served.lets_in("ada", second_key)
    (told,) = served.records("sshd-changed")  # the second run changed nothing
    assert str(DROP_IN) in told["PYHOME_WHY"]


def test_a_users_own_edits_arrive_by_sync(served: SshdMachine) -> None:
    served.authorize("ada", served.line)
    served.pyhome("apply", "--yes")
    key, line = served.new_key("new")
    served.authorize("ada", served.line + line)
    assert "1 path to write" in served.pyhome("sync", "ada", "--yes")
    served.authorize("ada", line)
    served.pyhome("sync", "ada", "--yes")
    served.hide_home("ada")
    assert served.lets_in("ada", key)
    assert not served.lets_in("ada", served.key)
    assert "nothing to change" in served.pyhome("sync", "ada", "--yes")


def test_a_locked_home_takes_no_key_away_but_may_show_one(machine: SshdMachine) -> None:
    machine.encrypt("ada")
    machine.authorize("ada", machine.line)
    machine.pyhome("apply", "--yes")
    machine.hide_home("ada")
    _, lower = machine.new_key("lower")
    machine.authorize("ada", lower)
    machine.settle()
    machine.pyhome("sync", "ada", "--yes")
    machine.pyhome("apply", "--yes")
    held = machine.laid_out("ada") or b""
    assert machine.line in held
    assert lower in held
    machine.path(OWN).unlink()
    machine.pyhome("sync", "ada", "--yes")
    assert machine.laid_out("ada") == held


def test_an_empty_locked_home_takes_no_key_away(machine: SshdMachine) -> None:
    machine.authorize("ada", machine.line)
    machine.pyhome("apply", "--yes")
    held = machine.laid_out("ada")
    machine.hide_home("ada")
    machine.pyhome("sync", "ada", "--yes")
    machine.path("/home/bob").rename(machine.path("/home/gone"))
    machine.pyhome("apply", "--yes")
    assert machine.laid_out("ada") == held


def test_deleting_the_file_in_an_open_home_takes_the_keys_away(machine: SshdMachine) -> None:
    path = machine.authorize("ada", machine.line)
    machine.pyhome("apply", "--yes")
    path.unlink()
    machine.pyhome("sync", "ada", "--yes")
    assert machine.laid_out("ada") is None


@pytest.mark.guarantee(5)
def test_removing_the_whole_directory_takes_the_keys_away(served: SshdMachine) -> None:
    served.authorize("bob", served.line)
    served.pyhome("apply", "--yes")
    assert served.lets_in("bob", served.key)
    shutil.rmtree(served.path("/home/bob/.ssh"))
    served.pyhome("sync", "bob", "--yes")
    assert served.laid_out("bob") is None
    assert not served.lets_in("bob", served.key)


def test_a_home_that_cannot_be_looked_into_takes_no_key_away(machine: SshdMachine) -> None:
    machine.authorize("ada", machine.line)
    machine.pyhome("apply", "--yes")
    held = machine.laid_out("ada")
    machine.path("/home/ada").chmod(0)
    machine.pyhome("sync", "ada", "--yes")
    assert machine.laid_out("ada") == held


# Accounts that are made anew under an old name. What runs whenever /etc/passwd changes is run by hand here.

SYNC = "import sys; sys.path[:0] = [sys.argv.pop(1)]; from pam_pyhome.sshd.at_close import main; main()"
LINE = "ada:x:{uid}:{uid}::/home/ada:/bin/sh"


def remake(machine: SshdMachine, uid: int, *, skeleton: bool) -> None:
    """`userdel -r ada; useradd -u UID ada`, with the home directory of `useradd -m` or without one."""
    passwd = machine.path("/etc/passwd")
    lines = [line for line in passwd.read_text(encoding="ascii").splitlines() if not line.startswith("ada:")]
    passwd.write_text("\n".join([*lines, LINE.format(uid=uid), ""]), encoding="ascii")
    shutil.rmtree(machine.path("/home/ada"))
    if skeleton:
        home = machine.path("/home/ada")
        home.mkdir(mode=0o700)
        (home / ".profile").touch()
        for path in (home, home / ".profile"):
            os.chown(path, uid, uid)


@pytest.mark.guarantee(5)
@pytest.mark.parametrize(("uid", "skeleton"), [(ADA + 7, True), (ADA + 7, False), (ADA, True), (ADA, False)])
def test_the_key_of_somebody_who_had_the_name_before(served: SshdMachine, uid: int, skeleton: bool) -> None:
    served.authorize("ada", served.line)
    served.authorize("bob", served.line)
    served.pyhome("apply", "--yes")
    assert served.lets_in("ada", served.key)
    remake(served, uid, skeleton=skeleton)
    assert "ada" in served.pyhome("check", status=1)
    served.run(["/usr/bin/python3", "-B", "-c", SYNC, str(REPOSITORY)])
    assert not served.lets_in("ada", served.key)
    assert served.lets_in("bob", served.key)


def test_a_home_whose_disk_is_away_takes_no_key_away(machine: SshdMachine) -> None:
    machine.run(["/bin/mount", "-t", "tmpfs", "disk", "/home"])
    machine.path("/home/ada").mkdir()
    os.chown(machine.path("/home/ada"), ADA, ADA)
    machine.authorize("ada", machine.line)
    machine.pyhome("apply", "--yes")
    held = machine.laid_out("ada")
    machine.run(["/bin/umount", "/home"])
    for there in (True, False):
        machine.pyhome("sync", "ada", "--yes")
        assert machine.laid_out("ada") == held, there
        if there:
            shutil.rmtree(machine.path("/home/ada"))


# What may stand in the place of the file, and whether that leaves keys that are in the layout already.


def as_link(file: Path) -> None:
    file.rename(file.with_name("real"))
    file.symlink_to("real")


def as_link_on_the_way(file: Path) -> None:
    file.parent.rename(file.parent.with_name("real"))
    file.parent.symlink_to("real")


def as_link_to_another_user(file: Path) -> None:
    file.unlink()
    file.symlink_to("/home/bob/.ssh/authorized_keys")


def as_hard_link_to_another_user(file: Path) -> None:
    file.unlink()
    os.link(file.parent.parent.parent / "bob/.ssh/authorized_keys", file)


def as_directory(file: Path) -> None:
    file.unlink()
    file.mkdir()


def as_fifo(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def as_unreadable(file: Path) -> None:
    file.chmod(0)


def as_anothers(file: Path) -> None:
    os.chown(file, BOB, BOB)


def as_writable_by_others(file: Path) -> None:
    file.chmod(0o666)


def as_writable_by_a_group(file: Path) -> None:
    os.chown(file.parent, ADA, BOB)
    file.parent.chmod(0o770)


def as_huge(file: Path) -> None:
    with file.open("wb") as stream:
        stream.truncate(1 << 40)


@pytest.mark.parametrize(
    "spoil",
    [
        as_link, as_link_on_the_way, as_link_to_another_user, as_hard_link_to_another_user, as_directory, as_fifo, as_unreadable,
        as_anothers, as_writable_by_others, as_writable_by_a_group, as_huge,
    ],
)  # fmt: skip
def test_a_file_not_to_be_believed(machine: SshdMachine, spoil: object) -> None:
    """It is reported, it adds nothing, it takes nothing away, and nobody waits for it."""
    assert callable(spoil)
    _, bobs = machine.new_key("bobs")
    machine.authorize("bob", bobs)
    path = machine.authorize("ada", machine.line)
    machine.pyhome("apply", "--yes")
    held = machine.laid_out("ada")
    _, planted = machine.new_key("planted")
    path.write_bytes(machine.line + planted)
    spoil(path)
    assert OWN in machine.pyhome("sync", "ada", "--yes")
    assert OWN in machine.pyhome("apply", "--yes")
    assert machine.laid_out("ada") == held
    machine.path(LAYOUT / "ada").unlink()
    machine.pyhome("apply", "--yes")
    assert machine.laid_out("ada") is None


def test_bad_lines_are_named_and_kept_out(machine: SshdMachine) -> None:
    odd = b'\r\n# note\r\ncommand="echo \\"a, b\\" #",no-pty ' + machine.line.rstrip(b"\n") + b" \xff\r\n"
    machine.authorize("ada", b"ssh-rsa AAAA\n" + odd + b"\x1b[2Jrubbish\n" + b"cert-authority " + machine.line)
    said = machine.pyhome("apply", "--yes")
    assert f"{OWN}:1: " in said
    assert f"{OWN}:5: " in said
    assert "\x1b" not in said
    held = machine.laid_out("ada") or b""
    assert held.endswith(odd + b"cert-authority " + machine.line)
    assert b"rubbish" not in held
    assert f"{OWN}:1" in machine.pyhome("check")


def test_options_work_from_the_layout(served: SshdMachine) -> None:
    served.authorize("ada", b'command="echo \\"forced: $SSH_ORIGINAL_COMMAND\\"" ' + served.line)
    served.pyhome("apply", "--yes")
    served.hide_home("ada")
    assert served.ssh("ada", served.key, "hello").stdout == b"forced: hello\n"


def test_a_certificate_authority_works_from_the_layout(served: SshdMachine) -> None:
    authority, line = served.new_key("authority")
    subprocess.run(
        ["ssh-keygen", "-q", "-s", str(authority), "-I", "ada", "-n", "ada", f"{served.key}.pub"], check=True
    )
    served.authorize("ada", b'cert-authority,principals="ada" ' + line)
    served.pyhome("apply", "--yes")
    served.hide_home("ada")
    assert served.lets_in("ada", served.key)


def test_no_keys_and_ten_thousand(served: SshdMachine) -> None:
    served.authorize("bob", b"")
    _, other = served.new_key("other")
    served.authorize("ada", other * 9_999 + served.line)
    served.pyhome("apply", "--yes")
    assert served.laid_out("bob") is None
    assert (served.laid_out("ada") or b"").count(b"\n") == 10_002
    served.hide_home("ada")
    assert served.lets_in("ada", served.key)


def test_unusual_names(served: SshdMachine) -> None:
    for uid, name in enumerate(("ada.l", "ada@example.org"), 61010):
        served.add_user(name, uid, encrypted=False)
        served.authorize(name, served.line)
    served.pyhome("apply", "--yes")
    for name in ("ada.l", "ada@example.org"):
        served.hide_home(name)
        assert served.lets_in(name, served.key)
    served.pyhome("check", "ada.l", "ada@example.org")


@pytest.mark.parametrize("name", ["..", "../../root/x", "a/b", ".pyhome-staged"])
def test_hostile_names_stay_where_they_are(machine: SshdMachine, name: str) -> None:
    home = machine.path("/home/hostile")
    with machine.path("/etc/passwd").open("a", encoding="ascii") as passwd:
        passwd.write(f"{name}:x:61020:61020::/home/hostile:/bin/sh\n")
    home.mkdir()
    os.chown(home, 61020, 61020)
    machine.authorize("hostile", machine.line)
    before = machine.etc()
    said = machine.pyhome("apply", "--yes")
    assert "cannot be the name of a key file" in said
    assert set(machine.etc()) - set(before) == {str(LAYOUT), str(DROP_IN)}
    machine.pyhome("sync", name, "--yes")
    assert set(machine.etc()) - set(before) == {str(LAYOUT), str(DROP_IN)}


def test_a_removed_user_is_named_and_pruned_on_request(machine: SshdMachine) -> None:
    machine.authorize("bob", machine.line)
    machine.pyhome("apply", "--yes")
    passwd = machine.path("/etc/passwd")
    text = passwd.read_text(encoding="ascii")
    passwd.write_text("".join(line for line in text.splitlines(keepends=True) if not line.startswith("bob:")), encoding="ascii")
    assert f"{LAYOUT}/bob: is of a user who does not exist" in machine.pyhome("check")
    machine.pyhome("apply", "--yes")
    assert machine.laid_out("bob") is not None
    machine.pyhome("apply", "--yes", "--prune")
    assert machine.laid_out("bob") is None


def test_what_the_administrator_put_into_the_layout_stays(machine: SshdMachine) -> None:
    directory = machine.path(LAYOUT)
    directory.mkdir()
    _, given = machine.new_key("given")
    (directory / "ada").write_bytes(b"# from the administrator\n" + given)
    machine.authorize("ada", machine.line)
    machine.pyhome("apply", "--yes")
    machine.authorize("ada", b"")
    machine.pyhome("sync", "ada", "--yes")
    assert machine.laid_out("ada") == b"# from the administrator\n" + given


def test_what_is_in_the_layout_and_not_ours_is_left_alone(machine: SshdMachine) -> None:
    directory = machine.path(LAYOUT)
    directory.mkdir()
    (directory / "ada").symlink_to("/etc/hostname")
    (directory / "bob").write_bytes(machine.line)
    os.chown(directory / "bob", BOB, BOB)
    for user in ("ada", "bob"):
        machine.authorize(user, machine.line)
    said = machine.pyhome("apply", "--yes")
    assert f"{LAYOUT}/ada: is a link" in said
    assert f"{LAYOUT}/bob: is owned by uid {BOB}" in said
    assert (directory / "ada").is_symlink()
    assert (directory / "bob").stat().st_uid == BOB


@pytest.mark.parametrize(("setting", "ada", "bob"), [("sshd_sync = no", False, False), ("sshd_sync_off = ada, eve", False, True)])
def test_the_administrator_switches_syncing_off(machine: SshdMachine, setting: str, ada: bool, bob: bool) -> None:
    machine.configure(f"{setting}\n")
    for user in ("ada", "bob"):
        machine.authorize(user, machine.line)
    machine.pyhome("apply", "--yes")
    for user, wanted in (("ada", ada), ("bob", bob)):
        assert (machine.laid_out(user) is not None) is wanted
        said = machine.pyhome("sync", user, "--yes", status=0 if wanted else 18)
        assert ("switched off" in said) is not wanted
    machine.configure("")
    machine.pyhome("apply", "--yes")
    assert machine.laid_out("ada") is not None


def test_settings_that_others_can_write_are_not_believed(machine: SshdMachine) -> None:
    machine.configure("sshd_sync = no\n")
    machine.path("/etc/pyhome.conf").chmod(0o666)
    assert "/etc/pyhome.conf" in machine.pyhome("apply", "--yes", status=15)


def test_only_those_with_encrypted_homes_if_so_chosen(machine: SshdMachine) -> None:
    machine.configure("sshd_users = encrypted\n")
    machine.encrypt("ada")
    for user in ("ada", "bob"):
        machine.authorize(user, machine.line)
    machine.pyhome("apply", "--yes")
    assert machine.laid_out("ada") is not None
    assert machine.laid_out("bob") is None


def test_files_with_suffixes(served: SshdMachine) -> None:
    served.config(f"{CONFIG}AuthorizedKeysFile /etc/ssh/authorized_keys.%u .ssh/authorized_keys\n")
    before = served.etc()
    _, given = served.new_key("given")
    served.path("/etc/ssh/authorized_keys.bob").write_bytes(given)
    served.authorize("ada", served.line)
    served.pyhome("apply", "--yes")
    assert served.effective("ada") == "/etc/ssh/authorized_keys.%u .ssh/authorized_keys"
    served.hide_home("ada")
    assert served.lets_in("ada", served.key)
    assert "revert" in served.pyhome("apply", "--yes", "--layout", "directory", status=18)
    assert served.path("/etc/ssh/authorized_keys.bob").read_bytes() == given
    served.pyhome("revert", "--yes")
    served.path("/etc/ssh/authorized_keys.bob").unlink()
    assert served.etc() == before


def test_nothing_without_a_layout_or_without_sshd(machine: SshdMachine) -> None:
    assert "is not in place" in machine.pyhome("sync", "ada", "--yes", status=18)
    machine.path("/usr/sbin/sshd").unlink()
    before = machine.etc()
    for verb in ("plan", "apply"):
        arguments = [verb] if verb == "plan" else [verb, "--yes"]
        assert "sshd: is not installed" in machine.pyhome(*arguments, status=18)
    assert "is not installed" in machine.pyhome("check", status=1)
    assert machine.etc() == before


def test_sync_and_revert_go_on_without_sshd(machine: SshdMachine) -> None:
    before = machine.etc()
    machine.authorize("ada", machine.line)
    machine.pyhome("apply", "--yes")
    machine.path("/usr/sbin/sshd").unlink()
    machine.authorize("ada", machine.line * 2)
    machine.pyhome("sync", "ada", "--yes")
    machine.pyhome("revert", "--yes")
    assert machine.etc() == before


def test_an_unchanged_layout_is_not_read_again_and_a_changed_one_is(machine: SshdMachine) -> None:
    machine.authorize("ada", machine.line)
    machine.settle()
    machine.pyhome("apply", "--yes")
    assert "ada\t" in machine.path(STATE / "index").read_text(encoding="utf-8")
    assert "nothing to change" in machine.pyhome("apply", "--yes")
    machine.path(LAYOUT / "ada").write_bytes(b"")
    assert "differs" in machine.pyhome("check", status=1)
    machine.pyhome("apply", "--yes")
    assert machine.line in (machine.laid_out("ada") or b"")
    machine.authorize("ada", b"# none\n")
    machine.pyhome("apply", "--yes")
    assert machine.laid_out("ada") is None
