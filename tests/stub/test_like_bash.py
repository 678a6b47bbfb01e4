"""Without an encrypted home, or with an open one, nobody can tell the login shell from the real one: the same, byte for byte."""

from __future__ import annotations

import hashlib
import re
import shutil
from typing import TYPE_CHECKING

import pytest

from tests.stub.place import BASH, STUB, Done, Place, ended

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

BLOB = b"".join(hashlib.sha512(b"%d" % number).digest() for number in range(20000))
NUMBERS = re.compile(rb"(?<=127\.0\.0\.1 )\d+|(?<=127\.0\.0\.1:)\d+|/dev/pts/\d+|(pipe|socket):\[\d+\]")

#: What a session inherits, as it sees it.
COMMANDS = {
    "name and kind": 'echo "$0|$-|$#|$BASH_EXECUTION_STRING"; shopt login_shell',
    "place": "pwd; umask; id",
    "environment": "env | sort",
    "raw environment": "tr '\\0' '\\n' </proc/$$/environ",
    "arguments": "tr '\\0' '|' </proc/$$/cmdline",
    "signals": "grep -E 'Sig(Blk|Ign|Cgt)' /proc/$$/status",
    "limits": "cat /proc/$$/limits",
    "scheduling": "nice; cat /proc/$$/oom_score_adj /proc/$$/timerslack_ns",
    "descriptors": "cd /proc/$$/fd; for fd in *; do echo $fd $(readlink $fd); done",
    "descent": "ps -o comm= -p $PPID; ps -o pgid=,sid= -p $$ | awk '{print $1 == $2}'",
    "a broken pipe": "yes | head -n 1; echo ${PIPESTATUS[*]}",
    "status": "exit 7",
    "status 255": "exit 255",
    "no such command": "no-such-command",
    "a syntax error": "(",
    "a signal": "kill -TERM $$",
    "an aborted child": "sh -c 'kill -SEGV $$'",
    "both outputs": "echo out; echo err >&2",
    "bytes": "printf '\\377\\000\\r\\n\\033[m'",
    "quoting": """printf '<%s>' "a b" 'c"d' \\$HOME "$HOME" é""",
    "standard input": "wc -c; read line; echo $?",
    "nothing": "",
    "a newline": "echo a\necho b",
}


def both(served: Place, act: Callable[[], Done]) -> tuple[Done, Done]:
    """The same with bash as the login shell and with ours."""
    results = []
    for shell in (BASH, STUB):
        served.set_shell("pat", shell)
        done = act()
        results.append(Done(done.status, NUMBERS.sub(b"N", done.out), NUMBERS.sub(b"N", done.err)))
    return results[0], results[1]


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS.keys())
def test_a_command(served: Place, command: str) -> None:
    theirs, ours = both(served, lambda: served.ssh("pat", command, stdin=BLOB))
    assert ours == theirs


@pytest.mark.parametrize("locale", ["C", "C.UTF-8", "POSIX", "xx_YY", ""])
def test_no_locale_is_added(served: Place, locale: str) -> None:
    """Python sets LC_CTYPE in some of them, for itself and, if one is not careful, for its successor."""
    options = ["-T", "-o", f"SetEnv=LC_CTYPE={locale}"]
    theirs, ours = both(served, lambda: served.ssh("pat", "env | sort", options=options))
    assert ours == theirs
    assert b"LC_CTYPE=" + locale.encode() + b"\n" in ours.out


def test_a_login_without_a_terminal_is_a_login(served: Place) -> None:
    script = b'echo "$0|$#"; shopt login_shell; pwd; env | sort; grep Sig /proc/$$/status; exit 5\n'
    theirs, ours = both(served, lambda: served.ssh("pat", stdin=script))
    assert ours == theirs
    assert ours.status == 5
    assert b"-bash|0" in ours.out
    assert b"GREETING=here" in ours.out


@pytest.mark.parametrize("command", [[], ["bash"]], ids=["login", "command"])
def test_on_a_terminal(served: Place, command: list[str]) -> None:
    def session() -> Done:
        terminal = served.ssh_terminal("pat", *command)
        terminal.expect(r"\$ ")
        terminal.sendline("stty -echo; PS1=; bind 'set enable-bracketed-paste off' 2>/dev/null; echo beg''in")
        terminal.expect("begin\r\n")
        terminal.sendline('echo "$0|$-"; shopt login_shell; tty >/dev/null; stty -a; env | sort; pwd; umask; exit 9')
        status = ended(terminal)
        assert terminal.before is not None
        return Done(status, terminal.before.encode(), b"")

    theirs, ours = both(served, session)
    assert ours == theirs
    assert ours.status == 9


def test_job_control_and_interrupts_work_on_a_terminal(served: Place) -> None:
    terminal = served.ssh_terminal("pat")
    terminal.expect(r"\$ ")
    for key, effect in (("c", r"\$ "), ("z", "Stopped")):
        terminal.sendline("sh -c 'echo run''ning; exec sleep 100'")
        terminal.expect("running\r\n")
        terminal.sendcontrol(key)
        terminal.expect(effect)
    terminal.sendline("kill -KILL %1; disown -a; exit 4")
    assert ended(terminal) == 4


