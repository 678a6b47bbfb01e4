"""``pyhome ecryptfs`` beside the real tools: whatever succeeds prints the same; whatever fails says why in one line."""

from __future__ import annotations

import io
import os
import stat
import termios
from pathlib import Path
from typing import Any

import pexpect  # type: ignore[import-untyped]  # the package has no annotations
import pytest

from pam_pyhome.admin import ecryptfs_tools as tools
from pam_pyhome.errors import WrongPassphraseError
from tests.unit import known
from tests.unit.sandbox import OURS, REAL, Ran, Sandbox, sandbox

__all__ = ["sandbox"]

GOOD = next(vector for vector in known.version2() if vector["id"] == "typical-32hex")
MOUNT = known.raw(GOOD, "mount_passphrase")
PASSWORD = known.raw(GOOD, "wrapping_passphrase")
WORD = PASSWORD.decode()
FEKEK = GOOD["sig_fekek"]
# Passphrases that the vectors have no example of: 64 bytes, not UTF-8, formats of printf, the first byte of version 2, options.
ODD = [b"m" * 64, b"\xff\xfe", b"%n%s%%", b":\x02x", b"--help", "\u00fcn\u00efcode".encode(), b" "]


@pytest.fixture
def file(sandbox: Sandbox) -> Path:
    """The default wrapped-passphrase file, made by the real tool."""
    path = sandbox.home / ".ecryptfs" / "wrapped-passphrase"
    path.parent.mkdir()
    path.write_bytes(known.raw(GOOD, "wrapped_v2"))
    path.chmod(0o600)
    return path


def assert_one_line(ran: Ran, *parts: str, code: int | None = None) -> None:
    """A failure: no output, a status that is not 0, and one line with all `parts` in it."""
    line = ran.stderr.decode()
    assert ran.returncode != 0
    assert code is None or ran.returncode == code
    assert ran.stdout == b""
    assert line.count("\n") == 1
    assert line.startswith("pyhome")
    for part in parts:
        assert part in line


# Success looks the same.

SUCCESSES: dict[str, tuple[list[str], bytes]] = {
    "unwrap stdin": (["unwrap", "FILE", "-"], PASSWORD),
    "unwrap stdin with more lines": (["unwrap", "FILE", "-"], PASSWORD + b"\nmore\n"),
    "unwrap argument": (["unwrap", "FILE", WORD], b""),
    "wrap stdin": (["wrap", "NEW", "-"], b"mount\nwrapping"),
    "wrap stdin with more lines": (["wrap", "NEW", "-"], b"mount\nwrapping\nmore"),
    "wrap arguments": (["wrap", "NEW", "mount", "wrapping"], b""),
    "wrap over a file": (["wrap", "FILE", "mount", "wrapping"], b""),
    "rewrap stdin": (["rewrap", "FILE", "-"], PASSWORD + b"\nnew"),
    "rewrap arguments": (["rewrap", "FILE", WORD, "new"], b""),
    "add": (["add-passphrase", "-"], MOUNT),
    "add both": (["add-passphrase", "--fnek", "-"], MOUNT + b"\n"),
    "insert stdin": (["insert", "FILE", "-"], PASSWORD),
    "insert argument": (["insert", "FILE", WORD], b""),
}


@pytest.mark.parametrize(("arguments", "stdin"), SUCCESSES.values(), ids=SUCCESSES.keys())
def test_success_prints_what_the_real_tool_prints(
    sandbox: Sandbox, file: Path, arguments: list[str], stdin: bytes
) -> None:
    paths = {"FILE": str(file), "NEW": str(file.parent / "new")}
    verb, *rest = [paths.get(argument, argument) for argument in arguments]
    real = sandbox.real(verb, *rest, stdin=stdin)
    file.write_bytes(known.raw(GOOD, "wrapped_v2"))
    ours = sandbox.ours(verb, *rest, stdin=stdin)
    assert (real.returncode, real.stderr) == (0, b"")
    assert (ours.returncode, ours.stderr, ours.stdout) == (0, b"", real.stdout)


