"""What is answered without Python, and when a worker is asked."""

from __future__ import annotations

import os

import pytest

from tests.pam.harness import IGNORED, Machine

pytestmark = pytest.mark.root

ALL = ("auth", "account", "open", "close", "chauthtok")
NOTHING = [f"auth {IGNORED}", f"account {IGNORED}", "open 0", "close 0", f"chauthtok {IGNORED}"]
USER_UNKNOWN, AUTHINFO_UNAVAIL = 10, 9


def assert_nothing(machine: Machine, service: str, user: str) -> None:
    """Every phase says that it has no part in this, and no Python has run."""
    assert machine.pam(service, user, *ALL) == NOTHING
    assert machine.worker_runs() == []


def test_an_encrypted_home_is_the_workers_business(machine: Machine) -> None:
    assert machine.pam("test", "ada", *ALL) == ["auth 0", f"account {IGNORED}", "open 0", "close 0", "chauthtok 0"]
    assert machine.worker_runs() == ["1", "4", "6", "6"]


def test_a_user_below_the_ordinary_ones_is_told_that_the_home_is_left_alone(machine: Machine) -> None:
    machine.add_user("below", 501)
    said = machine.pam("test", "below", *ALL)
    assert [line for line in said if not line.startswith("message")] == NOTHING
    told = [line for line in said if line.startswith("message")]
    assert len(told) == 2
    assert all("The encrypted home of below is left alone, because uid 501 is below UID_MIN" in line for line in told)
    assert machine.worker_runs() == []


@pytest.mark.parametrize("user", ["root", "daemon", "nobody", "nemo", "toor"])
def test_root_system_users_and_strangers(machine: Machine, user: str) -> None:
    machine.add_user("toor", 0)  # with what makes an encrypted home
    assert_nothing(machine, "test", user)


def test_users_without_an_encrypted_home(machine: Machine) -> None:
    machine.add_user("bob", 61002, encrypted=False)
    assert_nothing(machine, "test", "bob")


def test_no_program_is_run_for_them(machine: Machine) -> None:
    machine.add_user("bob", 61002, encrypted=False)
    for user, spawned in (("bob", False), ("root", False), ("ada", True)):
        trace = ["strace", "-f", "-qq", "-e", "trace=execve,clone,fork,vfork,clone3", "-o", "/run/trace"]
        environment = machine.build.environment(leaks=False)
        machine.run([*trace, "/opt/test/pamapp", "test", user, *ALL], environment=environment)
        calls = machine.path("/run/trace").read_text(encoding="ascii")
        assert ("clone(" in calls, "python3" in calls) == (spawned, spawned)


def test_where_ordinary_users_begin_is_said_by_login_defs(machine: Machine) -> None:
    machine.path("/etc/login.defs").write_text("# UID_MIN 5\nUID_MIN 62000\nSYS_UID_MIN 100\n", encoding="ascii")
    machine.pam("test", "ada", *ALL)
    assert machine.worker_runs() == []
    machine.path("/etc/login.defs").write_text("UID_MIN\t\t61001\n", encoding="ascii")
    assert machine.pam("test", "ada", "open") == ["open 0"]
    # What is no number, or too large for one, changes nothing.
    for junk in ("-1", "4294967297", "99999999999999999999", "62000x", "+62000", ""):
        machine.path("/etc/login.defs").write_text(f"UID_MIN 61001\nUID_MIN {junk}\nUID_MINX 62000\n", encoding="ascii")
        assert machine.pam("test", "ada", "open") == ["open 0"]
    assert machine.worker_runs() == ["4"] * 7


@pytest.mark.parametrize("service", ["cron", "crond", "atd", "sudo", "sudo-i", "systemd-user"])
def test_services_skipped_by_default(machine: Machine, service: str) -> None:
    machine.write_pam(service)
    assert_nothing(machine, service, "ada")
    assert machine.leases(61001) == []


def test_other_services_skipped(machine: Machine) -> None:
    machine.write_pam("comma", "skip_services=x,comma,sudo")
    machine.write_pam("space", "[skip_services=x  space]")
    machine.write_pam("sudo", "skip_services=xsudo,sudox,sud")
    assert_nothing(machine, "comma", "ada")
    assert_nothing(machine, "space", "ada")
    machine.pam("sudo", "ada", "open")
    assert machine.worker_runs() == ["4"]


def test_module_arguments_come_after_the_file(machine: Machine) -> None:
    machine.configure("skip_services = test other\n")
    machine.write_pam("other", "skip_services=cron")
    assert_nothing(machine, "test", "ada")
    machine.pam("other", "ada", "open")
    assert machine.worker_runs() == ["4"]


