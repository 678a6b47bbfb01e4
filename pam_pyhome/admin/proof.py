"""Whether the PAM files let the right password in, keep a wrong one out and reach pyhome: tried, by somebody who does not exist.

In namespaces of its own, with a password database, homes and run-time directories of its own, libpam is asked as a login
would ask it. Nothing outside of them is touched.
"""

from __future__ import annotations

import json
import os
import pwd
from typing import TYPE_CHECKING, Any, NamedTuple

from pam_pyhome.admin import ecryptfs_tools
from pam_pyhome.errors import SetupError
from pam_pyhome.formats import ecryptfs_key, ecryptfs_layout
from pam_pyhome.kernel import libpam, namespace
from pam_pyhome.kernel.digest import stretch
from pam_pyhome.policy.users import uid_min

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

USER = "pyhome-proof"
RIGHT, WRONG = b"a right one, 7", b"a wrong one, 8"
_SECONDS = 60
_HIDDEN = ("/run", "/home", "/var/lib/pyhome", "/var/log", "/tmp", "/var/tmp")
_SALT = b"pyhomeproof"
_UID_LAST = 59999


class Tried(NamedTuple):
    """What a service did: the codes of libpam, whether pyhome took a lease, and whether the home was mounted meanwhile."""

    right: dict[str, int | None]
    wrong: int
    leased: bool
    mounted: bool

    @property
    def lets_in(self) -> bool:
        """Whether the right password opens a session and the wrong one opens none."""
        return all(code == libpam.SUCCESS for code in self.right.values()) and self.wrong != libpam.SUCCESS


def try_out(service: str, files: Mapping[str, bytes | None]) -> Tried:
    """Log in to a service with `files` of /etc/pam.d in place. StorageError if that cannot be tried."""
    uid = _free_uid()
    answer = namespace.run(f"trying out the PAM service {service}", lambda: _try(service, uid, files), seconds=_SECONDS)
    found: dict[str, Any] = json.loads(answer)
    return Tried(found["right"], found["wrong"], found["leased"], found["mounted"])


def _free_uid() -> int:
    taken = {entry.pw_uid for entry in pwd.getpwall()}
    free = next((uid for uid in range(_UID_LAST, uid_min(), -1) if uid not in taken), None)
    if free is None:
        raise SetupError("/etc/passwd", "has no uid left for somebody who tries the PAM files out")
    return free


def _try(service: str, uid: int, files: Mapping[str, bytes | None]) -> bytes:
    """In the namespaces."""
    _lay_out(uid, files)
    if service.startswith("su"):
        # As when somebody else than root calls it; root is not asked for a password.
        os.setresuid(uid, 0, 0)
    seen: dict[str, bool] = {}

    def during() -> None:
        state = f"/run/pyhome/{uid}"
        seen["leased"] = os.path.isdir(state) and any(name.startswith("lease.") for name in os.listdir(state))
        with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as file:
            seen["mounted"] = any(f" /home/{USER} " in line and " - ecryptfs " in line for line in file)

    wrong = libpam.log_in(service, USER, WRONG, lambda: None)
    right = libpam.log_in(service, USER, RIGHT, during)
    codes = {"auth": right.auth, "account": right.account, "credentials": right.credentials, "session": right.session}
    return json.dumps(
        {"right": codes, "wrong": wrong.auth, "leased": seen.get("leased", False), "mounted": seen.get("mounted", False)}
    ).encode()


def _lay_out(uid: int, files: Mapping[str, bytes | None]) -> None:
    namespace.hide(_HIDDEN)
    hashed = libpam.crypt(RIGHT, _SALT).decode("ascii")
    lines = {
        "/etc/passwd": f"{USER}:x:{uid}:{uid}::/home/{USER}:{_shell()}\n",
        "/etc/group": f"{USER}:x:{uid}:\n",
        "/etc/shadow": f"{USER}:{hashed}:19000:0:99999:7:::\n",
    }
    namespace.put_over({path: _read(path) + line.encode() for path, line in lines.items() if os.path.exists(path)}, "/run")
    namespace.copy_over("/etc/pam.d")
    for path, content in files.items():
        if content is None:
            os.unlink(path)
        else:
            namespace.write(path, content, 0o644)
    _encrypt_home(uid)


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        content = file.read()
    return content if not content or content.endswith(b"\n") else content + b"\n"


def _shell() -> str:
    """One that pam_shells lets in."""
    try:
        with open("/etc/shells", encoding="utf-8", errors="replace") as file:
            listed = [line.strip() for line in file if line.startswith("/")]
    except FileNotFoundError:
        listed = []
    return next((path for path in ("/bin/sh", "/bin/bash", *listed) if path in listed), "/bin/sh")


def _encrypt_home(uid: int) -> None:
    """An eCryptfs home with nothing in it, as ecryptfs-setup-private makes it."""
    passphrase = os.urandom(16).hex().encode()
    key = ecryptfs_key.derive_key(passphrase, ecryptfs_key.SALT_DEFAULT, stretch)
    home, place = f"/home/{USER}", f"/home/.ecryptfs/{USER}"
    for path in (home, "/home/.ecryptfs", place, f"{place}/.ecryptfs", f"{place}/.Private"):
        os.mkdir(path, 0o755 if path == "/home/.ecryptfs" else 0o700)
    ecryptfs_tools.wrap(f"{place}/.ecryptfs/{ecryptfs_layout.WRAPPED}", passphrase, RIGHT)
    files = {
        ecryptfs_layout.SIGNATURES: f"{key.signature}\n".encode(),
        ecryptfs_layout.MOUNTPOINT: f"{home}\n".encode(),
        ecryptfs_layout.AUTO_MOUNT: b"",
        ecryptfs_layout.AUTO_UMOUNT: b"",
    }
    for name, content in files.items():
        namespace.write(f"{place}/.ecryptfs/{name}", content, 0o600)
    for path in _below((home, place)):
        os.chown(path, uid, uid)


def _below(tops: Sequence[str]) -> list[str]:
    return [*tops, *(os.path.join(where, name) for top in tops for where, dirs, names in os.walk(top) for name in [*dirs, *names])]
