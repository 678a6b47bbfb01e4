"""The recovery key on its way to a safe place: on the terminal, as a QR code, as a page to print."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from pam_pyhome.admin import accounts
from pam_pyhome.cli import json_text, recovery_page
from pam_pyhome.cli.advice import one_line
from pam_pyhome.cli.recovery_page import Page
from pam_pyhome.cli.streams import OutputError
from pam_pyhome.cli.terminal import emit
from pam_pyhome.errors import QrCodeError, RecoveryFileError
from pam_pyhome.formats.recovery import SIZE, emit_recovery

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

QR = click.option("--qr", is_flag=True, help="Print the recovery key as a QR code as well.")
FILE = click.option(
    "--recovery-file", type=click.Path(), metavar="FILE",
    help="Also write a page to print with the recovery key to FILE; a drawing if the name ends in .svg.",
)  # fmt: skip
_EXISTS, _INSIDE = "is there already", "is in the home"
_ADVICE = {
    _EXISTS: "name a file that is not there yet",
    _INSIDE: "name one elsewhere: what is in the home cannot be read when the key is needed",
}
#: As long as a key.
_SAMPLE = emit_recovery(bytes(SIZE))
#: Black on white whatever the colours of the terminal are, and back to them.
_PAPER, _NO_PAPER = "\x1b[30;107m", "\x1b[0m"


def check_options(*, qr: bool, as_json: bool) -> None:
    """UsageError if they contradict each other."""
    if qr and as_json:
        raise click.UsageError("--qr is for people and --json for programs; give one of them")


def show_key(user: str, recovery: str, *, as_json: bool) -> None:
    """Print the recovery key; it must have reached whoever reads it before the home can be used. OutputError."""
    text = (
        json_text.first_part({"user": user, "recovery_key": recovery})
        if as_json
        else f"The recovery key of {one_line(user)}. Write it down, it is shown only now.\n"
        f"It opens the home whatever becomes of the password:\n\n    {recovery}\n"
    )
    try:
        emit(text.encode())
    except OutputError as error:
        raise OutputError(error.reason, "and start again: nothing was changed") from None


class Keeper:
    """Where a recovery key goes besides: `qr`, to the terminal as a QR code; `path`, to a file with a page to print."""

    def __init__(self, user: str, path: str | None, *, qr: bool) -> None:
        """Nothing is looked at yet."""
        self._user = user
        self._qr = qr
        self._path = path
        self._written: tuple[int, int] | None = None
        self.shown = False

    def check(self) -> None:
        """QrCodeError, RecoveryFileError if it cannot be done. Changes nothing."""
        if self._qr or self._path is not None:
            _check_width(len(code(_SAMPLE)[0]), shown=self._qr)
        if self._path is not None:
            try:
                self._path = os.path.abspath(self._path)
                parent = os.path.realpath(os.path.dirname(self._path))
                os.close(os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
            except OSError as error:
                raise RecoveryFileError(os.path.dirname(self._path) or ".", error.strerror or str(error)) from None
            self._check_file(self._path, parent)

    def _check_file(self, path: str, parent: str) -> None:
        if os.path.lexists(path):
            raise RecoveryFileError(path, _EXISTS)
        account = accounts.look_up(self._user)
        if account is not None and _is_within(parent, account.home):
            raise RecoveryFileError(path, _INSIDE)

    def show(self, recovery: str, *, quiet: bool = False) -> None:
        """What was asked for, besides the key itself; `quiet`: without words. RecoveryFileError; OutputError."""
        self.shown = True
        if self._qr:
            paper = sys.stdout.isatty()
            for line in recovery_page.half_blocks(code(recovery)):
                emit((f"{_PAPER}{line}{_NO_PAPER}" if paper else line).encode())
            emit(b"")
        if self._path is not None:
            self._write(self._path, recovery)
            if not quiet:
                where = one_line(self._path)
                emit(f"A page to print with it is in {where}; keep it in a safe place, and remove the file.\n".encode())

    def _write(self, path: str, recovery: str) -> None:
        account = accounts.look_up(self._user)
        when = datetime.now(UTC).astimezone().strftime("%Y-%m-%d %H:%M")
        home = account.home if account is not None else f"/home/{self._user}"
        page = Page(one_line(self._user), one_line(home), one_line(os.uname().nodename), when, recovery)
        draw = recovery_page.svg if path.lower().endswith(".svg") else recovery_page.text
        content = draw(page, code(recovery)).encode("utf-8", "replace")
        try:
            self._put(path, content)
        except OSError as error:
            self.discard()
            raise RecoveryFileError(path, error.strerror or str(error)) from None

    def _put(self, path: str, content: bytes) -> None:
        """A new file of root's alone, on the disk when this returns. OSError."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        directory = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fd = os.open(os.path.basename(path), flags, 0o600, dir_fd=directory)
            status = os.fstat(fd)
            self._written = (status.st_dev, status.st_ino)
            with open(fd, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(fd)
            os.fsync(directory)
        finally:
            os.close(directory)

    def discard(self) -> None:
        """Remove the file, if it was written: its key opens nothing."""
        if self._path is None or self._written is None:
            return
        try:
            status = os.lstat(self._path)
            if (status.st_dev, status.st_ino) == self._written:
                os.unlink(self._path)
        except OSError:
            pass
        self._written = None

    def remind(self) -> None:
        """Say that there is no page, where none could be made: only its first appearance shows a key."""
        if not self.shown and (self._qr or self._path is not None):
            line = "note: the recovery key was shown when this was begun, and is not known any more; no code and no page is made"
            click.echo(line, err=True)


def _check_width(needed: int, *, shown: bool) -> None:
    """QrCodeError if it is to be shown on a terminal whose lines are shorter: nothing reads what is broken into two."""
    if shown and sys.stdout.isatty():
        columns = os.get_terminal_size(sys.stdout.fileno()).columns
        if 0 < columns < needed:
            raise QrCodeError(f"it takes {needed} columns, and the terminal has {columns}")


def _is_within(directory: str, home: str) -> bool:
    """Whether a directory, without links in its path, is the home or in it."""
    try:
        wanted = os.stat(home)
        while not os.path.samestat(os.stat(directory), wanted):
            if directory == "/":
                return False
            directory = os.path.dirname(directory)
    except OSError:
        return False
    return True


def code(text: str) -> list[list[bool]]:
    """The modules of the QR code of a text, row by row, with the white border that belongs to it. QrCodeError."""
    try:
        make: Callable[..., Any] = _library()
    except ImportError:
        raise QrCodeError("python3-qrcode is not installed") from None
    drawing = make(border=recovery_page.BORDER)
    drawing.add_data(text or "-")
    drawing.make(fit=True)
    return [[bool(module) for module in row] for row in drawing.get_matrix()]


def _library() -> Callable[..., Any]:
    from qrcode.main import QRCode  # type: ignore[import-untyped]  # noqa: PLC0415 - not everybody has it; it has no annotations

    return QRCode  # type: ignore[no-any-return]  # as above


def failed(error: QrCodeError | RecoveryFileError) -> str:
    """What happened, to which thing, and one way forward."""
    if isinstance(error, QrCodeError) and "columns" in error.reason:
        return f"there is no QR code: {error.reason}; make it wider, or leave out --qr"
    if isinstance(error, QrCodeError):
        return f"there is no QR code: {error.reason}; 'apt install python3-qrcode' (Arch: 'pacman -S python-qrcode') mends that"
    return f"{error}; {_ADVICE.get(error.reason, 'name a file in a directory where it can be written')}"