@pytest.mark.parametrize("how", ["writable by others", "writable by a group", "of a user", "link", "directory", "too large", "NUL"])
@pytest.mark.guarantee(7)
def test_a_configuration_file_that_must_not_be_believed(machine: Machine, how: str) -> None:
    path = machine.path("/etc/pyhome.conf")
    machine.configure("skip_services=test\n")
    if how.startswith("writable"):
        path.chmod(0o646 if "others" in how else 0o664)
    elif how == "of a user":
        os.chown(path, 61001, 0)
    elif how == "too large":
        machine.configure("skip_services=test\n" + "#" * 65536)
    elif how == "NUL":
        machine.configure("skip_services=test\n\0\n")
    else:
        path.rename(path.with_name("elsewhere"))
        path.mkdir() if how == "directory" else path.symlink_to("elsewhere")
    machine.pam("test", "ada", "open")
    assert machine.worker_runs() == ["4"]
    assert "ignored a setting" in machine.log()
    assert "/etc/pyhome.conf" in machine.records("setting-ignored")[0]["PYHOME_WHY"]


def test_without_root_nothing_can_be_done(machine: Machine) -> None:
    machine.write_pam("strict", "authenticate")
    unable = machine.build.environment(leaks=False)  # the leak checker needs root's rights at the end
    assert machine.pam("test", "ada", "euid=61001", *ALL, environment=unable) == NOTHING
    assert machine.pam("strict", "ada", "euid=61001", "auth", "open", environment=unable) == [f"auth {AUTHINFO_UNAVAIL}", "open 0"]
    assert machine.worker_runs() == []


@pytest.mark.guarantee(14)
def test_authenticate_never_ignores(machine: Machine) -> None:
    machine.add_user("bob", 61002, encrypted=False)
    machine.write_pam("strict", "authenticate")
    machine.configure("skip_services=never\n")
    for user in ("bob", "root", "nemo"):
        assert machine.pam("strict", user, "auth", "account", "open") == [f"auth {USER_UNKNOWN}", f"account {IGNORED}", "open 0"]
    assert machine.worker_runs() == []


@pytest.mark.guarantee(6)
def test_the_home_is_looked_for_with_its_owners_rights(machine: Machine) -> None:
    machine.add_user("bob", 61002, encrypted=False)
    inside = machine.path("/home/bob/.ecryptfs")
    inside.mkdir()
    (inside / "wrapped-passphrase").symlink_to("/nowhere")
    machine.pam("test", "bob", "open")
    assert machine.worker_runs() == ["4"]


def test_what_its_owner_may_not_look_at_is_for_the_worker_to_explain(machine: Machine) -> None:
    machine.run(["chown", "-R", "0:0", "/home/.ecryptfs/ada"])
    machine.pam("test", "ada", "auth", "open", "chauthtok")
    assert machine.worker_runs() == ["1", "4", "6", "6"]
    machine.add_user("bob", 61002, encrypted=False)
    machine.run(["chown", "0:0", "/home/bob"])
    assert machine.pam("test", "bob", *ALL) == NOTHING


def test_names_do_not_lead_elsewhere(machine: Machine) -> None:
    machine.add_user("eve", 61003, encrypted=False)
    with machine.path("/etc/passwd").open("a", encoding="ascii") as stream:
        stream.write("../.ecryptfs/ada:x:61003:61003::/nonexistent:/bin/sh\n..:x:61003:61003::relative:/bin/sh\n")
    machine.path("/home/.ecryptfs/ada/.ecryptfs").chmod(0o755)
    assert_nothing(machine, "test", "../.ecryptfs/ada")
    assert_nothing(machine, "test", "..")


def test_an_open_home_needs_no_worker(machine: Machine) -> None:
    machine.run(["mount", "-t", "tmpfs", "home", "/home/ada"])
    machine.record_open(61001, "/home/ada")
    assert machine.pam("test", "ada", "auth", "open") == [f"auth {IGNORED}", "open 0"]
    assert machine.worker_runs() == []
    machine.write_pam("strict", "authenticate")
    machine.pam("strict", "ada", "auth")
    assert machine.worker_runs() == ["1"]
    machine.pam("test", "ada", "close")
    assert machine.worker_runs() == ["1", "5"]