def test_a_forced_command_of_a_key(served: Place) -> None:
    served.authorize("pat", r'command="echo \"$0|$SSH_ORIGINAL_COMMAND\"; env | sort"')
    try:
        theirs, ours = both(served, lambda: served.ssh("pat", "rm -rf /"))
        assert ours == theirs
        assert b"bash|rm -rf /" in ours.out
        theirs, ours = both(served, lambda: served.ssh("pat"))
        assert ours == theirs
    finally:
        served.authorize("pat")


COPIES = {
    "scp": ["scp", "-q"],
    "scp by its old protocol": ["scp", "-q", "-O"],
    "rsync": ["rsync", "-a", "-e"],
}


@pytest.mark.parametrize("tool", COPIES.values(), ids=COPIES.keys())
def test_copying(served: Place, tmp_path: Path, tool: list[str]) -> None:
    source = tmp_path / "source"
    source.write_bytes(BLOB)
    options = [" ".join(["ssh", *served.options()])] if tool[0] == "rsync" else served.options()
    back = tmp_path / "back"
    there = "pat@127.0.0.1:there"

    def copy() -> Done:
        back.unlink(missing_ok=True)
        up = served.local([*tool, *options, str(source), there])
        down = served.local([*tool, *options, there, str(back)])
        assert back.read_bytes() == BLOB
        return Done(up.status or down.status, up.out + down.out, up.err + down.err)

    assert both(served, copy) == (Done(0, b"", b""),) * 2


def test_sftp(served: Place, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(BLOB)
    script = f"put {tmp_path}/source there\nls -1\npwd\nget there {tmp_path}/back\nrm there\nget nothing\n".encode()

    def session() -> Done:
        (tmp_path / "back").unlink(missing_ok=True)
        done = served.local(["sftp", *served.options(), "pat@127.0.0.1"], stdin=script)
        assert (tmp_path / "back").read_bytes() == BLOB
        return done

    theirs, ours = both(served, session)
    assert ours == theirs


def test_git(served: Place, tmp_path: Path) -> None:
    ssh = {"GIT_SSH_COMMAND": " ".join(["ssh", *served.options()]), "GIT_CONFIG_GLOBAL": "/dev/null"}
    identity = ["-c", "user.name=Pat", "-c", "user.email=pat@example.org"]
    script = "git init -q --bare repository && cd repository && git symbolic-ref HEAD refs/heads/main"

    def session() -> Done:
        assert served.ssh("pat", f"rm -rf repository; {script}").status == 0
        shutil.rmtree(tmp_path / "work", ignore_errors=True)
        url = f"ssh://pat@127.0.0.1:{served.port}/home/pat/repository"
        cloned = served.local(["git", "clone", "-q", url, str(tmp_path / "work")], environment=ssh)
        (tmp_path / "work/file").write_bytes(BLOB)
        commit = [*identity, "commit", "-qm", "First"]
        for words in (["checkout", "-qb", "main"], ["add", "file"], commit, ["push", "-q", "origin", "main"]):
            done = served.local(["git", "-C", str(tmp_path / "work"), *words], environment=ssh)
            assert done.status == 0, done
        return Done(cloned.status, served.ssh("pat", "cd repository; git show main:file | sha256sum").out, cloned.err)

    theirs, ours = both(served, session)
    assert ours == theirs
    assert ours.out.startswith(hashlib.sha256(BLOB).hexdigest().encode())


def test_an_editor_brings_its_server_along(served: Place) -> None:
    """As remote development does it: a script on the standard input of a plain sh, which leaves a daemon behind and ends."""
    script = b"""
    mkdir -p ~/.server && cd ~/.server && uname -s
    cat > server <<'END'
    #!/bin/sh
    sleep 0.3; echo served > served
END
    chmod +x server; nohup ./server >log 2>&1 </dev/null &
    echo "listening on $!" | sed 's/[0-9][0-9]*/PORT/'
    """
    theirs, ours = both(served, lambda: served.ssh("pat", "sh", stdin=script))
    assert ours == theirs
    assert ours.out == b"Linux\nlistening on PORT\n"
    assert served.ssh("pat", "sleep 1; cat .server/served; rm -r .server").out == b"served\n"


def test_as_forced_command_of_the_server_with_another_login_shell(served: Place, tmp_path: Path) -> None:
    """For sites that cannot touch the password database."""
    served.set_shell("pat", BASH)
    plain = [served.ssh("pat", command, stdin=BLOB) for command in ("cat", "exit 3", "echo $0 $SHELL")]
    port = served.port
    served.sshd(f"Subsystem sftp /usr/lib/openssh/sftp-server\nForceCommand {STUB}")
    try:
        assert [served.ssh("pat", command, stdin=BLOB) for command in ("cat", "exit 3", "echo $0 $SHELL")] == plain
        assert b"-bash here" in served.ssh("pat", stdin=b"echo $0 $GREETING\n").out
        (tmp_path / "source").write_bytes(BLOB)
        for tool in (["scp"], ["scp", "-O"]):
            assert served.local([*tool, *served.options(), str(tmp_path / "source"), "pat@127.0.0.1:there"]).status == 0
        assert served.ssh("pat", "cat there; rm there").out == BLOB
        refused = served.ssh("ada", "true")
        assert (refused.status, refused.out) == (75, b"")
        assert b"/home/ada is locked" in refused.err
    finally:
        served.port = port