def on_terminal(sandbox: Sandbox, command: list[str], answers: list[str]) -> tuple[bytes, int | None]:
    """What a terminal shows while a command is run and its prompts are answered, and the exit status."""
    argv = [os.fsdecode(part) for part in sandbox.argv(*command)]
    log = io.BytesIO()
    child = pexpect.spawn(argv[0], argv[1:], env=sandbox.environment, cwd=str(sandbox.home), timeout=30)
    child.logfile_read = log
    for answer in answers:
        child.expect_exact(": ")
        child.waitnoecho()
        child.sendline(answer)
    child.expect(pexpect.EOF)
    child.close()
    return log.getvalue(), child.exitstatus


DIALOGUES: dict[str, tuple[list[str], list[str]]] = {
    "unwrap": (["unwrap", "FILE"], [WORD]),
    "unwrap the default file": (["unwrap"], [WORD]),
    "wrap": (["wrap", "NEW"], ["mount", "wrapping"]),
    "rewrap": (["rewrap", "FILE"], [WORD, "new", "new"]),
    "add": (["add-passphrase"], ["mount"]),
    "add both": (["add-passphrase", "--fnek"], ["mount"]),
    "insert": (["insert", "FILE"], [WORD]),
    "insert the default file": (["insert"], [WORD]),
}


@pytest.mark.parametrize(("arguments", "answers"), DIALOGUES.values(), ids=DIALOGUES.keys())
def test_a_dialogue_looks_like_the_real_one(
    sandbox: Sandbox, file: Path, arguments: list[str], answers: list[str]
) -> None:
    paths = {"FILE": str(file), "NEW": str(file.parent / "new")}
    verb, *rest = [paths.get(argument, argument) for argument in arguments]
    real = on_terminal(sandbox, [REAL[verb], *rest], answers)
    file.write_bytes(known.raw(GOOD, "wrapped_v2"))
    ours = on_terminal(sandbox, [*OURS, verb, *rest], answers)
    assert real[1] == 0
    assert ours == real


def test_prompts_do_not_mix_with_a_result_that_is_piped(sandbox: Sandbox, file: Path) -> None:
    command = ["sh", "-c", 'result=$("$@") && echo "<$result>"', "sh", *OURS, "unwrap", str(file)]
    assert on_terminal(sandbox, command, [WORD]) == (b"Passphrase: \r\n<" + MOUNT + b">\r\n", 0)


def test_without_terminal_and_dash_the_lines_of_the_input_answer_silently(sandbox: Sandbox, file: Path) -> None:
    ran = sandbox.ours("rewrap", str(file), stdin=PASSWORD + b"\nnew\nnew\n")
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, b"", b"")
    assert sandbox.real("unwrap", str(file), "new").stdout == MOUNT + b"\n"


def test_dash_alone_means_the_default_file(sandbox: Sandbox, file: Path) -> None:
    assert sandbox.ours("unwrap", "-", stdin=PASSWORD).stdout == MOUNT + b"\n"
    assert FEKEK.encode() in sandbox.ours("insert", "-", stdin=PASSWORD).stdout
    assert file.exists()


# Files travel both ways.


@pytest.mark.parametrize("passphrase", [known.raw(vector, "mount_passphrase") for vector in known.version2()] + ODD)
def test_what_we_wrap_the_real_tool_opens_and_the_other_way_round(sandbox: Sandbox, passphrase: bytes) -> None:
    word = passphrase[::-1]
    assert sandbox.ours("wrap", "ours", "-", stdin=passphrase + b"\n" + word).returncode == 0
    assert sandbox.real("unwrap", "ours", "-", stdin=word).stdout == passphrase + b"\n"
    assert sandbox.real("wrap", "real", "-", stdin=passphrase + b"\n" + word).returncode == 0
    assert sandbox.ours("unwrap", "real", "-", stdin=word).stdout == passphrase + b"\n"


@pytest.mark.parametrize("vector", known.version1()[:3] + known.version2()[:3], ids=known.name)
def test_rewrapped_files_open_on_the_other_side(sandbox: Sandbox, vector: dict[str, Any]) -> None:
    data = known.raw(vector, "wrapped_v1" if "wrapped_v1_hex" in vector else "wrapped_v2")
    old, expected = known.raw(vector, "wrapping_passphrase"), known.raw(vector, "mount_passphrase") + b"\n"
    (sandbox.home / "file").write_bytes(data)
    assert sandbox.ours("rewrap", "file", "-", stdin=old + b"\nby us").returncode == 0
    assert sandbox.real("unwrap", "file", "-", stdin=b"by us").stdout == expected
    assert sandbox.real("rewrap", "file", "-", stdin=b"by us\nby them").returncode == 0
    assert sandbox.ours("unwrap", "file", "-", stdin=b"by them").stdout == expected
    assert (sandbox.home / "file").read_bytes()[:2] == b":\x02"