@pytest.mark.parametrize("line", ["state=opening", "inode=99"], ids=["a killed worker was opening it", "another directory"])
def test_what_is_on_record_and_not_seen_may_be_open(machine: Machine, line: str) -> None:
    """The worker finds out, in each phase."""
    machine.run(["mount", "-t", "tmpfs", "home", "/home/ada"])
    machine.record_open(61001, "/home/ada")
    with (machine.state(61001) / "open").open("a", encoding="ascii") as stream:
        stream.write(line + "\n")
    machine.pam("test", "ada", "auth", "open", "close")
    assert machine.worker_runs() == ["1", "4", "5"]


def test_the_home_of_another_user_with_the_same_uid(machine: Machine) -> None:
    """It is not taken for one's own: not opened, held, or locked."""
    machine.run(["mount", "-t", "tmpfs", "home", "/home/ada"])
    machine.record_open(61001, "/home/ada", user="bob")
    assert machine.pam("test", "ada", "open", "close") == ["open 0", "close 0"]
    assert machine.worker_runs() == []
    assert machine.leases(61001) == []
    assert "another user with the same uid has their home open: uid 61001; the home is left alone" in machine.log()
    told = machine.records("same-uid")[0]
    assert (told["USER"], told["PYHOME_WHY"]) == ("ada", "uid 61001; the home is left alone")


def test_an_open_home_in_a_place_with_a_strange_name(machine: Machine) -> None:
    place = "/home/a b\\c\u00e4\tx"
    machine.path(place).mkdir()
    machine.run(["mount", "-t", "tmpfs", "home", place])
    machine.record_open(61001, place)
    machine.pam("test", "ada", "open")
    assert machine.worker_runs() == []


RECORDS = {
    "another device": "mountpoint=/home/ada\ndev=9999:1\n",
    "not mounted": "mountpoint=/home/nobody\ndev={dev}\n",
    "relative": "mountpoint=home/ada\ndev={dev}\n",
    "cut short": "mountpoint=/home/ada\ndev={dev}",
    "no device": "mountpoint=/home/ada\n",
    "no place": "dev={dev}\n",
    "two devices": "mountpoint=/home/ada\ndev={dev}\ndev={dev}\n",
    "two places": "mountpoint=/home/ada\nmountpoint=/home/ada\ndev={dev}\n",
    "strange device": "mountpoint=/home/ada\ndev={dev}x\n",
    "signed device": "mountpoint=/home/ada\ndev=+{dev}\n",
    "bad escape": "mountpoint=/home/ada\\08\ndev={dev}\n",
    "escaped NUL": "mountpoint=/home/ada\\000\ndev={dev}\n",
    "escape beyond": "mountpoint=/home/ada\\777\ndev={dev}\n",
    "NUL": "mountpoint=/home/ada\0\ndev={dev}\n",
    "empty": "",
    "endless": "mountpoint=/home/ada\ndev={dev}\n" + "x=\n" * 6000,
}


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_that_says_nothing_true(machine: Machine, name: str) -> None:
    machine.run(["mount", "-t", "tmpfs", "home", "/home/ada"])
    machine.record_open(61001, "/home/ada")
    device = machine.path("/home/ada").stat().st_dev
    machine.pam("test", "ada", "open")
    assert machine.worker_runs() == []
    text = ("user=ada\n" + RECORDS[name]).replace("{dev}", f"{os.major(device)}:{os.minor(device)}")
    (machine.state(61001) / "open").write_text(text, encoding="ascii")
    machine.pam("test", "ada", "open")
    assert machine.worker_runs() == ["4"]


@pytest.mark.parametrize(
    "how",
    ["record of the user", "record a link", "record a pipe", "directory of the user", "directory open to all", "directory a link"],
)
@pytest.mark.guarantee(7)
def test_a_record_that_must_not_be_believed(machine: Machine, how: str) -> None:
    machine.run(["mount", "-t", "tmpfs", "home", "/home/ada"])
    machine.record_open(61001, "/home/ada")
    record, directory = machine.state(61001) / "open", machine.state(61001)
    if how == "record of the user":
        os.chown(record, 61001, 0)
    elif how == "record a link":
        record.rename(directory / "real")
        record.symlink_to("real")
    elif how == "record a pipe":
        record.unlink()
        os.mkfifo(record)
    elif how == "directory of the user":
        os.chown(directory, 61001, 0)
    elif how == "directory open to all":
        directory.chmod(0o755)
    else:
        directory.rename(directory.with_name("real"))
        directory.symlink_to("real")
    machine.pam("test", "ada", "auth")
    assert machine.worker_runs() == ["1"]


def test_in_another_mount_namespace_the_worker_decides(machine: Machine) -> None:
    machine.run(["mount", "-t", "tmpfs", "home", "/home/ada"])
    machine.record_open(61001, "/home/ada")
    environment = machine.build.environment(leaks=False)
    machine.run(["unshare", "--mount", "/opt/test/pamapp", "test", "ada", "open", "close"], environment=environment)
    assert machine.worker_runs() == ["4", "5"]


