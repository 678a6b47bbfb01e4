"""A broker for the tests: `fake_broker.py MODE`, inside a test machine. The word RIGHT opens the home of ada, which it mounts.

Writes what happens to /run/broker-log, one word per line, and `bye` when a peer is gone. Modes other than `honest` misbehave.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading

from pam_pyhome.formats import broker

RIGHT = b"Correct-Horse-7"
HOME = "/home/ada"
PROFILE = 'export GREETING="from the profile"\n'

opened = threading.Event()
peers: list[socket.socket] = []


def log(word: str) -> None:
    with open("/run/broker-log", "a", encoding="ascii") as file:
        file.write(word + "\n")


def mount_home() -> None:
    """What the worker would do: another file system over the home, with what its owner keeps in it."""
    subprocess.run(["/bin/mount", "-t", "tmpfs", "-o", "mode=0700,uid=61001,gid=61001", "home", HOME], check=True)
    with open(f"{HOME}/.profile", "w", encoding="ascii") as file:
        file.write(PROFILE)
    opened.set()
    for peer in peers:
        peer.send(broker.packet(broker.OPEN))


def honest(peer: socket.socket) -> None:
    """Three prompts, then no more."""
    for turn in range(broker.PROMPTS):
        if turn:
            peer.send(broker.text_packet(broker.SAY, "That is not the passphrase."))
        peer.send(broker.text_packet(broker.PROMPT, "Passphrase of ada's home: "))
        data = peer.recv(broker.MAX_PACKET)
        if not data:
            return
        kind, answer = broker.parse_packet(data)
        assert kind == broker.ANSWER
        log("right" if answer == RIGHT else f"wrong:{len(answer)}")
        if opened.is_set():
            return
        if answer == RIGHT:
            mount_home()
            return
    peer.send(broker.text_packet(broker.REFUSED, "Three times wrong."))


#: What is sent at once in these modes.
PACKETS = {
    "silent": (),
    "rubbish": (b"\x7frubbish",),
    "escape": (b"\x11\x1b]0;evil\x07",),
    "oversized": (b"\x11" + b"x" * 5000,),
    "refuse": (broker.text_packet(broker.REFUSED, "The key file is damaged."),),
    "none": (broker.packet(broker.NONE),),
    "forgetful": (),
}


def endless(peer: socket.socket) -> None:
    """One prompt too many."""
    for _ in range(broker.PROMPTS + 1):
        peer.send(broker.text_packet(broker.PROMPT, "Again: "))
        peer.recv(broker.MAX_PACKET)


def restarted(peer: socket.socket) -> None:
    """The first conversation breaks off at the prompt, the second is as it should be."""
    first = len(peers) == 1
    peer.send(broker.text_packet(broker.PROMPT, "First: " if first else "Second: "))
    if not first:
        peer.recv(broker.MAX_PACKET)
        mount_home()


MODES = {"honest": honest, "endless": endless, "restarted": restarted}


def converse(peer: socket.socket, mode: str) -> None:
    try:
        assert broker.parse_packet(peer.recv(broker.MAX_PACKET)) == (broker.ASK, b"")
        log("ask")
        if opened.is_set():
            peer.send(broker.packet(broker.OPEN))
        elif mode in MODES:
            MODES[mode](peer)
        else:
            for data in PACKETS[mode]:
                peer.send(data)
        if mode not in {"restarted", "forgetful"}:
            peer.recv(1)
    except Exception as error:  # noqa: BLE001 - whatever it is, the log has it
        log(type(error).__name__)
    finally:
        log("bye")
        peer.close()


def main() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(broker.SOCKET)
        os.chmod(broker.SOCKET, 0o666)
        listener.listen(16)
        print("ready", flush=True)
        while True:
            peer, _ = listener.accept()
            peers.append(peer)
            threading.Thread(target=converse, args=(peer, sys.argv[1]), daemon=True).start()


if __name__ == "__main__":
    main()