def test_a_password_longer_than_the_format_allows_opens_its_file(sandbox: Sandbox) -> None:
    long = b"correct horse " * 10
    assert sandbox.ours("wrap", "file", "-", stdin=MOUNT + b"\n" + long).returncode == 0
    assert sandbox.ours("unwrap", "file", "-", stdin=long).stdout == MOUNT + b"\n"
    assert_one_line(sandbox.ours("unwrap", "file", "-", stdin=long[:64]), "does not open it", code=13)


# Keys are the same.

KEYS = """
"$@" >&2
keyctl link @u @s
for key in $(keyctl rlist @u); do keyctl rdescribe $key; keyctl pipe $key | od -An -v -tx1 | tr -d ' \\n'; echo; done | sort
"""


@pytest.mark.parametrize(
    ("arguments", "stdin", "count"),
    [
        (["add-passphrase", "-"], MOUNT, 1),
        (["add-passphrase", "--fnek", "-"], MOUNT, 2),
        (["insert", "FILE", "-"], PASSWORD, 2),
    ],
)
@pytest.mark.parametrize("rc", ["", "salt=0123456789abcdef\n"])
def test_the_keys_are_those_the_real_tools_add(
    sandbox: Sandbox, file: Path, arguments: list[str], stdin: bytes, count: int, rc: str
) -> None:
    (sandbox.home / ".ecryptfsrc").write_text(rc)
    verb, *rest = [str(file) if argument == "FILE" else argument for argument in arguments]
    ours = sandbox.shell(KEYS, *OURS, verb, *rest, stdin=stdin)
    real = sandbox.shell(KEYS, REAL[verb], *rest, stdin=stdin)
    assert ours.stdout == real.stdout
    assert ours.stdout.count(b"user;0;0;3f010000;") == count
    assert (FEKEK.encode() in ours.stdout) is (rc == "")
    if not rc:
        assert GOOD["fekek"]["payload_hex"].encode() in ours.stdout


def test_adding_keys_twice_is_as_good_as_once(sandbox: Sandbox) -> None:
    script = 'echo 1 | "$@"; echo 1 | "$@"; keyctl rlist @u | wc -w'
    ran = sandbox.shell(script, *OURS, "add-passphrase", "--fnek", "-")
    first, second, third, fourth, count = ran.stdout.splitlines()
    assert (first, second, count) == (third, fourth, b"2")


def test_a_revoked_key_is_added_anew(sandbox: Sandbox) -> None:
    script = """
    echo 1 | "$@"; keyctl link @u @s; for key in $(keyctl rlist @u); do keyctl revoke $key; done
    echo 1 | "$@"; for key in $(keyctl rlist @u); do keyctl pipe $key | wc -c; done
    """
    assert sandbox.shell(script, *OURS, "add-passphrase", "-").stdout.splitlines()[2:] == [b"740"]


RC_FILES = [
    "salt=0123456789abcdef\n", "salt=0123456789ABCDEF", "salt=01234567\n", "key=passphrase,salt=0123456789abcdef\n",
    "salt=1111111111111111,salt=0123456789abcdef\n", " salt=0123456789abcdef\n", "salt =0123456789abcdef\n",
    "#salt=0123456789abcdef\n", "salt\nsalt=0123456789abcdef\n", "salt=0123456789abcdef0\n", "a=b\nsalt=0123456789abcdef\nc",
    "salt=0123456789abcdef\r\n", "salt=1234\nsalt=0123456789abcdef\n", "salt=0123456789abcdef=x\n",
    "\n\n,,salt=0123456789abcdef\n",
]  # fmt: skip


def test_the_salt_of_the_rc_file_is_read_as_the_real_tools_read_it(sandbox: Sandbox) -> None:
    script = """
    dir=$1; shift; for rc in "$dir"/rc.*; do
    cp "$rc" "$dir/.ecryptfsrc"; echo mount | ecryptfs-add-passphrase -; echo mount | "$@" add-passphrase -; keyctl clear @u; done
    """
    for number, content in enumerate(RC_FILES):
        (sandbox.home / f"rc.{number:02}").write_text(content)
    lines = sandbox.shell(script, str(sandbox.home), *OURS).stdout.splitlines()
    assert len(lines) == 2 * len(RC_FILES)
    assert lines[::2] == lines[1::2]
    assert len(set(lines)) == 3


