"""``make model``: thousands of steps. ``python -m tests.model.run STEPS SEED GAME KIND``; empty arguments are not given.

A game that is given is played first; with 0 steps, alone. KIND is `fscrypt` or `ecryptfs`.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.create.machine import CreateMachine
from tests.fscrypt.homes import make_image
from tests.login.conftest import make_tree
from tests.model import homes
from tests.pam.harness import Build
from tests.vm.installed import install
from tests.vm.vm import VM

SHRINK_SECONDS = 600


def fscrypt(common: dict[str, Any]) -> dict[str, Any]:
    """In a name space of this machine."""
    with tempfile.TemporaryDirectory() as base:
        build, image = Build(Path(base), sanitized=False), Path(base) / "ext4"
        make_image(image)
        with CreateMachine(Path(base), build) as machine:
            homes.here(machine, make_tree(Path(base) / "tree"), image)
            return homes.play_here(machine, common)


def ecryptfs(common: dict[str, Any]) -> dict[str, Any]:
    """In a virtual machine."""
    vm = VM("trixie")
    try:
        vm.start()
        install(vm)
        homes.there(vm)
        return homes.play_there(vm, common)
    finally:
        vm.stop()


def main() -> int:
    """0 if all is well."""
    steps, seed, game, kind = sys.argv[1:]
    kinds = [kind] if kind else ["fscrypt", "ecryptfs"]
    common = homes.order(int(steps or 5000), int(seed) if seed else None, [json.loads(game)] if game else [], SHRINK_SECONDS)
    wrong = [homes.shown({"fscrypt": fscrypt, "ecryptfs": ecryptfs}[each](common)) for each in kinds]
    print("\n".join(wrong))
    return int(any(wrong))


if __name__ == "__main__":
    sys.exit(main())
