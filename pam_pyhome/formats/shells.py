"""``/etc/pyhome-shells``: which shell a user really has whose login shell in the password database is pyhome-shell.

One line per user, ``name:/path/of/shell``; lines that begin with ``#`` and empty lines are comments. Names and paths are
bytes as in passwd(5).
"""

from __future__ import annotations

from pam_pyhome.errors import FormatError

PATH = "/etc/pyhome-shells"
STUB = b"/usr/lib/pyhome/pyhome-shell"
#: The one argument with which the program says which shell it would become, and does not.
WHICH = b"--which-shell"
MAX_SIZE = 16 * 1024 * 1024
HEAD = b"# The real shells of the users of pyhome-shell(8); 'pyhome shell' writes this.\n"


def find_shell(data: bytes, name: bytes) -> bytes | None:
    """The shell of one user, however many others the file has; None without a line that makes sense for them."""
    _, found, rest = (b"\n" + data).partition(b"\n" + name + b":")
    path = rest.partition(b"\n")[0]
    return path if found and is_name(name) and is_shell(path) else None


def parse_shells(data: bytes) -> dict[bytes, bytes]:
    """Shell by user. Raises FormatError for a line of another form, and for a user who has two."""
    shells: dict[bytes, bytes] = {}
    for number, line in enumerate(data.split(b"\n"), 1):
        if not line or line.startswith(b"#"):
            continue
        name, _, path = line.partition(b":")
        if not is_name(name) or not is_shell(path):
            raise FormatError(PATH, f"line {number} is not a user and a shell")
        if name in shells:
            raise FormatError(PATH, f"line {number} names a user for the second time")
        shells[name] = path
    return shells


def emit_shells(shells: dict[bytes, bytes]) -> bytes:
    """The file, in the order of the names. Raises FormatError for what `parse_shells` would not read."""
    data = HEAD + b"".join(b"%s:%s\n" % pair for pair in sorted(shells.items()))
    if parse_shells(data) != shells:
        raise FormatError(PATH, "a name or a path does not fit into a line")
    return data


def is_name(name: bytes) -> bool:
    """Whether a user of this name can have a line."""
    return bool(name) and not name.startswith(b"#") and not any(byte in b":\n\0" for byte in name)


def is_shell(path: bytes) -> bool:
    """Whether this can be the path of a shell: absolute, and one line."""
    return path.startswith(b"/") and not any(byte in b"\n\0" for byte in path)