def test_a_version_1_file_is_read_with_the_salt_of_the_rc_file(sandbox: Sandbox) -> None:
    vector = known.version1()[1]
    (sandbox.home / "file").write_bytes(known.raw(vector, "wrapped_v1"))
    (sandbox.home / ".ecryptfsrc").write_text("salt=0123456789abcdef\n")
    word = known.raw(vector, "wrapping_passphrase")
    assert sandbox.real("unwrap", "file", "-", stdin=word).returncode == 1
    assert_one_line(sandbox.ours("unwrap", "file", "-", stdin=word), "does not open it", code=13)
    (sandbox.home / ".ecryptfsrc").write_text("salt=0011223344556677\n")
    assert sandbox.ours("unwrap", "file", "-", stdin=word).stdout == known.raw(vector, "mount_passphrase") + b"\n"


# Failure is one line.

VERB_OF = {tool: verb for verb, tool in REAL.items()}
# The limits of what the real tools take that we do not share: long passwords and short arguments.
ALLOWED = {"wrap wrapping pw 65 chars", "unwrap 1-char argv"}


@pytest.mark.parametrize("reject", [each for each in known.rejects() if each["name"] not in ALLOWED], ids=known.name)
def test_what_the_real_tools_refuse_we_refuse_in_one_line(sandbox: Sandbox, reject: dict[str, Any]) -> None:
    verb = VERB_OF[reject["argv"][0]]
    path = sandbox.home / "file"
    if "missing" not in reject["name"] and verb == "unwrap":
        path.write_bytes(known.raw(reject, "file") if "file_hex" in reject else known.raw(GOOD, "wrapped_v2"))
    files = [] if verb == "add-passphrase" else ["file"]
    before = sorted(sandbox.home.iterdir())
    assert_one_line(sandbox.ours(verb, *files, "-", stdin=known.raw(reject, "stdin")))
    assert sorted(sandbox.home.iterdir()) == before


FAILURES: dict[str, tuple[list[str], bytes, int, list[str]]] = {
    "wrong passphrase": (["unwrap", "FILE", "-"], b"wrong", 13, ["FILE: this passphrase does not open it; try"]),
    "wrong passphrase to insert": (["insert", "FILE", "-"], b"wrong", 13, ["FILE", "does not open it; try"]),
    "wrong old passphrase": (["rewrap", "FILE", "-"], b"wrong\nnew", 13, ["FILE", "does not open it; try"]),
    "empty new passphrase": (
        ["rewrap", "FILE", "-"],
        PASSWORD + b"\n\n",
        12,
        ["wrapping passphrase has 0 bytes; give"],
    ),
    "no new passphrase": (["rewrap", "FILE", "-"], PASSWORD, 12, ["wrapping passphrase has 0 bytes; give"]),
    "NUL": (["unwrap", "FILE", "-"], b"a\0b", 12, ["has 3 bytes; give one of 1 to 64 bytes without NUL"]),
    "not repeated": (["rewrap", "FILE"], PASSWORD + b"\nnew\nnow\n", 1, ["FILE", "do not match", "start again"]),
    "long mount passphrase": (["wrap", "NEW", "x" * 65, "y"], b"", 12, ["mount passphrase has 65 bytes; give"]),
    "missing file": (["unwrap", "NEW", "x"], b"", 1, ["NEW: No such file or directory; check the path"]),
    "missing directory": (["wrap", "NEW/x", "m", "w"], b"", 1, ["NEW/x: No such file or directory; check the path"]),
    "a directory": (["unwrap", "DIR", "x"], b"", 15, ["DIR: is no regular file; name"]),
    "a directory to write": (["wrap", "DIR/", "m", "w"], b"", 1, ["DIR/: Is a directory; name a file in it"]),
    "a link": (["unwrap", "LINK", "x"], b"", 15, ["LINK: is a link or no regular file; name"]),
    "a link to write": (["wrap", "LINK", "m", "w"], b"", 15, ["LINK: is a link or no regular file; name"]),
    "a FIFO": (["unwrap", "FIFO", "x"], b"", 15, ["FIFO: is no regular file; name"]),
    "a large file": (["unwrap", "LARGE", "x"], b"", 15, ["LARGE: has 91 bytes, more than 90; name"]),
    "damaged": (["unwrap", "BAD", "x"], b"", 10, ["BAD: is damaged (", "restore it from a backup"]),
    "another version": (["unwrap", "THREE", "x"], b"", 11, ["THREE: is of version 3", "use the program that wrote it"]),
    "too many arguments": (["unwrap", "FILE", "x", "y"], b"", 2, ["see 'pyhome ecryptfs unwrap --help'"]),
    "too few arguments": (["rewrap", "FILE", "x"], b"", 2, ["see 'pyhome ecryptfs rewrap --help'"]),
    "no arguments": (["wrap"], b"", 2, ["FILE is missing; see 'pyhome ecryptfs wrap --help'"]),
    "a passphrase to add": (["add-passphrase", "x"], b"", 2, ["not taken from the command line; see"]),
    "an unknown option": (["add-passphrase", "--all"], b"", 2, ["No such option: --all; see"]),
    "an unknown verb": (["unlock"], b"", 2, ["No such command 'unlock'; see 'pyhome ecryptfs --help'"]),
    "a line break in a path": (["unwrap", "new\nline", "x"], b"", 1, ["new\\nline: No such file"]),
}


