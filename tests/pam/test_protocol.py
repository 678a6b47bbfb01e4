"""What the module makes of what a worker says, well or badly."""

from __future__ import annotations

import pytest

from tests.pam.harness import IGNORED, Machine

pytestmark = pytest.mark.root

ALL = ("auth", "account", "open", "close", "chauthtok")
SYSTEM_ERR = 4


@pytest.mark.parametrize("code", [0, 7, 9, 19, 25, 30])
def test_an_explicit_reply_is_the_answer(machine: Machine, code: int) -> None:
    machine.install_worker(f"reply({code})")
    expected = IGNORED if code == 25 else code
    assert machine.pam("test", "ada", "auth", "chauthtok") == [f"auth {expected}", f"chauthtok {expected}"]
    assert machine.pam("test", "ada", "open") == [f"open {0 if code == 25 else code}"]


BROKEN = {
    "silent": "os._exit(0)",
    "crash": "os.kill(os.getpid(), 11)",
    "exception": "raise RuntimeError('as anything can')",
    "exit status 9": "os._exit(9)",
    "nothing to run": None,
    "empty frame": "raw(struct.pack('<I', 0))",
    "half a length": "raw(b'\\5\\0'); os._exit(0)",
    "short frame": "raw(struct.pack('<IB', 5, 31) + b'\\0'); os._exit(0)",
    "reply too short": "send(31, b'\\0\\0')",
    "reply too long": "send(31, bytes(5))",
    "reply out of range": "reply(32)",
    "reply negative": "reply(-1)",
    "reply huge": "reply(0x7fffffff)",
    "too long by one": "raw(struct.pack('<IB', 65537, 31) + bytes(65536))",
    "very long": "raw(struct.pack('<IB', 0xffffffff, 31))",
    "unknown verb": "send(25)",
    "its own kind": "send(1)",
    "garbage": "raw(os.urandom(4) + b'\\x7f' * 100)",
    "item without number": "send(16)",
    "item with a tail": "send(16, bytes(5))",
    "blob beyond the frame": "send(17, struct.pack('<II', 2, 100) + b'x')",
    "blob with NUL": "send(17, struct.pack('<I', 8) + blob(b'a\\0b'))",
    "blob nearly endless": "send(17, struct.pack('<II', 8, 0xfffffffe))",
    "no variable": "send(18, blob(None))",
    "no variable name": "send(19, blob(None))",
    "message without text": "send(20, struct.pack('<HI', 1, 1) + blob(None))",
    "more messages said than sent": "send(20, struct.pack('<HI', 2, 4) + blob(b'x'))",
    "fewer messages said than sent": "send(20, struct.pack('<HI', 0, 4) + blob(b'x'))",
    "data without value": "send(22, blob(b'pyhome.x.ada'))",
    "data without name": "send(23, blob(None))",
    "key without payload": "send(24, blob(b'x') + blob(None) + bytes(4))",
    "key without permissions": "send(24, blob(b'x') + blob(b'y'))",
    "flood": "raw(b'\\xff' * (1 << 20))",
    "reply behind a broken verb": "send(99)\nreply(0)",
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_worker_is_an_error_only_where_something_was_to_be_verified(machine: Machine, name: str) -> None:
    body = BROKEN[name]
    if body is None:
        machine.path("/usr/lib/pyhome/pyhome-worker").unlink()
    else:
        machine.install_worker(body)
    machine.write_pam("strict", "authenticate")
    codes = [f"auth {IGNORED}", f"account {IGNORED}", "open 0", "close 0", f"chauthtok {SYSTEM_ERR}"]
    assert machine.pam("test", "ada", *ALL) == codes
    assert machine.pam("strict", "ada", "auth") == [f"auth {SYSTEM_ERR}"]
    assert "gave no valid reply" in machine.log()


@pytest.mark.parametrize("name", ["hang", "drip", "answers unread", "endless verbs"])
def test_a_late_worker_is_given_up(impatient: Machine, name: str) -> None:
    late = {
        "hang": "import time\ntime.sleep(60)",
        "drip": "import time\nfor byte in struct.pack('<IBi', 5, 31, 0):\n    raw(bytes([byte]))\n    time.sleep(0.4)",
        "answers unread": "while True: send(16, struct.pack('<I', 2))",
        "endless verbs": "while True: verb(16, struct.pack('<I', 2))",
    }
    impatient.install_worker(late[name])
    assert impatient.pam("test", "ada", "open", "chauthtok") == ["open 0", f"chauthtok {SYSTEM_ERR}"]


def test_time_spent_in_a_conversation_does_not_count(impatient: Machine) -> None:
    impatient.install_worker("assert converse((1, b'Password: '))\nreply(0)")
    impatient.write_stack("slow", "auth required pam_pyhome.so\n")
    session = impatient.start("slow", "ada", "answer=secret", "slow-answers=3500", "auth")
    assert session.finish() == ["message 1 Password: ", "auth 0"]


def test_start_says_who_where_and_with_what(machine: Machine) -> None:
    machine.configure("# a comment\n\n  debug \nkeyring = user\n\tnew one = a = b\njobs=run\n")
    machine.write_pam("told", "unwrap [skip_services=x y]")
    machine.install_worker(
        "numbers = (start.version, start.flags & 0xffffffff, start.uid, start.gid)\n"
        "note(repr((*numbers, start.user, start.service, start.home)).replace(' ', ''))\n"
        "note(b'|'.join(start.tokens).decode().replace(' ', '_'))\nnote(str(start.pid))\nreply(0)"
    )
    pid, _ = machine.pam("told", "ada", "pid", "flags=32768", "auth")
    assert machine.worker_runs() == [
        "1",
        "(1,32768,61001,61001,b'ada',b'told',b'/home/ada')",
        "debug|keyring=user|new_one=a_=_b|jobs=run|unwrap|skip_services=x_y",
        pid.removeprefix("pid "),
    ]


def test_items(machine: Machine) -> None:
    machine.install_worker(
        "item = lambda number: struct.pack('<I', number)\n"
        "assert value(16, item(2)) == b'ada'\n"
        "assert value(16, item(3)) is None\n"
        "assert value(16, item(4)) == b'host \\xff'\n"
        "assert value(16, item(5)) == 29, 'the conversation is no string'\n"
        "assert value(16, item(12)) == 29 and value(16, item(0)) == 29 and value(16, item(2**32 - 1)) == 29\n"
        "assert verb(17, item(5) + blob(b'x'))[0] == 29\n"
        "assert verb(17, item(1) + blob(None))[0] == 29 and verb(17, item(2) + blob(b'eve'))[0] == 29\n"
        "assert verb(17, item(6) + blob(b'pass\\xfe' * 60))[0] == 0\n"
        "assert value(16, item(6)) == b'pass\\xfe' * 60\n"
        "assert verb(17, item(6) + blob(None))[0] == 0 and value(16, item(6)) is None\n"
        "assert verb(17, item(8) + blob(b''))[0] == 0 and value(16, item(8)) == b''\n"
        "reply(0)"
    )
    assert machine.pam("test", "ada", "item=4:host \udcff", "auth", "getitem=8") == ["item 0", "auth 0", "getitem "]


def test_environment(machine: Machine) -> None:
    machine.install_worker(
        "assert value(19, blob(b'COLOUR')) is None\n"
        "assert verb(18, blob(b'COLOUR=red'))[0] == 0 and value(19, blob(b'COLOUR')) == b'red'\n"
        "assert verb(18, blob(b'GONE=1'))[0] == 0 and verb(18, blob(b'GONE'))[0] == 0\n"
        "assert verb(18, blob(b''))[0] != 0\nreply(0)"
    )
    assert machine.pam("test", "ada", "auth", "getenv=COLOUR", "getenv=GONE") == ["auth 0", "getenv red", "getenv (null)"]


def test_data_stays_in_the_handle_and_only_there(machine: Machine) -> None:
    machine.install_worker(
        "name = blob(b'pyhome.opened.ada')\n"
        "if start.phase == 1:\n"
        "    assert value(23, name) is None\n"
        "    assert verb(22, name + blob(b'first'))[0] == 0\n"
        "    assert verb(22, name + blob(b'\\0\\xff' * 30000))[0] == 0\n"
        "    assert value(23, name) == b'\\0\\xff' * 30000\n"
        "    assert verb(22, blob(b'pyhome.empty.ada') + blob(b''))[0] == 0 and value(23, blob(b'pyhome.empty.ada')) == b''\n"
        "else:\n"
        "    kept = value(23, name)\n"
        "    assert verb(22, name + blob(None))[0] == 0 and value(23, name) is None\n"
        "    reply(0 if kept else 14)\n"
        "    os._exit(0)\n"
        "for foreign in (b'unix_setcred_return', b'pyhome.lease.ada', b'pyhome.auth.ada', b'pyhome'):\n"
        "    assert value(23, blob(foreign)) == 6 and verb(22, blob(foreign) + blob(b'x'))[0] == 6\n"
        "reply(0)"
    )
    assert machine.pam("test", "ada", "auth", "open", "open", "end", "open") == ["auth 0", "open 0", "open 14", "open 14"]


def test_a_value_that_does_not_fit_is_refused(machine: Machine) -> None:
    machine.install_worker(
        "name = blob(b'pyhome.opened.ada')\n"
        "room = 65536 - 1 - len(name) - 4\n"
        "assert verb(22, name + blob(bytes(room)))[0] == 0\n"
        "answer = value(23, name)\nassert answer == bytes(room), answer\n"
        "assert verb(18, blob(b'V=' + b'x' * 65500))[0] == 0 and len(value(19, blob(b'V'))) == 65500\n"
        "reply(0)"
    )
    assert machine.pam("test", "ada", "auth") == ["auth 0"]


def test_conversation(machine: Machine) -> None:
    machine.install_worker(
        "answers = converse((4, b'Hello'), (1, b'Password: '), (3, b'Oh'), (2, b'Name: '))\n"
        "assert answers == [None, b'p\\xe4ss\\x80', None, b''], answers\n"
        "assert converse((1, b'again')) == 19, 'nothing left to answer'\n"
        "assert converse() == []\nreply(0)"
    )
    said = machine.pam("test", "ada", "answerx=70e4737380", "answer=", "auth")
    assert said == ["message 4 Hello", "message 1 Password: ", "message 3 Oh", "message 2 Name: ", "message 1 again", "auth 0"]


def test_answers_of_any_length_that_pam_allows(machine: Machine) -> None:
    machine.install_worker(
        "assert converse((1, b'a')) == [b'\\xff' * 511]\nassert converse((1, b'b')) == 5, 'too long for PAM'\nreply(0)"
    )
    assert machine.pam("test", "ada", "answerx=" + "ff" * 511, "answerx=" + "ff" * 600, "auth")[-1] == "auth 0"


def test_many_messages(machine: Machine) -> None:
    machine.install_worker(
        "assert converse(*[(4, b'%d' % i) for i in range(32)]) == [None] * 32\n"
        "assert converse(*[(4, b'x')] * 33) == 19\n"
        "assert converse((5, b'radio')) == 19\nassert converse((7, b'binary')) == 19\nreply(0)"
    )
    assert machine.pam("test", "ada", "auth") == [*(f"message 4 {i}" for i in range(32)), "auth 0"]


def test_an_application_without_responses(machine: Machine) -> None:
    machine.install_worker("assert converse((4, b'bye'), (1, b'?')) == [None, None]\nreply(0)")
    assert machine.pam("test", "ada", "null-answers", "close") == ["close 0"]
    assert machine.pam("test", "ada", "null-answers", "auth") == ["auth 0"]


@pytest.mark.parametrize(("code", "told"), [(19, 19), (6, 6), (-1, 19), (1000, 19)])
def test_a_conversation_that_fails(machine: Machine, code: int, told: int) -> None:
    machine.install_worker(f"assert converse((1, b'Password: ')) == {told}\nreply(0)")
    assert machine.pam("test", "ada", f"conv-code={code}", "auth") == ["auth 0"]


def test_silence_drops_statements_but_not_questions(machine: Machine) -> None:
    machine.install_worker(
        "assert converse((4, b'Hello'), (1, b'Password: '), (3, b'Oh')) == [b'', b'secret', b'']\n"
        "assert converse((4, b'Hello'), (3, b'Oh')) == [b'', b'']\nreply(0)"
    )
    assert machine.pam("test", "ada", "flags=32768", "answer=secret", "auth") == ["message 1 Password: ", "auth 0"]


def test_fail_delay(machine: Machine) -> None:
    machine.install_worker("assert verb(21, struct.pack('<I', 1000))[0] == 0\nreply(7)")
    assert machine.pam("test", "ada", "auth") == ["auth 7"]


def test_the_worker_hears_that_nobody_listens(impatient: Machine) -> None:
    impatient.install_worker("send(99)\nreceive()")
    impatient.pam("test", "ada", "open")
    impatient.run(["sh", "-c", "for i in 1 2 3 4 5 6 7 8 9; do grep -q eof /run/worker-runs && exit; sleep 0.1; done; exit 1"])
