"""Debian's way: pam-auth-update, run on a copy, so that what it would do is a plan like any other."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from typing import Any

from pam_pyhome.admin.plan import Change, Node, observe
from pam_pyhome.errors import SetupError
from pam_pyhome.kernel import namespace

PROGRAM = "/usr/sbin/pam-auth-update"
PROFILE = "/usr/share/pam-configs/pyhome"
DIRECTORIES = ("/etc/pam.d", "/var/lib/pam")
_DEBCONF = "/var/cache/debconf"
_SECONDS = 120
_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}


def is_in_charge() -> bool:
    """Whether the PAM files are made from profiles, of which ours is one."""
    return os.access(PROGRAM, os.X_OK) and os.path.exists(PROFILE)


def manages(path: str) -> bool:
    """Whether pam-auth-update writes this file."""
    return path.startswith(("/etc/pam.d/common-", "/var/lib/pam/"))


def changes(*, enabled: bool) -> list[Change]:
    """What pam-auth-update would do to switch our profile on, or off. SetupError if it would do nothing of the kind."""
    option = "--enable" if enabled else "--disable"
    made: dict[str, Any] = json.loads(namespace.run(PROGRAM, lambda: _run(option), seconds=_SECONDS))
    if made["status"] != 0:
        raise SetupError(PROGRAM, f"fails: {made['said']}")
    found = []
    for path, node in made["files"].items():
        after = Node(node["uid"], node["gid"], node["mode"], base64.b64decode(node["content"]))
        before = observe(path)
        if before != after:
            found.append(Change(path, before, after))
    if enabled and not any(b"pam_pyhome.so" in (change.after.content or b"") for change in found if change.after is not None):
        said = made["said"] or "the files in /etc/pam.d have been changed by hand; 'pam-auth-update --force' overrides that"
        raise SetupError(PROGRAM, f"would not switch the profile on: {said}")
    return found


def _run(option: str) -> bytes:
    """In namespaces of its own."""
    for directory in (*DIRECTORIES, _DEBCONF):
        namespace.copy_over(directory)
    ran = subprocess.run(
        [PROGRAM, option, "pyhome"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        env=_ENVIRONMENT,
        check=False,
    )
    files: dict[str, Any] = {}
    for path in (f"{directory}/{name}" for directory in DIRECTORIES for name in sorted(os.listdir(directory))):
        node = None if os.path.islink(path) else observe(path)
        if node is not None and node.content is not None and manages(path) and not path.endswith((".pam-old", "~")):
            content = base64.b64encode(node.content).decode("ascii")
            files[path] = {"uid": node.uid, "gid": node.gid, "mode": node.mode, "content": content}
    said = " ".join((ran.stdout + ran.stderr).split())
    return json.dumps({"status": ran.returncode, "said": said, "files": files}).encode("ascii")