@pytest.mark.parametrize(("arguments", "stdin", "code", "parts"), FAILURES.values(), ids=FAILURES.keys())
def test_failures(
    sandbox: Sandbox, file: Path, arguments: list[str], stdin: bytes, code: int, parts: list[str]
) -> None:
    directory = file.parent
    (directory / "LINK").symlink_to(file)
    os.mkfifo(directory / "FIFO")
    (directory / "LARGE").write_bytes(bytes(91))
    (directory / "BAD").write_bytes(file.read_bytes()[:-1])
    (directory / "THREE").write_bytes(b":\x03" + file.read_bytes()[2:])
    (directory / "DIR").mkdir()
    file.rename(directory / "FILE")
    (directory / "LINK").unlink()
    (directory / "LINK").symlink_to("FILE")
    before = {path.name: path.lstat() for path in directory.iterdir()}
    names = {"FILE", "NEW", "NEW/x", "DIR", "DIR/", "LINK", "FIFO", "LARGE", "BAD", "THREE"}
    paths = [f"{directory}/{argument}" if argument in names else argument for argument in arguments]
    assert_one_line(sandbox.ours(*paths, stdin=stdin), *parts, code=code)
    after = {path.name: path.lstat() for path in directory.iterdir()}
    assert {name: status.st_ino for name, status in after.items()} == {
        name: status.st_ino for name, status in before.items()
    }


def test_nobody_is_asked_for_a_secret_of_a_file_that_is_not_there(sandbox: Sandbox, file: Path) -> None:
    file.unlink()
    for verb in ("unwrap", "insert", "rewrap"):
        said, status = on_terminal(sandbox, [*OURS, verb, str(file)], [])
        assert status == 1, said
        assert b"assphrase" not in said.replace(os.fsencode(file), b""), said
        assert b"No such file or directory" in said


def test_a_malformed_rc_file_is_named(sandbox: Sandbox) -> None:
    (sandbox.home / ".ecryptfsrc").write_text("salt=0123456789abcdeg\n")
    ran = sandbox.ours("add-passphrase", "-", stdin=b"x")
    assert_one_line(ran, "~/.ecryptfsrc: the salt is not 16 hexadecimal digits; correct", code=10)


def test_a_full_keyring_says_so(sandbox: Sandbox) -> None:
    """Outside namespaces the limit is 200 keys; here the kernel's refusal is brought about by a sandbox of system calls."""
    command = (
        "strace",
        "-f",
        "-qq",
        "-o",
        "/dev/null",
        "-e",
        "inject=add_key:error=EDQUOT",
        *OURS,
        "add-passphrase",
        "-",
    )
    assert_one_line(sandbox.run(*command, stdin=b"x"), "user keyring: Disk quota exceeded; free some", "keyctl show @u")


def test_output_that_cannot_be_written_is_a_failure(sandbox: Sandbox, file: Path) -> None:
    ran = sandbox.run("sh", "-c", '"$@" > /dev/full', "sh", *OURS, "unwrap", str(file), WORD)
    assert_one_line(ran, "the standard output cannot be written: No space left on device; send it somewhere else", code=1)
    ran = sandbox.run("sh", "-c", '"$@" >&-', "sh", *OURS, "unwrap", str(file), WORD)
    assert_one_line(ran, "the standard output cannot be written: Bad file descriptor", code=1)


