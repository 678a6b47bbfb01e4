"""Lines in the system's log, each of which is one line whatever is in it."""

from __future__ import annotations

import syslog

ERROR, WARNING, NOTICE, INFO = syslog.LOG_ERR, syslog.LOG_WARNING, syslog.LOG_NOTICE, syslog.LOG_INFO
# More than any sentence needs. What is too long for the log's socket would be lost, and with it what it says.
_LONGEST = 4000


def begin(program: str) -> None:
    """Say who speaks, once for each process."""
    syslog.openlog(program, syslog.LOG_PID, syslog.LOG_AUTHPRIV)


def log(priority: int, text: str) -> None:
    """Write a line, without characters that could forge another one or move a cursor."""
    syslog.syslog(priority, "".join(letter if letter.isprintable() else "?" for letter in text[:_LONGEST]))
