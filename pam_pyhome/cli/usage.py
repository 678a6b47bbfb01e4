"""Command lines that are wrong: one sentence that says what is, and what to type; and the list of verbs, by who may use them."""

from __future__ import annotations

import difflib
import re

import click

PROGRAM = "pyhome"
_WHOLE = 1000  # a sentence of help is shown in several lines, not cut
#: What other programs, and people, call some verbs.
_OTHER_NAMES = {
    "activate": "unlock", "open": "unlock", "mount": "unlock", "deactivate": "lock", "close": "lock", "umount": "lock",
    "unmount": "lock", "add": "create", "new": "create", "delete": "remove", "del": "remove", "ls": "list", "show": "inspect",
    "info": "inspect", "password": "passwd", "migrate": "encrypt", "install": "setup", "check": "doctor", "undo": "rollback",
    "backups": "recovery backups", "restore": "recovery restore", "enable": "shell enable", "disable": "shell disable",
    "sync": "sshd sync", "unwrap": "ecryptfs unwrap",
}  # fmt: skip
_UNKNOWN = re.compile(r"No such command '(.*?)'")
_TOO_MANY = re.compile(r"Got unexpected extra arguments? \(.*\)")


class RootCommand(click.Command):
    """A verb that only root can use."""


class Group(click.Group):
    """Verbs; their list says which of them are root's."""

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """See `click.Group`."""
        found = [(name, self.get_command(context, name)) for name in self.list_commands(context)]
        known = [(name, command) for name, command in found if command is not None]
        for title, roots in (("Commands", False), ("Commands for root", True)):
            rows = [(name, command.get_short_help_str(_WHOLE)) for name, command in known if _is_roots(command) == roots]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)


class RootGroup(Group):
    """Verbs that only root can use."""


def _is_roots(command: click.Command) -> bool:
    return isinstance(command, (RootCommand, RootGroup))


def sentence(error: click.ClickException) -> str:
    """What is wrong with a command line, and what to type."""
    context: click.Context | None = getattr(error, "ctx", None)
    if context is None:
        return f"{PROGRAM}: {error.format_message().rstrip('.')}; see '{PROGRAM} --help'"
    return f"{context.command_path}: {_said(error, context)}see '{context.command_path} --help'"


def _said(error: click.ClickException, context: click.Context) -> str:
    """All but where there is more to read."""
    if isinstance(error, click.NoSuchOption):
        return _no_option(error.option_name, context)
    if isinstance(error, click.MissingParameter) and error.param is not None:
        return f"Missing argument '{_name(error.param)}'; type '{_usage(context)}', or "
    if isinstance(error, click.BadParameter) and error.param is not None:
        return f"Invalid value for '{_name(error.param)}': {error.message.rstrip('.')}; "
    message = error.format_message().rstrip(".")
    unknown, many = _UNKNOWN.match(message), _TOO_MANY.fullmatch(message)
    if unknown is not None and isinstance(context.command, click.Group):
        return _no_verb(unknown[1], context.command_path, context.command.list_commands(context))
    if many is not None:
        return f"{message}; type '{_usage(context)}', or "
    return f"{message}; "


def _name(parameter: click.Parameter) -> str:
    return parameter.opts[-1] if isinstance(parameter, click.Option) else (parameter.name or "").upper()


def _no_option(name: str, context: click.Context) -> str:
    known = [each for parameter in context.command.get_params(context) for each in (*parameter.opts, *parameter.secondary_opts)]
    near = difflib.get_close_matches(name, [each for each in known if each.startswith("-")], n=1, cutoff=0.7)
    if isinstance(context.command, click.Group) and not near:
        return f"No such option: {name}; options come after the verb, "
    return f"No such option: {name}; {f'type {near[0]}, or ' if near else ''}"


def _no_verb(name: str, path: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    if path == PROGRAM and name in _OTHER_NAMES:
        near = [_OTHER_NAMES[name]]
    hint = f"type '{path} {near[0]}', or " if near else ""
    return f"No such command '{name}'; {hint}"


def _usage(context: click.Context) -> str:
    """The command with all that it wants, but for options."""
    wanted = (each for each in context.command.collect_usage_pieces(context) if each != "[OPTIONS]")
    return " ".join((context.command_path, *wanted))