def test_an_interrupted_prompt_leaves_the_terminal_as_it_was(sandbox: Sandbox, file: Path) -> None:
    argv = [os.fsdecode(part) for part in sandbox.argv(*OURS, "unwrap", str(file))]
    child = pexpect.spawn(argv[0], argv[1:], env=sandbox.environment, timeout=30)
    child.expect_exact("Passphrase: ")
    child.waitnoecho()
    child.sendintr()
    child.expect_exact("interrupted; start again if that was not meant\r\n")
    assert termios.tcgetattr(child.child_fd)[3] & termios.ECHO
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 130


def test_help_is_no_failure(sandbox: Sandbox) -> None:
    for arguments in ([], ["--help"], ["unwrap", "--help"]):
        ran = sandbox.ours(*arguments)
        assert (ran.returncode, ran.stderr) == (0, b"")
        assert ran.stdout.startswith(b"Usage: pyhome ecryptfs")


# Nothing is lost.


def test_files_are_private_and_the_previous_one_is_kept(sandbox: Sandbox, file: Path) -> None:
    before = file.read_bytes()
    file.chmod(0o644)
    assert sandbox.ours("rewrap", str(file), WORD, "new").returncode == 0
    kept = file.with_name("wrapped-passphrase.old")
    assert kept.read_bytes() == before
    assert sorted(path.name for path in file.parent.iterdir()) == [file.name, kept.name]
    for path in (file, kept):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert sandbox.ours("wrap", str(file), "mount", "word").returncode == 0
    assert sandbox.real("unwrap", str(kept), "new").stdout == MOUNT + b"\n"


def test_a_link_in_place_of_the_old_file_is_replaced_not_followed(sandbox: Sandbox, file: Path) -> None:
    victim = sandbox.home / "victim"
    victim.write_text("mine")
    for suffix in (".old", ".pyhome-new", ".old.pyhome-new"):
        file.with_name(file.name + suffix).symlink_to(victim)
    assert sandbox.ours("rewrap", str(file), WORD, "new").returncode == 0
    assert victim.read_text() == "mine"
    assert sandbox.ours("unwrap", f"{file}.old", WORD).stdout == MOUNT + b"\n"


def test_a_full_disk_loses_nothing(sandbox: Sandbox, file: Path) -> None:
    script = """
    mkdir small; mount -t tmpfs -o size=4k tmpfs small; cp "$1" small/file; shift
    status=0; "$@" rewrap small/file "$WORD" new || status=$?
    "$@" unwrap small/file "$WORD"; ls small; exit $status
    """.replace("$WORD", WORD)
    ran = sandbox.run("sh", "-e", "-c", script, "sh", str(file), *OURS)
    assert (ran.returncode, ran.stdout) == (1, MOUNT + b"\nfile\n")
    assert ran.stderr.decode().count("\n") == 1
    assert b"No space left on device; free some" in ran.stderr


def opens(file: Path, word: str) -> bool:
    """Whether `word` opens the file and gets the mount passphrase."""
    try:
        return tools.unwrap(str(file), word.encode()) == MOUNT
    except WrongPassphraseError:
        return False


STEPS = ["openat", "write", "ftruncate", "fsync", "renameat", "unlinkat"]


@pytest.mark.parametrize("call", STEPS)
@pytest.mark.guarantee(11)
def test_killed_at_any_step_one_of_the_passphrases_opens_the_file(sandbox: Sandbox, file: Path, call: str) -> None:
    """SIGKILL at the first, second, … of these calls that concern the file's directory, until a run gets through."""
    good = file.read_bytes()
    for number in range(1, 20):
        for path in file.parent.iterdir():
            path.unlink()
        file.write_bytes(good)
        command = ["-o", "/dev/null", "-e", f"inject={call}:signal=KILL:when={number}", "-P", str(file.parent)]
        for name in ("", ".pyhome-new", ".old", ".old.pyhome-new"):
            command += ["-P", f"{file}{name}"]
        ran = sandbox.run("strace", "-f", "-qq", *command, *OURS, "rewrap", str(file), WORD, "new")
        done = opens(file, "new")
        assert done or opens(file, WORD)
        if ran.returncode == 0:
            assert done
            assert number > 1
            return
    pytest.fail("never got through")
