"""What runs for a user without the user: cron, at, root's su. And logins that never open a home."""

from __future__ import annotations

import shlex
import time
from typing import TYPE_CHECKING

import pytest

from tests.vm import people, shell
from tests.vm.installed import set_setting, sshd_setting

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.vm.people import Person
    from tests.vm.vm import VM

pytestmark = pytest.mark.one_release("bookworm")

#: What a job leaves behind: its HOME, where it runs, and whether the letter can be read.
JOB = "echo HOME=$HOME in=$(pwd) letter=$(cat letter 2>/dev/null) > /tmp/job-{name}"


@pytest.fixture(autouse=True)
def no_jobs_left(vm: VM) -> Iterator[None]:
    """Take the jobs of a test away after it."""
    yield
    vm.run("rm -f /etc/cron.d/job-* /tmp/job-*")


def wait_less(vm: VM) -> None:
    """Turn the clock to the end of the next minute and let cron and atd look at it."""
    vm.run("date -s \"$(date -d '+1 minute' '+%F %H:%M:58')\" && systemctl restart cron atd")


def run_cron_job(vm: VM, person: Person, command: str) -> None:
    """Let cron run one job of the user's, within two minutes."""
    vm.write(f"/etc/cron.d/job-{person.name}", f"* * * * * {person.name} {command}\n")
    wait_less(vm)


def job_result(vm: VM, person: Person) -> str:
    """What the job left behind, or nothing."""
    return vm.out(f"cat /tmp/job-{person.name} 2>/dev/null || true")


@pytest.mark.each_release
def test_b7_cron_on_a_locked_home_runs_with_what_is_there(vm: VM, ada: Person) -> None:
    run_cron_job(vm, ada, JOB.format(name=ada.name))
    vm.wait_for(lambda: job_result(vm, ada) != "", "the job has run", 90)
    assert job_result(vm, ada) == f"HOME={ada.home} in={ada.home} letter="
    assert not ada.is_open()
    assert ada.leases() == []


def test_b7_cron_on_an_open_home_uses_it_and_leaves_it_open(vm: VM, ada: Person) -> None:
    with shell.ssh(vm, ada.name, ada.password) as session:
        run_cron_job(vm, ada, JOB.format(name=ada.name))
        vm.wait_for(lambda: job_result(vm, ada) != "", "the job has run", 90)
        assert job_result(vm, ada) == f"HOME={ada.home} in={ada.home} letter={people.LETTER}"
        time.sleep(2)
        assert session.do("cat letter") == people.LETTER
        session.logout()
    ada.wait_until_locked()


@pytest.mark.one_release("trixie")
def test_b7_cron_is_refused_on_a_locked_home_where_the_administrator_says_so(vm: VM, ada: Person, cursor: str) -> None:
    with set_setting(vm, "jobs = refuse"):
        run_cron_job(vm, ada, JOB.format(name=ada.name))
        vm.wait_for(lambda: "refused a job because the home is locked" in vm.journal(cursor), "the refusal is logged", 90)
        assert job_result(vm, ada) == ""
        with shell.ssh(vm, ada.name, ada.password) as session:
            wait_less(vm)
            vm.wait_for(lambda: job_result(vm, ada) != "", "the job has run on the open home", 90)
            session.logout()
        assert job_result(vm, ada) == f"HOME={ada.home} in={ada.home} letter={people.LETTER}"


@pytest.mark.parametrize("jobs", ["run", "refuse"])
def test_b7_at_on_a_locked_home(vm: VM, ada: Person, cursor: str, jobs: str) -> None:
    """An at job runs where it was submitted from; on a locked home it follows the policy and never gets another HOME."""
    with shell.ssh(vm, ada.name, ada.password) as session:
        session.do(f"echo {shlex.quote(JOB.format(name=ada.name))} | at now + 1 minute")
        session.logout()
    ada.wait_until_locked()
    with set_setting(vm, f"jobs = {jobs}"):
        wait_less(vm)
        if jobs == "run":
            vm.wait_for(lambda: job_result(vm, ada) != "", "the job has run", 120)
            assert job_result(vm, ada) == f"HOME={ada.home} in={ada.home} letter="
        else:
            vm.wait_for(lambda: "refused a job because the home is locked" in vm.journal(cursor), "the refusal is logged", 120)
            assert job_result(vm, ada) == ""
    assert not ada.is_open()


