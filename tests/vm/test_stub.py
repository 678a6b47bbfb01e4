"""The login shell on real homes: logins by key, commands, copying, agents, and everything at once."""

from __future__ import annotations

import shlex
import subprocess
import time
from typing import TYPE_CHECKING

import pexpect  # type: ignore[import-untyped]  # the package has no annotations
import pytest

from tests.vm import people, shell
from tests.vm.installed import set_setting, sshd_setting
from tests.vm.vm import Result

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.vm.people import Person
    from tests.vm.shell import Shell
    from tests.vm.vm import VM

#: What does not depend on the release.
ONCE = pytest.mark.one_release("trixie")

STUB = "/usr/lib/pyhome/pyhome-shell"
ASKED = "is locked.\r\n"
PROMPT = "Password: "
LOCKED = 75
LINE = "pyhome: /home/ada is locked; to unlock it, type: ssh -t vm\n"
SOON = 20
KEYS = "AuthorizedKeysFile /etc/ssh/authorized_keys.d/%u .ssh/authorized_keys"


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The key that ada logs in with."""
    path = tmp_path_factory.mktemp("key") / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    return path


@pytest.fixture(scope="module")
def furnished(the_ada: Person, vm: VM, key: Path) -> Iterator[Person]:
    """Ada with a profile of her own in her home, to which she is put back after each test, and her key outside it."""
    vm.run("mkdir -p /etc/ssh/authorized_keys.d; mv /root/ada.tar /root/ada.before")
    vm.put(key.with_suffix(".pub"), "/etc/ssh/authorized_keys.d/ada")
    with shell.ssh(vm, the_ada.name, the_ada.password) as session:
        session.do("echo 'export GREETING=hello' >> .profile")
        session.logout()
    the_ada.wait_until_locked()
    the_ada.save()
    vm.write("/etc/ssh/sshd_config.d/01-keys.conf", f"{KEYS}\n")
    vm.run("systemctl restart ssh")
    yield the_ada
    vm.run("rm -r /etc/ssh/sshd_config.d/01-keys.conf /etc/ssh/authorized_keys.d; mv /root/ada.before /root/ada.tar")
    vm.run("systemctl restart ssh")
    the_ada.reset()


@pytest.fixture
def ada(furnished: Person, vm: VM) -> Iterator[Person]:
    """The same, locked, with the login shell."""
    vm.run("pyhome shell enable --yes ada")
    yield furnished
    furnished.end_all()
    vm.run("pyhome shell disable --yes ada", check=False)
    furnished.reset()


def by_key(ada: Person, key: Path, *command: str, options: tuple[str, ...] = ("-tt",)) -> Shell:
    """A terminal that logs in with the key; whatever comes next is for the caller to expect."""
    known = ("-i", str(key), "-o", "PasswordAuthentication=no", "-o", "KbdInteractiveAuthentication=no", *options)
    return shell.Shell(ada.vm, shell.spawn([*ada.vm.ssh(ada.name, *known), *command]))


def asked(ada: Person, key: Path, *command: str, options: tuple[str, ...] = ("-tt",)) -> Shell:
    """The same, on which the prompt has appeared."""
    session = by_key(ada, key, *command, options=options)
    session.expect(ASKED)
    session.expect(PROMPT)
    return session


def unlocked(ada: Person, key: Path, options: tuple[str, ...] = ("-tt",)) -> Shell:
    """The same, with the right password given and a shell."""
    session = asked(ada, key, options=options)
    session.terminal.sendline(ada.password)
    session.expect(shell.SHELL_PROMPT)
    session.settle()
    return session


def ended(session: Shell) -> int:
    """Wait for the end; the exit status."""
    session.expect(pexpect.EOF)
    session.terminal.close()
    return int(session.terminal.exitstatus or 0)


def run(ada: Person, key: Path, *command: str, stdin: bytes = b"", tool: tuple[str, ...] = ()) -> Result:
    """One command over ssh, or `tool` that uses ssh, without a terminal."""
    vm = ada.vm
    words = vm.ssh(ada.name, "-i", str(key), "-o", "BatchMode=yes")
    argv = list(tool) if tool else [*words, "-T", *command]
    done = subprocess.run(argv, input=stdin, capture_output=True, timeout=120)
    return Result(argv[0], done.returncode, done.stdout.decode(), done.stderr.decode().replace("\r", ""))


def copiers(ada: Person, key: Path, here: Path, back: Path) -> dict[str, tuple[str, ...]]:
    """Every tool that copies, up and down; where time is short, one of each kind."""
    vm = ada.vm
    fixed = [word for word in vm.ssh(ada.name, "-i", str(key), "-o", "BatchMode=yes")[:-1] if word != "ssh"]
    fixed[fixed.index("-p") : fixed.index("-p") + 2] = ["-o", f"Port={vm.qemu.port}"]
    there = f"{ada.name}@127.0.0.1:there"
    rsync = ("rsync", "-a", "-e", shlex.join(["ssh", *fixed]))
    tools: dict[str, tuple[str, ...]] = {
        "scp up": ("scp", *fixed, str(here), there),
        "scp down": ("scp", *fixed, there, str(back)),
        "scp -O up": ("scp", "-O", *fixed, str(here), there),
        "scp -O down": ("scp", "-O", *fixed, there, str(back)),
        "rsync up": (*rsync, str(here), there),
        "rsync down": (*rsync, there, str(back)),
        "sftp": ("sftp", *fixed, f"{ada.name}@127.0.0.1"),
    }
    return tools if vm.suite == "trixie" else {name: tools[name] for name in ("scp up", "scp -O down", "sftp")}


def test_a9_key_login_wrong_wrong_right_and_the_last_logout_locks(vm: VM, ada: Person, key: Path, cursor: str) -> None:
    session = asked(ada, key)
    for wrong in ("nonsense", "Nonsense again"):
        session.terminal.sendline(wrong)
        session.expect("does not open")
        session.expect(PROMPT)
    session.terminal.sendline(ada.password)
    session.expect(shell.SHELL_PROMPT)
    session.settle()
    assert session.do("cat letter; echo $GREETING; pwd; echo $0 $SHELL; shopt login_shell").splitlines() == [
        people.LETTER, "hello", "/home/ada", "-bash /bin/bash", "login_shell    \ton",
    ]  # fmt: skip
    assert vm.journal(cursor).count("a wrong password was given") == 2
    second = by_key(ada, key)
    second.expect(shell.SHELL_PROMPT)
    second.settle()
    assert second.do("cat letter") == people.LETTER
    session.logout()
    time.sleep(2)
    assert ada.is_open()
    assert second.do("cat letter") == people.LETTER
    second.logout()
    ada.wait_until_locked()
    assert ada.leases() == []
    journal = vm.journal(cursor)
    assert ada.password not in journal
    assert "nonsense" not in journal.lower()
    assert ada.password not in vm.run("cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline", check=False).out
    asked(ada, key).hang_up()


@ONCE
def test_a_command_on_a_terminal(ada: Person, key: Path) -> None:
    session = asked(ada, key, "cat letter; pwd; echo $0 $SHELL; exit 5")
    session.terminal.sendline(ada.password)
    assert ended(session) == 5
    assert shell.plain(str(session.terminal.before)).splitlines() == [people.LETTER, "/home/ada", "bash /bin/bash"]
    ada.wait_until_locked()


@ONCE
def test_what_is_started_in_the_session_is_in_the_home(vm: VM, ada: Person, key: Path) -> None:
    """A shell that is left running, su, and cron for the same user: all see the home, and none keeps the login from ending."""
    session = unlocked(ada, key)
    assert session.do("setsid -w sh -c 'cat ~/letter'") == people.LETTER
    assert vm.out("su - ada -c 'cat letter'") == people.LETTER
    root = shell.spawn(vm.ssh("root", "-tt", "-i", str(vm.image / "key")))
    outer = shell.Shell(vm, root)
    outer.expect(shell.SHELL_PROMPT)
    outer.settle()
    inner = shell.su(outer, "ada")
    assert inner.do("cat letter; echo $0") == f"{people.LETTER}\n-bash"
    inner.logout()
    outer.logout()
    vm.run("crontab -u ada -", stdin="* * * * * cat $HOME/letter > $HOME/from-cron\n")
    vm.wait_for(lambda: session.try_("cat from-cron")[0] == 0, "cron has run", 100)
    assert session.do("cat from-cron") == people.LETTER
    vm.run("crontab -u ada -r")
    session.logout()
    ada.wait_until_locked()


@ONCE
def test_b1_two_prompts_the_first_unlocks_and_the_second_goes_on(ada: Person, key: Path) -> None:
    first, second = asked(ada, key), asked(ada, key)
    first.terminal.sendline(ada.password)
    first.expect(shell.SHELL_PROMPT)
    second.expect(shell.SHELL_PROMPT)
    second.settle()
    assert second.do("cat letter; echo $GREETING") == f"{people.LETTER}\nhello"
    first.hang_up()
    time.sleep(2)
    assert ada.is_open()
    second.logout()
    ada.wait_until_locked()


@ONCE
def test_b2_a_right_login_among_eight_that_guess(vm: VM, ada: Person, key: Path, cursor: str) -> None:
    guessing = [asked(ada, key) for _ in range(8)]
    for session in guessing:
        session.terminal.sendline("guess")
    began = time.monotonic()
    owner = unlocked(ada, key)
    assert time.monotonic() - began < 60
    assert owner.do("cat letter") == people.LETTER
    assert "a wrong password was given" in vm.journal(cursor)
    for session in guessing:
        session.hang_up()
    owner.logout()
    ada.wait_until_locked(60)


def test_b5_without_a_terminal_a_locked_home_answers_at_once(ada: Person, key: Path, tmp_path: Path) -> None:
    (tmp_path / "here").write_text("content")
    began = time.monotonic()
    done = run(ada, key, "echo ran", stdin=b"input")
    assert (done.code, done.out, done.err) == (LOCKED, "", LINE)
    assert time.monotonic() - began < SOON
    for name, tool in copiers(ada, key, tmp_path / "here", tmp_path / "back").items():
        began = time.monotonic()
        done = run(ada, key, tool=tool)
        assert done.code not in (0, 124), name
        assert done.out == "", name
        # What a subsystem says on its standard error, sshd throws away.
        assert (LINE if "-O" in name or "rsync" in name else "Connection closed") in done.err, name
        assert time.monotonic() - began < SOON, name
    assert not (tmp_path / "back").exists()
    assert ada.leases() == []


def test_b5_on_an_open_home_everything_works(ada: Person, key: Path, tmp_path: Path) -> None:
    here, back = tmp_path / "here", tmp_path / "back"
    here.write_bytes(bytes(range(256)) * 1000)
    session = unlocked(ada, key)
    assert run(ada, key, "cat letter; exit 4") == Result("ssh", 4, people.LETTER + "\n", "")
    for name, tool in copiers(ada, key, here, back).items():
        done = run(ada, key, tool=tool, stdin=f"get there {back}\n".encode())
        assert done.code == 0, (name, done)
        if "up" in name:
            assert session.do("sha256sum < there; rm -f .x") == run_here(here)
        else:
            assert back.read_bytes() == here.read_bytes()
            back.unlink()
    session.logout()
    ada.wait_until_locked()


def run_here(path: Path) -> str:
    """What sha256sum says of a file of this machine."""
    with path.open("rb") as file:
        return subprocess.run(["sha256sum"], stdin=file, capture_output=True, check=True, text=True).stdout.strip()


@ONCE
def test_b5_forwarding_alone_and_the_internal_sftp_server(vm: VM, ada: Person, key: Path) -> None:
    """As documented: neither runs a login shell, so neither unlocks, nor is told anything."""
    tunnel = [*vm.ssh("ada", "-i", str(key), "-o", "BatchMode=yes", "-W", "127.0.0.1:22")]
    done = subprocess.run(tunnel, input=b"", capture_output=True, timeout=60)
    assert done.stdout.startswith(b"SSH-2.0")
    vm.run("cp /etc/ssh/sshd_config /root/sshd_config; sed -i 's|^Subsystem.*|Subsystem sftp internal-sftp|' /etc/ssh/sshd_config")
    try:
        vm.run("systemctl reload ssh")
        tool = copiers(ada, key, key, key)["sftp"]
        done_sftp = run(ada, key, tool=tool, stdin=b"pwd\nls\nput /etc/hostname x\n")
        assert "/home/ada" in done_sftp.out
        assert "letter" not in done_sftp.out
        assert "Permission denied" in done_sftp.err
    finally:
        vm.run("cp /root/sshd_config /etc/ssh/sshd_config; systemctl reload ssh")
    assert not ada.is_open()


@ONCE
def test_commands_that_wait_run_when_another_session_unlocks(vm: VM, ada: Person, key: Path) -> None:
    with set_setting(vm, "locked_command = wait:120"):
        command = [*vm.ssh("ada", "-i", str(key), "-o", "BatchMode=yes", "-T"), "cat letter; pwd"]
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as waiting:
            assert waiting.stderr is not None
            assert b"waiting up to 120 seconds" in waiting.stderr.readline()
            session = unlocked(ada, key)
            out, err = waiting.communicate(timeout=60)
        assert (waiting.returncode, out.decode(), err) == (0, f"{people.LETTER}\n/home/ada\n", b"")
    session.logout()
    ada.wait_until_locked()


@ONCE
def test_commands_that_run_without_the_home(vm: VM, ada: Person, key: Path) -> None:
    with set_setting(vm, "locked_command = plain"):
        done = run(ada, key, "pwd; ls letter; exit 3")
    assert (done.code, done.out) == (3, "/home/ada\n")
    assert "runs without it" in done.err
    assert not ada.is_open()


@ONCE
@pytest.mark.parametrize(
    ("answers", "status"),
    [(("\x03",), 130), (("half\x03",), 130), (("\x04",), LOCKED), (("\n", "\n", "\n"), LOCKED), (("no\n", "no\n", "no\n"), LOCKED)],
    ids=["Ctrl-C", "Ctrl-C after half an answer", "Ctrl-D", "empty answers", "wrong answers"],
)
def test_b10_leaving_the_prompt(vm: VM, ada: Person, key: Path, answers: tuple[str, ...], status: int) -> None:
    session = asked(ada, key)
    for turn, answer in enumerate(answers):
        if turn:
            session.expect(PROMPT)
        session.terminal.send(answer)
    assert ended(session) == status
    assert "stays locked" in str(session.terminal.before)
    vm.wait_for(lambda: ada.leases() == [], "the lease is gone")
    assert not ada.is_open()
    assert not vm.ok("pgrep -f '[p]yhome/pyhome-shell'")


@ONCE
def test_b10_a_client_that_is_killed(vm: VM, ada: Person, key: Path) -> None:
    session = asked(ada, key)
    session.hang_up()
    vm.wait_for(lambda: ada.leases() == [], "the lease is gone", 60)
    assert not vm.ok("pgrep -f '[p]yhome/pyhome-shell'")
    assert not ada.is_open()


@ONCE
def test_b6_a_forwarded_agent_in_the_locked_home(vm: VM, ada: Person, key: Path) -> None:
    """With an agent where OpenSSH from 10.1 on puts its socket, whatever version runs here."""
    socket = "/home/ada/.ssh/agent/s.abc.sshd.def"
    vm.put(key, "/root/agent-key")
    vm.run("install -o ada -m 600 /root/agent-key /tmp/agent-key; rm /root/agent-key")
    vm.run(
        f"systemd-run --unit=test-agent --uid=ada ssh-agent -D -a {socket}; sleep 2; "
        f"runuser -u ada -- env SSH_AUTH_SOCK={socket} ssh-add -q /tmp/agent-key; rm /tmp/agent-key"
    )
    try:
        with sshd_setting(vm, KEYS, f"SetEnv SSH_AUTH_SOCK={socket}"):
            session = unlocked(ada, key)
            assert "ED25519" in session.do("ssh-add -l")
            assert session.do("echo $SSH_AUTH_SOCK").startswith("/proc/")
            assert "ED25519" in session.do("setsid -w ssh-add -l")
            session.logout()
            ada.wait_until_locked()
            assert run(ada, key, "true").code == LOCKED
    finally:
        vm.run("systemctl stop test-agent", check=False)


@ONCE
def test_b6_agent_forwarding_of_this_sshd(ada: Person, key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    socket = tmp_path / "agent"
    with subprocess.Popen(["ssh-agent", "-D", "-a", str(socket)], stdout=subprocess.DEVNULL) as agent:
        try:
            ada.vm.wait_for(socket.exists, "the agent has started")
            monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
            subprocess.run(["ssh-add", "-q", str(key)], check=True)
            session = unlocked(ada, key, options=("-tt", "-A"))
            assert "ED25519" in session.do("ssh-add -l")
            session.logout()
        finally:
            agent.terminate()
    ada.wait_until_locked()


@ONCE
def test_b14_a_real_shell_that_has_gone(vm: VM, ada: Person, key: Path) -> None:
    vm.write("/etc/pyhome-shells", "ada:/usr/bin/gone\n")
    session = asked(ada, key)
    session.terminal.sendline(ada.password)
    session.expect("/usr/bin/gone cannot be run; this is /bin/sh")
    session.expect(shell.SHELL_PROMPT)
    session.settle()
    assert session.do("cat letter; echo $0") == f"{people.LETTER}\n-sh"
    session.logout()
    vm.write("/etc/pyhome-shells", "ada:/bin/bash\n")
    ada.wait_until_locked()


@ONCE
@pytest.mark.guarantee(9)
def test_pyhomed_that_is_stopped_locks_nobody_out(vm: VM, ada: Person, key: Path) -> None:
    vm.run("systemctl stop pyhomed-unlock.socket pyhomed.socket pyhomed.service")
    try:
        session = by_key(ada, key)
        session.expect("cannot be unlocked now")
        session.expect(shell.SHELL_PROMPT)
        session.settle()
        assert session.try_("cat letter")[0] != 0
        session.logout()
    finally:
        vm.run("systemctl start pyhomed.socket pyhomed-unlock.socket")


@ONCE
def test_pyhomed_that_is_killed_at_the_prompt_is_asked_again(vm: VM, ada: Person, key: Path) -> None:
    session = asked(ada, key)
    vm.run("systemctl kill -s KILL pyhomed.service")
    session.expect(PROMPT)
    session.terminal.sendline(ada.password)
    session.expect(shell.SHELL_PROMPT)
    session.settle()
    assert session.do("cat letter") == people.LETTER
    session.logout()
    ada.wait_until_locked()


@ONCE
def test_as_forced_command_of_sshd(vm: VM, ada: Person, key: Path) -> None:
    """Without touching the password database."""
    vm.run("pyhome shell disable --yes ada")
    with sshd_setting(vm, KEYS, "Match User ada", f"ForceCommand {STUB}"):
        assert run(ada, key, "true").code == LOCKED
        session = unlocked(ada, key)
        assert session.do("cat letter; echo $0 $SHELL $GREETING") == f"{people.LETTER}\n-bash /bin/bash hello"
        assert run(ada, key, "cat; exit 3", stdin=b"input") == Result("ssh", 3, "input", "")
        session.logout()
    ada.wait_until_locked()


@ONCE
def test_a_login_by_password_is_not_asked_twice(ada: Person, vm: VM) -> None:
    with shell.ssh(vm, ada.name, ada.password) as session:
        assert session.do("cat letter; echo $0") == f"{people.LETTER}\n-bash"
        assert "is locked" not in session.greeting
        session.logout()
    ada.wait_until_locked()


@ONCE
def test_removing_the_package_gives_the_shell_back(vm: VM, ada: Person) -> None:
    """Tried without removing: what would be done first is done, and then taken back. Before, chsh has changed the real shell."""
    for real in ("/bin/dash", "/bin/bash"):
        vm.run(f"chsh -s {real} {ada.name}")
        vm.wait_for(lambda: vm.out(f"getent passwd {ada.name}").endswith(STUB), "pyhome-shell is back", 30)
        assert vm.out("grep -v '^#' /etc/pyhome-shells") == f"{ada.name}:{real}"
    vm.run("sh -e /var/lib/dpkg/info/pyhome.prerm upgrade 99")
    assert vm.out("getent passwd ada").endswith(STUB)
    vm.run("(sed '/pam-auth-update/,$d' /var/lib/dpkg/info/pyhome.prerm; echo fi) > /root/prerm; sh -e /root/prerm remove")
    assert vm.out(f"getent passwd {ada.name}").endswith(":/bin/bash")
