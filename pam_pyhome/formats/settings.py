"""The tokens of the configuration file and of the PAM line, which the shim hands to the worker in this order."""

from __future__ import annotations

from pam_pyhome.record import Record

SKIP_SERVICES = ("cron", "crond", "atd", "sudo", "sudo-i", "systemd-user")
_FLAGS = {"authenticate": "authenticate", "debug": "debug", "ask": "ask", "ssh-unlock": "ssh_unlock"}
_IGNORED = {"unwrap"}
_LISTS = {"skip_services", "sshd_sync_off"}
_CHOICES = {
    "keyring": ("session", "user", "none"),
    "jobs": ("run", "refuse"),
    "repair": ("yes", "ask", "no"),
    "sshd_sync": ("yes", "no"),
    "sshd_users": ("all", "encrypted"),
}
_LONGEST_WAIT = 24 * 3600

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    _Setting = bool | int | str | tuple[str, ...] | tuple[tuple[str, str, int], ...]


class Settings(Record):
    """What an administrator can choose. `unknown` holds the tokens that mean nothing here, fit to be logged.

    `locked_command` is ``fail``, ``plain`` or ``wait``, the last for `locked_wait` seconds; `locked_command_users`
    holds a name, the same and seconds for each user who has another. Of the users that `sshd_users`
    names, those in `sshd_sync_off`, or with `sshd_sync` ``no`` all, do not get their own keys into the layout for sshd.
    """

    authenticate: bool = False
    ask: bool = False
    debug: bool = False
    ssh_unlock: bool = False
    skip_services: tuple[str, ...] = SKIP_SERVICES
    keyring: str = "session"
    jobs: str = "run"
    repair: str = "yes"
    locked_command: str = "fail"
    locked_wait: int = 0
    locked_command_users: tuple[tuple[str, str, int], ...] = ()
    sshd_sync: str = "yes"
    sshd_sync_off: tuple[str, ...] = ()
    sshd_users: str = "all"
    unknown: tuple[str, ...] = ()

    def locked_for(self, user: str) -> tuple[str, int]:
        """What commands of this user meet on a locked home, and for how many seconds they wait."""
        for name, command, seconds in reversed(self.locked_command_users):
            if name == user:
                return command, seconds
        return self.locked_command, self.locked_wait


def parse_tokens(tokens: Iterable[bytes]) -> Settings:
    """Read all tokens; later ones win. Never fails: a bad value leaves the setting as it was and goes to `unknown`."""
    chosen: dict[str, _Setting] = {}
    unknown: list[str] = []
    for token in tokens:
        text = token.decode("utf-8", "backslashreplace")
        setting = _parse_token(text)
        if setting is None:
            unknown.append(text)
        else:
            chosen.update(setting)
    return Settings(unknown=tuple(unknown), **chosen)  # type: ignore[arg-type]  # _parse_token pairs names and types


def _parse_token(text: str) -> dict[str, _Setting] | None:
    """The setting that a token makes, an empty one for a token without effect, None for an unknown token."""
    name, equals, value = text.partition("=")
    if not equals:
        return {_FLAGS[name]: True} if name in _FLAGS else {} if name in _IGNORED else None
    if name in _LISTS:
        return {name: tuple(value.replace(",", " ").split())}
    if name == "locked_command":
        meets = _parse_locked(value)
        return {"locked_command": meets[0], **({"locked_wait": meets[1]} if meets[0] == "wait" else {})} if meets else None
    if name == "locked_command_users":
        return _parse_locked_users(value)
    return {name: value} if value in _CHOICES.get(name, ()) else None


def _parse_locked(value: str) -> tuple[str, int] | None:
    """``fail``, ``plain`` or ``wait:SECONDS``: the word, and the seconds."""
    word, colon, seconds = value.partition(":")
    if word in ("fail", "plain") and not colon:
        return word, 0
    fits = word == "wait" and seconds.isascii() and seconds.isdigit() and len(seconds) <= 5 and int(seconds) <= _LONGEST_WAIT
    return (word, int(seconds)) if fits else None


def _parse_locked_users(value: str) -> dict[str, _Setting] | None:
    """``USER:VALUE`` for each; all of them or none, because half a list is not what was meant."""
    found: list[tuple[str, str, int]] = []
    for entry in value.replace(",", " ").split():
        user, _, what = entry.partition(":")
        meets = _parse_locked(what)
        if not user or meets is None:
            return None
        found.append((user, *meets))
    return {"locked_command_users": tuple(found)}


def config_tokens(data: bytes) -> list[bytes]:
    """The tokens of the configuration file: its lines, trimmed, without spaces around the first ``=``, without comments.

    A file with a NUL in it has none, as for the shim.
    """
    if b"\0" in data:
        return []
    lines = [line.strip() for line in data.split(b"\n")]
    return [_join_value(line) for line in lines if line and not line.startswith(b"#")]


def _join_value(line: bytes) -> bytes:
    name, equals, value = line.partition(b"=")
    return name.rstrip() + equals + value.lstrip()