@pytest.mark.parametrize("service", ["cron", "crond", "atd"])
def test_jobs_on_a_locked_home_can_be_refused(machine: Machine, service: str) -> None:
    machine.write_pam(service, "jobs=refuse")
    machine.install_worker("reply(6)")
    assert machine.pam(service, "ada", "auth", "account", "open", "close") == [f"auth {IGNORED}", "account 6", "open 0", "close 0"]
    assert machine.worker_runs() == ["3"]
    assert machine.leases(61001) == []
    machine.run(["mount", "-t", "tmpfs", "home", "/home/ada"])
    machine.record_open(61001, "/home/ada")
    assert machine.pam(service, "ada", "account") == [f"account {IGNORED}"]
    assert machine.worker_runs() == ["3"]


def test_refusing_jobs_concerns_only_jobs_and_encrypted_homes(machine: Machine) -> None:
    machine.add_user("bob", 61002, encrypted=False)
    for service, user in (("sshd", "ada"), ("cron", "bob"), ("cron", "root")):
        machine.write_pam(service, "jobs=refuse")
        assert machine.pam(service, user, "account") == [f"account {IGNORED}"]
    assert machine.worker_runs() == []


@pytest.mark.parametrize("code", [0, 7, 10])
def test_setcred_answers_as_auth_did(machine: Machine, code: int) -> None:
    machine.install_worker(f"reply({code})")
    assert machine.pam("test", "ada", "auth", "setcred", "delcred") == [f"auth {code}", f"setcred {code}", f"delcred {code}"]
    assert machine.worker_runs() == ["1"]


def test_setcred_without_auth(machine: Machine) -> None:
    machine.write_pam("strict", "authenticate")
    assert machine.pam("test", "ada", "setcred") == [f"setcred {IGNORED}"]
    assert machine.pam("strict", "ada", "setcred") == ["setcred 0"]
    assert machine.worker_runs() == []


def test_setcred_belongs_to_a_user_and_a_handle(machine: Machine) -> None:
    machine.add_user("bob", 61002)
    first, other, again, fresh = machine.pam("test", "ada", "auth", "user=bob", "setcred", "user=ada", "setcred", "end", "setcred")
    assert (first, again, fresh) == ("auth 0", "setcred 0", f"setcred {IGNORED}")
    assert other != "setcred 0", "that was not bob's answer"


def test_a_real_stack_with_the_module_last_keeps_its_setcred(machine: Machine) -> None:
    kinds = ("auth", "account", "session", "password")
    machine.write_stack("real", "".join(f"{kind} required pam_permit.so\n{kind} optional pam_pyhome.so\n" for kind in kinds))
    machine.install_worker("reply(25)")
    expected = ["auth 0", "setcred 0", "account 0", "open 0", "close 0", "delcred 0"]
    assert machine.pam("real", "ada", "auth", "setcred", "account", "open", "close", "delcred") == expected


def test_sudo_changes_the_user_of_a_handle(machine: Machine) -> None:
    machine.add_user("bob", 61002)
    machine.install_worker(
        "name = blob(b'pyhome.opened.' + start.user)\n"
        "if start.phase == 1: verb(22, name + blob(start.user))\n"
        "note(repr((start.user, value(23, name))).replace(' ', ''))\nreply(0)"
    )
    steps = ("auth", "user=bob", "open", "close", "user=ada", "open", "close")
    assert machine.pam("test", "ada", *steps) == ["auth 0", "open 0", "close 0", "open 0", "close 0"]
    assert machine.worker_runs() == ["1", "(b'ada',b'ada')", "4", "(b'bob',None)", "4", "(b'ada',b'ada')"]
    assert machine.leases(61001) + machine.leases(61002) == []


def test_debug_says_what_was_decided(machine: Machine) -> None:
    machine.add_user("bob", 61002, encrypted=False)
    machine.write_pam("test", "debug")
    machine.pam("test", "bob", "open")
    machine.pam("test", "ada", "open")
    assert "user bob: what the module does: open: no encrypted home" in machine.log()
    assert "user ada: what the module does: open: asking a worker" in machine.log()


def test_a_user_who_is_not_named_is_asked_for(machine: Machine) -> None:
    machine.install_worker("reply(0 if start.user == b'ada' else 7)")
    assert machine.pam("test", "", "answer=ada", "auth")[-1] in ("auth 0", f"auth {IGNORED}")
