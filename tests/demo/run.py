"""``make demo``: an encrypted home is made, opens at a login over ssh and closes at the logout, on the machine at hand."""

from __future__ import annotations

import signal
import subprocess
import sys

import pexpect  # type: ignore[import-untyped]  # the package has no annotations

from tests.demo.narrator import Narrator
from tests.demo.stage import NoEncryptionError, Session, Stage

PASSWORD = "Correct-Horse-7"
SECRET = "Meet me at the analytical engine at nine."
STUB = "/usr/lib/pyhome/pyhome-shell"


def demo(stage: Stage, narrator: Narrator) -> None:
    """The whole story."""
    stage.start_daemons()
    narrator.tell("Making a user, ada, with an encrypted home. Her password is typed twice.")
    narrator.show("# pyhome create ada", _create(stage))
    narrator.tell("Nobody is logged in, so the home is locked. The files of /etc/skel are in it; even root sees only ciphertext.")
    narrator.show("# ls -A /home/ada", stage.run(["ls", "-A", "/home/ada"]))
    _log_in_by_password(stage, narrator)
    _look_from_outside(stage, narrator)
    _log_in_by_key(stage, narrator)
    narrator.tell("Done: the home was open while ada was logged in, and at no other time.")


def _create(stage: Stage) -> str:
    terminal = stage.terminal("pyhome", "create", "ada")
    for prompt in ("Login password of ada: ", "Login password of ada (again): "):
        terminal.expect_exact(prompt)
        terminal.sendline(PASSWORD)
    terminal.expect(pexpect.EOF)
    terminal.close()
    if terminal.exitstatus != 0:
        raise RuntimeError(f"pyhome create failed: {terminal.before}")
    return str(terminal.before)


def _log_in_by_password(stage: Stage, narrator: Narrator) -> None:
    narrator.tell("Logging in as ada over ssh, with her password. What takes time is Argon2id, against guessing.")
    session = Session(stage, "ada", key=False)
    session.answer("password: ", PASSWORD)
    for command in ("pwd", "ls -A", f"echo '{SECRET}' > plans.txt", "cat plans.txt"):
        narrator.show(f"ada$ {command}", session.do(command))
    narrator.tell("Logging out.")
    session.log_out()
    _wait_until_locked(stage)


def _wait_until_locked(stage: Stage) -> None:
    stage.wait_for("[ ! -e /home/ada/.profile ] && [ ! -e /home/ada/plans.txt ] && ! ls /run/pyhome/*/open")


def _look_from_outside(stage: Stage, narrator: Narrator) -> None:
    narrator.tell("The last session has ended, so the home is locked again. What is left is ciphertext, names included.")
    narrator.show("# ls -A /home/ada", stage.run(["ls", "-A", "/home/ada"]))
    search = f"sync -f /home; grep -aq 'analytical engine' {stage.disk}"
    found = subprocess.run(stage.enter(["/bin/sh", "-c", search], {}), capture_output=True).returncode
    narrator.show("# grep -a 'analytical engine' DISK", "(not found)" if found == 1 else "(found)")


def _log_in_by_key(stage: Stage, narrator: Narrator) -> None:
    narrator.tell("Now ada gets a key for ssh, which lies outside her home, and pyhome-shell as her login shell.")
    stage.authorize("ada")
    narrator.show("# pyhome shell enable --yes ada", stage.run(["pyhome", "shell", "enable", "--yes", "ada"]))
    narrator.tell("Logging in with the key. A key cannot open the home, so pyhome-shell asks before it starts the real shell.")
    session = Session(stage, "ada", key=True)
    narrator.show("$ ssh ada@127.0.0.1", session.answer("Password: ", PASSWORD))
    narrator.show("ada$ cat plans.txt", session.do("cat plans.txt"))
    narrator.tell("Logging out: the home is locked once more.")
    session.log_out()
    _wait_until_locked(stage)
    narrator.show("# ls -A /home/ada", stage.run(["ls", "-A", "/home/ada"]))


def main(narrator: Narrator, stage: Stage) -> int:
    """Run the demonstration; its exit status."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    narrator.tell(
        "Setting the stage: mounts, processes, network, accounts and PAM files of its own, a small ext4 file system "
        "that can encrypt on /home, and an sshd. This machine is not changed."
    )
    try:
        with stage:
            demo(stage, narrator)
    except NoEncryptionError as error:
        narrator.tell(f"This kernel cannot show it ({error}); 'make demo-vm' shows an eCryptfs home in a virtual machine instead.")
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        narrator.tell("The stage is gone, and nothing of it is left.")
    return 0


if __name__ == "__main__":
    sys.exit(main(Narrator(), Stage()))
