"""``make demo-vm``: a machine is booted, and an encrypted home opens at a login over ssh and closes at the logout."""

from __future__ import annotations

import signal
import sys

from tests.demo.narrator import Narrator
from tests.vm import people, shell
from tests.vm.installed import install, package
from tests.vm.vm import VM

LETTER = "Meet me at the analytical engine at nine."


def demo(vm: VM, narrator: Narrator) -> None:
    """The whole story, on a machine that is not booted yet."""
    narrator.tell("Booting Debian 13 in a virtual machine.")
    vm.start()
    narrator.tell(f"Installing {package().name} in it, as an administrator does. That is all there is to set up.")
    install(vm)
    narrator.show("# grep pam_pyhome /etc/pam.d/common-*", vm.out("cd /etc/pam.d; grep pam_pyhome common-* | tr '\\t' ' '"))
    narrator.tell("Making the user ada, and encrypting her home with ecryptfs-utils' own ecryptfs-migrate-home.")
    ada = people.make(vm, "migrated", name="ada")
    narrator.show("# ls -A /home/ada     (nobody is logged in)", vm.out("ls -A /home/ada"))
    _log_in_and_out(vm, ada, narrator)
    narrator.tell("This is what the log says about it.")
    log = "journalctl -b -o cat -t pam_pyhome -t pyhomed -t sshd-session -t sshd | grep -i home"
    narrator.show("# journalctl -b -t pam_pyhome -t pyhomed", vm.run(log, check=False).out)
    narrator.tell("Done: the home opened with the login password and closed with the last session.")


def _log_in_and_out(vm: VM, ada: people.Person, narrator: Narrator) -> None:
    narrator.tell("Logging in as ada over ssh, with her password.")
    with shell.ssh(vm, ada.name, ada.password) as session:
        for command in ("ls -A", "cat letter", f"echo '{LETTER}' > plans.txt", "cat plans.txt", "keyctl show @s"):
            narrator.show(f"ada$ {command}", session.do(command))
        narrator.show("# grep ecryptfs /proc/mounts", ada.mounts()[0])
        narrator.tell("Logging out.")
        session.logout()
    ada.wait_until_locked()
    narrator.tell("The home is closed. What is left of it is ciphertext, names included; even root finds nothing else.")
    narrator.show("# ls -A /home/ada", vm.out("ls -A /home/ada"))
    narrator.show(f"# ls {ada.lower}", vm.out(f"ls {ada.lower}"))
    found = "found" if vm.ok(f"grep -raq 'analytical engine' /home/.ecryptfs/ada {ada.home}") else "not found"
    narrator.show("# grep -ra 'analytical engine' /home/.ecryptfs/ada /home/ada", f"({found})")
    keys = vm.run(f"grep -E '{'|'.join(ada.signatures())}' /proc/keys", check=False).out
    narrator.show("# grep SIGNATURES-OF-THE-KEYS /proc/keys", keys or "(no key is left)")


def main() -> None:
    """Run the demonstration; on Ctrl-C, too, the machine is switched off and its disk removed."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    narrator = Narrator()
    narrator.tell("Preparing the disk image (the first time this takes a minute or two, later it is cached).")
    vm = VM("trixie")
    try:
        demo(vm, narrator)
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        vm.stop()
        narrator.tell("The machine is switched off, nothing of it is left.")


if __name__ == "__main__":
    main()
