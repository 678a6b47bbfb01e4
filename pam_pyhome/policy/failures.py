"""Errors as facts that can travel: what the command line needs to find words for one."""

from __future__ import annotations

import os

from pam_pyhome.errors import HomeBusyError, HomeInUseError, PyhomeError
from pam_pyhome.formats.facts import Failure


def failure_of(error: PyhomeError | OSError) -> Failure:
    """The facts of an error. An OSError has its reason and its file, and the exit code of what has no code of its own."""
    if isinstance(error, OSError):
        reason = os.strerror(error.errno) if error.errno else str(error)
        return Failure(PyhomeError.exit_code, "OSError", _text(error.filename or ""), reason)
    if isinstance(error, HomeBusyError):
        return Failure(error.exit_code, type(error).__name__, error.mountpoint, error.state, error.holders)
    what = next((getattr(error, name) for name in ("what", "path", "user", "role") if hasattr(error, name)), "")
    lines = error.sessions if isinstance(error, HomeInUseError) else ()
    return Failure(error.exit_code, type(error).__name__, _text(what), getattr(error, "reason", str(error)), lines)


def _text(name: object) -> str:
    return os.fsdecode(name) if isinstance(name, bytes) else str(name)
