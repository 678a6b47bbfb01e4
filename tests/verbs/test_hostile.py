"""What a user can send to pyhomed, and put in the way of its answers: it is about their own home, or it is nothing."""

from __future__ import annotations

import json
import os
import random
import subprocess
import time
from pathlib import Path

import pytest

from pam_pyhome.errors import WireError
from pam_pyhome.formats import broker
from pam_pyhome.formats.broker import Request
from pam_pyhome.formats.facts import parse_facts
from tests.login.homes import ADA, BOB, LoginMachine, differences
from tests.login.test_daemon import record, session
from tests.verbs.command import ROOT, argv, pyhome

pytestmark = pytest.mark.root

#: Inside, as a user: sends the packets on its standard input, one per line in hexadecimal, each on a connection of its own with
#: all of one line's, and prints what comes back until it is hung up on, one line per connection.
SEND = """
import socket, sys
for line in sys.stdin:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as peer:
        peer.settimeout(20)
        peer.connect('/run/pyhome-unlock.sock')
        said = []
        try:
            for packet in line.split():
                peer.send(bytes.fromhex(packet))
            while data := peer.recv(200000):
                said.append(data.hex())
        except OSError as error:
            said.append(type(error).__name__)
        print(' '.join(said) or 'nothing', flush=True)
"""
SHOW = broker.request_packet(Request(broker.SHOW))
VICTIMS = ("/home", "/var/lib/pyhome", "/run/pyhome", "/etc")


def send(machine: LoginMachine, uid: int, *connections: list[bytes]) -> list[list[str]]:
    """What comes back on each connection."""
    identity = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"]
    command = machine.enter([*identity, "/usr/bin/python3", "-I", "-c", SEND], {})
    lines = "".join(" ".join(packet.hex() for packet in packets) + "\n" for packets in connections)
    done = subprocess.run(command, input=lines, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return [line.split() for line in done.stdout.splitlines()]


def shown(answer: list[str]) -> str:
    """Whose home an answer is about."""
    (packet,) = answer
    kind, body = broker.parse_packet(bytes.fromhex(packet))
    assert kind == broker.FACTS
    return parse_facts(body[1:]).user


def is_request(packet: bytes) -> bool:
    try:
        return broker.parse_packet(packet)[0] in (broker.REQUEST, broker.ASK)
    except WireError:
        return False


@pytest.mark.guarantee(5)
def test_everybody_is_shown_their_own_home_and_no_other(served: LoginMachine) -> None:
    assert shown(send(served, ADA, [SHOW])[0]) == "ada"
    assert shown(send(served, BOB, [SHOW])[0]) == "bob"
    trailing = [SHOW + b"ada", SHOW + bytes(4), SHOW[:-1] + b"\xff"]
    assert send(served, BOB, *[[packet] for packet in trailing]) == [["nothing"]] * len(trailing)


def test_nonsense_is_hung_up_on_and_changes_nothing(served: LoginMachine) -> None:
    """Whatever is no request gets no answer; nothing of anybody's changes, and the next who asks is served."""
    dice = random.Random(4711)
    packets = [bytes([broker.REQUEST]) + dice.randbytes(dice.choice((0, 1, 3, 4, 4, 5, 200))) for _ in range(20)]
    packets += [dice.randbytes(dice.randrange(1, 60)) for _ in range(20)] + [b"x" * 4097, b"\x03" * 100000]
    packets = [packet for packet in packets if not is_request(packet)]
    assert len(packets) > 30  # and no more than one user may ask for at once
    record(served, BOB, "bob")
    before = served.snapshot(*VICTIMS)
    assert send(served, ADA, *[[packet] for packet in packets]) == [["nothing"]] * len(packets)
    assert differences(before, served.snapshot(*VICTIMS)) == []
    assert shown(send(served, ADA, [SHOW])[0]) == "ada"


def test_answers_out_of_turn_end_the_conversation(served: LoginMachine) -> None:
    started, pid = session(served)
    opened = record(served)
    lock = broker.request_packet(Request(broker.LOCK, force=True, seconds=3600))
    unlock = broker.request_packet(Request(broker.UNLOCK))
    said = send(served, ADA, [lock, b"\x02x"], [unlock, SHOW], [SHOW, SHOW])
    assert broker.FACTS not in [int(packet[:2], 16) for packet in said[0] + said[1] if packet[:1].isdigit()]
    assert opened.exists()
    started.kill(pid)


@pytest.mark.guarantee(20)
def test_a_user_who_asks_for_everything_at_once_does_not_keep_others_from_being_served(served: LoginMachine) -> None:
    hold = f"""
import socket, sys
peers = []
for _ in range(60):
    peer = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    peer.connect('/run/pyhome-unlock.sock')
    peer.send(bytes.fromhex('{broker.request_packet(Request(broker.UNLOCK)).hex()}'))
    peers.append(peer)
print('holding', flush=True)
sys.stdin.read()
"""
    identity = ["setpriv", f"--reuid={ADA}", f"--regid={ADA}", "--clear-groups"]
    with served.background([*identity, "/usr/bin/python3", "-I", "-c", hold]) as flood:
        assert flood.stdout is not None
        assert flood.stdout.readline() == "holding\n"
        began = time.monotonic()
        assert shown(send(served, BOB, [SHOW])[0]) == "bob"
        assert time.monotonic() - began < 10
    assert "too many conversations, refused one more" in served.log()


def test_guessing_is_slow_and_leaves_a_trace(served: LoginMachine) -> None:
    guess = [broker.request_packet(Request(broker.PASSWD)), broker.packet(broker.ANSWER, b"guess")]
    began = time.monotonic()
    said = send(served, ADA, guess)
    assert time.monotonic() - began >= 2
    assert [int(packet[:2], 16) for packet in said[0]] == [broker.PROMPT, broker.SAY, broker.FAILED]
    assert "a wrong password was given for the home" in served.log()


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def bobs(path: Path) -> None:
    path.unlink()
    path.symlink_to("/home/.ecryptfs/bob/.ecryptfs/wrapped-passphrase")


def huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 30)