def test_b7_a_system_service_of_the_user_on_a_locked_home(vm: VM, ada: Person) -> None:
    unit = f"systemd-run --quiet --pipe --wait --uid={ada.name} -p WorkingDirectory={ada.home}"
    said = vm.out(f"{unit} sh -c 'echo $HOME; pwd; ls -A'")
    assert said.splitlines()[:2] == [ada.home, ada.home]
    assert "letter" not in said
    assert not ada.is_open()


@pytest.mark.one_release("trixie")
def test_b7_a_lingering_user_manager_started_at_boot(vm: VM, ada: Person) -> None:
    """The manager is there before the home, and the first login opens it all the same.

    What the manager runs for the user may keep the home busy, which the log then says; it is locked when the manager ends.
    """
    vm.run(f"loginctl enable-linger {ada.name}")
    vm.reboot()
    vm.wait_until(f"systemctl is-active user@{ada.uid}.service")
    assert not ada.is_open()
    with shell.ssh(vm, ada.name, ada.password) as session:
        assert session.do("cat letter") == people.LETTER
        assert session.do("systemctl --user is-active default.target") == "active"
        session.logout()
    vm.run(f"loginctl disable-linger {ada.name}")
    ada.wait_until_locked(90)


@pytest.mark.each_release
def test_b11_roots_su_asks_nothing_and_says_that_the_home_is_locked(vm: VM, ada: Person) -> None:
    done = vm.run(f"su -l {ada.name} -c 'pwd; ls -A' < /dev/null")
    said = (done.out + done.err).splitlines()
    assert said.count(f"The encrypted home of {ada.name} is locked; log in with the password to open it.") == 1
    assert ada.home in said
    assert "assword" not in (done.out + done.err).replace("log in with the password", "")


@pytest.mark.parametrize("command", ["sudo -u {} -i pwd", "sudo -u {} true", "runuser -l {} -c pwd", "su {} -c true"])
def test_b11_root_becomes_the_user_without_any_prompt(vm: VM, ada: Person, command: str) -> None:
    done = vm.run(command.format(ada.name) + " < /dev/null", timeout=60)
    assert ": " not in done.out + done.err
    assert not ada.is_open()


def test_root_becomes_the_user_on_an_open_home(vm: VM, ada: Person) -> None:
    with shell.ssh(vm, ada.name, ada.password) as session:
        assert vm.out(f"su -l {ada.name} -c 'cat letter'") == people.LETTER
        assert session.do("cat letter") == people.LETTER
        session.logout()
    ada.wait_until_locked()


@pytest.mark.one_release("trixie")
def test_a_login_with_a_key_says_that_the_home_is_locked_and_uses_it_when_open(vm: VM, ada: Person) -> None:
    """A key from outside the home logs in; without a password the home stays locked, and a sentence says so."""
    vm.run(f"install -D -m 644 /root/.ssh/authorized_keys /etc/ssh/keys/{ada.name}")
    with sshd_setting(vm, "AuthorizedKeysFile .ssh/authorized_keys /etc/ssh/keys/%u"):
        with shell.ssh_by_key(vm, ada.name, vm.image / "key") as locked:
            assert f"The encrypted home of {ada.name} is locked" in locked.greeting
            with shell.ssh(vm, ada.name, ada.password) as opener:
                assert locked.do(f"cat {ada.home}/letter") == people.LETTER
                opener.logout()
            assert ada.is_open()
            assert locked.do(f"cat {ada.home}/letter") == people.LETTER
            locked.logout()
        ada.wait_until_locked()


@pytest.mark.one_release("trixie")
def test_b15_locked_and_expired_accounts_are_refused_everywhere(vm: VM, ada: Person) -> None:
    """A right password does not help an account that the administrator has closed, and the home stays locked."""
    for close, reopen in (("usermod -L", "usermod -U"), ("chage -E 1", "chage -E -1")):
        vm.run(f"{close} {ada.name}")
        with pytest.raises(shell.LoginRefusedError):
            shell.ssh(vm, ada.name, ada.password)
        with shell.Console(vm) as console, pytest.raises(shell.LoginRefusedError):
            console.login(ada.name, ada.password)
        with shell.ssh(vm, people.neighbour(vm), people.PASSWORD) as outer, pytest.raises(shell.LoginRefusedError):
            shell.su(outer, ada.name, ada.password)
        assert not ada.is_open()
        vm.run(f"{reopen} {ada.name}")
    assert ada.leases() == []
    with shell.ssh(vm, ada.name, ada.password) as session:
        assert session.do("cat letter") == people.LETTER
        session.logout()
