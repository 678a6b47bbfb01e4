"""Debian's way: pam-auth-update, run on a copy, so that what it would do is a plan like any other."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
from typing import TYPE_CHECKING, Any

from pam_pyhome.admin.plan import Change, Node, observe
from pam_pyhome.errors import SetupError
from pam_pyhome.formats import escape
from pam_pyhome.kernel import namespace

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

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
    return path.startswith("/etc/pam.d/common-") or remembers(path)


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
        said = made["said"] or "the files in /etc/pam.d have been changed by hand"
        raise SetupError(PROGRAM, f"would not switch the profile on: {said}")
    return found


# What it remembers


def remembered(edited: Sequence[Change]) -> list[Change]:
    """The changes to what pam-auth-update remembers of its files, so that it takes our lines in the edited ones for its own.

    It does not touch files with lines that it does not know; and when the site's are gone, ours shall not be in its way.
    """
    found = []
    for change in edited:
        path = f"/var/lib/pam/{change.path.removeprefix('/etc/pam.d/common-')}"
        if not manages(change.path) or change.after is None or not os.path.isfile(path):
            continue
        now = observe(path)
        if now is not None and now.content is not None:
            new = _with_profile(now.content, change.after.content or b"")
            if new != now.content:
                found.append(Change(path, now, now._replace(content=new)))
    return found


def remembers(path: str) -> bool:
    """Whether pam-auth-update remembers there what it has written."""
    return path.startswith("/var/lib/pam/")


def forgotten(saved: bytes) -> bytes:
    """What is remembered, without our lines."""
    return _with_profile(saved, b"")


def _with_profile(saved: bytes, content: bytes) -> bytes:
    """What is remembered, with the line of ours that stands in the file, in the order of the file; without, if none does."""
    entries = [entry for entry in re.split(rb"(?m)^(?=Module: )", saved) if entry and not entry.startswith(b"Module: pyhome\n")]
    block = [line.split(None, 1)[1] for line in _block(content) if len(line.split(None, 1)) == 2]
    ours = next((line for line in block if b"pam_pyhome.so" in line), None)
    if ours is None:
        return b"".join(entries)
    after = 0
    for line in block[: block.index(ours)]:
        known = (at for at in range(after, len(entries)) if any(_key(line) == _key(each) for each in entries[at].splitlines()[1:]))
        after = next((at + 1 for at in known), after)
    return b"".join([*entries[:after], b"Module: pyhome\n" + ours.rstrip() + b"\n", *entries[after:]])


def _block(content: bytes) -> Iterator[bytes]:
    """The lines between the marks that pam-auth-update goes by."""
    inside = False
    for line in escape.lines(content):
        if line.startswith(b"#"):
            inside = line.startswith((b"# here are the per-package modules", b"# and here are more per-package modules"))
        elif inside:
            yield line


def _key(line: bytes) -> bytes:
    """Control and module, without the counts of jumps, which change with the number of profiles."""
    found = re.match(rb"(\[[^]]*\]|\w+)\s+(\S+)", line)
    return b"" if found is None else re.sub(rb"=(end|\d+)", b"=", found[1]) + found[2]


# Trying it out


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