def rubbish(path: Path) -> None:
    path.write_bytes(b"\x1b[2J\n" * 10)


@pytest.mark.parametrize("plant", [fifo, bobs, huge, rubbish])
@pytest.mark.parametrize("uid", [ROOT, ADA])
def test_what_lies_in_the_place_of_the_key_file_is_named_as_trouble(served: LoginMachine, uid: int, plant: object) -> None:
    assert callable(plant)
    plant(served.wrapped())
    ran = pyhome(served, uid, "inspect", "ada")
    assert ran.code == 0
    assert ran.out.startswith("The home of ada is locked, and cannot be opened: /home/.ecryptfs/ada/.ecryptfs/wrapped-passphrase: ")
    assert "\x1b" not in ran.out
    assert "'journalctl" in ran.out


def test_a_directory_of_somebody_else_in_the_place_of_the_own_one(served: LoginMachine) -> None:
    link = served.path("/home/ada/.ecryptfs")
    link.unlink()
    link.symlink_to("/home/.ecryptfs/bob/.ecryptfs")
    assert pyhome(served, ADA, "status").out.startswith("The home of ada is locked")
    served.run(["mv", "/home/.ecryptfs/ada/.ecryptfs", "/home/.ecryptfs/elsewhere"])
    ran = pyhome(served, ADA, "status")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith("The home of ada is in an unknown state: /home/ada/.ecryptfs: ")
    assert "bob" not in ran.out
    listed = pyhome(served, ROOT, "list")
    assert listed.code == 0
    assert "unknown" in listed.out
    assert "bob   locked" in listed.out


def test_names_that_cannot_be_printed(served: LoginMachine) -> None:
    """A lease is written by root, but with what a remote host said of itself."""
    started, pid = session(served)
    (lease,) = served.state(ADA).glob("lease.*")
    lease.write_bytes(lease.read_bytes().replace(b"rhost=\n", b"rhost=\\033[2J\\012x\n"))
    ran = pyhome(served, ADA, "sessions")
    assert "\x1b" not in ran.out
    assert ran.out.count("\n") == 2
    assert json.loads(pyhome(served, ADA, "sessions", "--json").out)["homes"][0]["sessions"][0]["rhost"] == "\x1b[2J\nx"
    started.kill(pid)


@pytest.mark.guarantee(5)
def test_the_environment_of_the_caller_does_not_matter(served: LoginMachine) -> None:
    evil = served.path("/home/ada/evil")
    evil.mkdir(mode=0o777)
    for name in ("click", "pam_pyhome", "sitecustomize"):
        (evil / f"{name}.py").write_text("print('evil')\n", encoding="ascii")
    command = served.enter(
        argv(ROOT, "status", "ada", cwd="/home/ada/evil"),
        {"PYTHONPATH": "/home/ada/evil", "PYTHONHOME": "/home/ada/evil", "PYTHONSTARTUP": "/home/ada/evil/click.py"},
    )
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "The home of ada is locked.\n")
