"""Whether a password is easily guessed: what libpwquality says where it is installed, else what needs no dictionary."""

from __future__ import annotations

_SHORT = 8


def weakness(user: str, password: bytes) -> str:
    """Why somebody who has the disk may guess it, in words; empty if nothing speaks against it."""
    text = password.decode("utf-8", "replace")
    try:
        import pwquality  # type: ignore[import-not-found]  # noqa: PLC0415 - not everybody has it
    except ImportError:
        return _simple(user, text)
    settings = pwquality.PWQSettings()
    try:
        settings.read_config()
        settings.check(text, None, user)
    except pwquality.PWQError as error:
        return str(error.args[-1])
    return ""


def _simple(user: str, text: str) -> str:
    """Only what is weak whatever else is: this is no measure of strength."""
    if len(text) < _SHORT:
        return f"it has fewer than {_SHORT} characters"
    if text.lower() in (user.lower(), user.lower()[::-1]):
        return "it is the name of the user"
    return "it is one character, again and again" if len(set(text)) == 1 else ""
