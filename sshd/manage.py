"""``plan``, ``apply``, ``sync``, ``revert``: the layout and sshd's drop-in as one change, verified with sshd, or taken back."""

from __future__ import annotations

import os
import subprocess
import tempfile
from typing import TYPE_CHECKING, NamedTuple

from pam_pyhome import events
from pam_pyhome.admin import plan
from pam_pyhome.admin.journal import Journal
from pam_pyhome.admin.plan import Change, Node, observe
from pam_pyhome.errors import NoUserError, PyhomeError, SshdError
from pam_pyhome.kernel.log import log
from pam_pyhome.policy.users import uid_min
from pam_pyhome.sshd import config, daemon, layout, pam_stack, people
from pam_pyhome.sshd.pam_stack import Objection
from pam_pyhome.sshd.survey import SETTINGS, STATE, Site, Survey, read_settings, survey, write_index

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

REVERTED = "reverted"
_VERIFIED_MAX = 40


class Options(NamedTuple):
    """What the command line asks for; None leaves it as it is, or as is usual."""

    template: str | None = None
    unlock_at_login: bool | None = None
    prune: bool = False


class Proposal(NamedTuple):
    """A plan, and what it was made from."""

    site: Site
    found: Survey
    changes: tuple[Change, ...]
    directives: tuple[config.Directive, ...]
    expected: dict[str, tuple[str, ...]]
    unlock_at_login: bool
    objections: tuple[Objection, ...]


UNLOCK_LIMIT = (
    "with --unlock-at-login every login by public key, except root's, goes on with PAM: programs that cannot answer a prompt (ssh "
    "with BatchMode=yes, sftp -b, most scripts) can no longer log in by key, whether a home is locked or not; for their accounts, "
    "a Match block can set 'AuthenticationMethods publickey'"
)


def propose(options: Options) -> Proposal:
    """Make a plan that can be carried out. SshdError as of `examine`, or if the site's own questions would be passed over."""
    proposal = examine(options)
    for each in proposal.objections:
        raise SshdError(each.what, each.sentence)
    return proposal


def examine(options: Options) -> Proposal:
    """Make the plan, with what speaks against it. Nothing is changed.

    SshdError if sshd is not installed, its present configuration does not parse, or the drop-in could not do what it should.
    """
    binary = daemon.find()
    daemon.check(binary, daemon.main_file())
    directives = tuple(daemon.read_config(without=config.DROP_IN))
    if not daemon.includes(directives, config.DROP_IN):
        reason = "has no Include of /etc/ssh/sshd_config.d/*.conf outside of Match; add one as its first line"
        raise SshdError(daemon.main_file(), reason)
    present = observe(config.DROP_IN)
    blocks = tuple(config.key_files(directives))
    site = Site(_template(options, present, blocks), blocks, read_settings())
    config.common_home_files(blocks)
    unlock = _unlocks(present) if options.unlock_at_login is None else options.unlock_at_login
    asking = config.unlock_after_key(directives, people.roots()) if unlock else None
    found = survey(site)
    changes = [*found.changes, *_removals(found if options.prune else None)]
    stack = pam_stack.changes(wanted=unlock) if unlock or _unlocks(present) else []
    objections = [*_unseen(), *pam_stack.objections(stack, directives)] if unlock else []
    changes += stack
    changes += _drop_in_changes(present, config.drop_in(config.Wanted(site.template, blocks, asking)))
    return Proposal(site, found, tuple(changes), directives, _expected(binary, site, found), unlock, tuple(objections))


def keys_elsewhere() -> tuple[config.Directive, ...] | None:
    """The configuration, if it has sshd look for keys in no home, as where they all come from a command; else None.

    SshdError as of `examine`.
    """
    daemon.check(daemon.find(), daemon.main_file())
    directives = tuple(daemon.read_config(without=config.DROP_IN))
    in_homes = any(config.home_files(block.files) for block in config.key_files(directives))
    return None if in_homes or observe(config.DROP_IN) is not None else directives


def _unseen() -> Iterator[Objection]:
    """Where no sshd listens, the PAM module cannot find out which AuthenticationMethods apply to a connection."""
    unit = daemon.started_for_each()
    if unit is not None:
        reason = "starts an sshd for each connection, and the PAM module can only ask one that listens what applies to whom"
        yield Objection(unit, reason, f"systemctl disable --now {unit}; systemctl enable --now {unit[:-6]}service")


def _expected(binary: str, site: Site, found: Survey) -> dict[str, tuple[str, ...]]:
    """Which files sshd should ask afterwards: by user, and "" where no Match block applies.

    SshdError if sshd's own word about what it asks now is not what its configuration was read to mean.
    """
    users = _sample(site, found) if any(block.match for block in site.blocks) else []
    expected: dict[str, tuple[str, ...]] = {}
    for name in ["", *users]:
        blocks = site.blocks if name else site.blocks[-1:]
        value = daemon.dump(binary, name or None).get("authorizedkeysfile", ("",))[0]
        block = next((each for each in blocks if value in _spellings(site, each)), None)
        if block is None:
            raise SshdError("AuthorizedKeysFile", f"is {value!r} for sshd, which is not what {daemon.main_file()} seems to say")
        expected[name] = _files_after(site.template, block)
    return expected


def _spellings(site: Site, block: config.Block) -> set[str]:
    """How sshd shows the files of a block, before and after."""
    return {" ".join(block.files), " ".join(_files_after(site.template, block))}


def _sample(site: Site, found: Survey) -> list[str]:
    """Users to ask sshd about: those whom Match blocks name, and some whose keys are laid out now."""
    prefix = os.path.basename(site.template).removesuffix("%u")
    wanted = [each for block in site.blocks for each in config.criteria(block.match, block.place)]
    named = [name for each in wanted if each.keyword == "user" for name in each.patterns]
    named += people.members(name for each in wanted if each.keyword == "group" for name in each.patterns)
    laid_out = [os.path.basename(change.path).removeprefix(prefix) for change in found.changes if change.after is not None]
    names = dict.fromkeys([*named, *laid_out[:_VERIFIED_MAX]])
    return [name for name in names if daemon.can_ask_about(name) and people.look_up(name) is not None]


def _template(options: Options, present: Node | None, blocks: Iterable[config.Block]) -> str:
    """The layout to use: the one in use already, by us or by the administrator; else the one asked for; else the usual one."""
    used = config.template_of(_text(present)) if present is not None else None
    if used is not None and options.template not in {None, used}:
        raise SshdError(config.DROP_IN, f"uses {used}; run 'pyhome sshd revert' before another layout")
    named = [file for block in blocks for file in block.files if file in layout.TEMPLATES]
    return used or options.template or next(iter(named), layout.IN_DIRECTORY)


def _text(node: Node) -> str:
    return (node.content or b"").decode("utf-8", "surrogateescape")


def _unlocks(present: Node | None) -> bool:
    return present is not None and config.unlocks(_text(present))


def _removals(found: Survey | None) -> list[Change]:
    """The key files of users who are no more."""
    return [] if found is None else [Change(path, observe(path), None) for path in found.orphans]


def _drop_in_changes(present: Node | None, text: str) -> list[Change]:
    """The drop-in comes last: until it is there, sshd does not look at the layout."""
    wanted = Node(0, 0, 0o644, text.encode("utf-8", "surrogateescape"))
    directory = os.path.dirname(config.DROP_IN)
    changes = [] if observe(directory) else [Change(directory, None, Node(0, 0, 0o755, None))]
    return [*changes, *([Change(config.DROP_IN, present, wanted)] if present != wanted else [])]


def carry_out(proposal: Proposal) -> str:
    """Apply a plan, verify the result with sshd, and have sshd read it; a sentence about the latter.

    SshdError if the result is not right; everything is as before then.
    """
    with Journal(STATE) as journal:
        _sweep()
        _try_alone(proposal)
        if proposal.changes:
            plan.apply(proposal.changes, journal)
            try:
                verify(proposal)
            except (PyhomeError, OSError, subprocess.SubprocessError, KeyboardInterrupt):
                plan.take_back(proposal.changes)
                raise
        write_index(proposal.site, proposal.found)
    if proposal.changes:
        log(events.SSHD_CHANGED, ", ".join(change.path for change in proposal.changes))
    if any(change.path == config.DROP_IN for change in proposal.changes):
        return daemon.reload()
    return "sshd's configuration is unchanged"


def _sweep() -> None:
    """Clear away what a killed run has left."""
    plan.sweep(os.path.dirname(path) for path in (*layout.TEMPLATES, config.DROP_IN, pam_stack.PAM_FILE))


def _try_alone(proposal: Proposal) -> None:
    """SshdError if sshd would stumble over the drop-in: not even a run that is killed may leave such a file behind."""
    for change in proposal.changes:
        if change.path == config.DROP_IN and change.after is not None:
            with tempfile.NamedTemporaryFile(dir=STATE) as file:
                file.write(change.after.content or b"")
                file.flush()
                daemon.check(daemon.find(), file.name)


def verify(proposal: Proposal) -> None:
    """SshdError unless sshd accepts its configuration, and asks the layout first wherever it should, and all it asked before."""
    binary = daemon.find()
    daemon.check(binary, daemon.main_file())
    for user, files in proposal.expected.items():
        value = daemon.dump(binary, user or None).get("authorizedkeysfile", ("",))[0]
        if value != " ".join(files):
            found = config.first_outside(proposal.directives, "authorizedkeysfile")
            winner = f"{found.place} wins over" if found else "another setting wins over"
            where = f"AuthorizedKeysFile for {user}" if user else "AuthorizedKeysFile"
            raise SshdError(where, f"stays {value!r}: {winner} {config.DROP_IN}, which so has no effect")


def _files_after(template: str, block: config.Block) -> tuple[str, ...]:
    """What sshd should ask where `block` applies."""
    if not config.home_files(block.files):
        return block.files
    return tuple(dict.fromkeys([template, *block.files]))


def applied_site() -> Site | None:
    """The layout as the drop-in has it in effect, None if it is not in place."""
    present = observe(config.DROP_IN)
    if present is None or present.uid != 0:
        return None
    text = _text(present)
    template = config.template_of(text)
    if template is None:
        return None
    blocks = config.key_files(config.parse(text, config.DROP_IN, lambda _pattern: ()))
    # Where the drop-in says nothing outside of Match blocks, the layout is not used there.
    written = [block for block in blocks if block.place != config.DEFAULT_PLACE]
    rest = (block._replace(files=tuple(file for file in block.files if file != template)) for block in written)
    return Site(template, tuple(rest), read_settings())


def laid_out(name: str) -> tuple[str, Node | None] | None:
    """A user's file in the layout, its path and what it is now; None if that cannot be told, as it need not for everybody."""
    try:
        site = applied_site()
        path = layout.path_of(site.template, name) if site is not None else None
        return (path, observe(path)) if path is not None else None
    except (PyhomeError, OSError):
        return None


def plan_sync(name: str) -> Survey:
    """What there is to change for one user. NoUserError; SshdError if there is no layout, or syncing is switched off."""
    site = applied_site()
    if site is None:
        raise SshdError(config.DROP_IN, "is not in place; run 'pyhome sshd apply' first")
    user = people.look_up(name)
    if user is None:
        raise NoUserError(name)
    if user.uid < uid_min():
        raise SshdError(name, "is root or a system user, for whom there is no layout")
    if not site.may_sync(user):
        raise SshdError(name, f"syncing is switched off in {SETTINGS}")
    return survey(site, [user])


def sync(name: str) -> Survey:
    """Carry the keys of one user into the layout; what was done. Errors as of `plan_sync`."""
    with Journal(STATE) as journal:
        found = plan_sync(name)
        plan.apply(found.changes, journal)
    return found


def sync_if_wanted(name: str) -> Survey | None:
    """The same where it is wanted; None for a user whose keys do not go into a layout. Errors of a `sync` that fails."""
    site, user = applied_site(), people.look_up(name)
    if site is None or user is None or not site.may_sync(user):
        return None
    return sync(name)


def sync_everybody() -> Survey | None:
    """Carry the keys of all users into the layout, and out of it those of people who are no more; None without a layout."""
    site = applied_site()
    if site is None:
        return None
    with Journal(STATE) as journal:
        found = survey(site)
        plan.apply(found.changes, journal)
        write_index(site, found)
    return found


def undo_plan() -> list[Change]:
    """The plan that takes back all that `apply` and `sync` have ever changed, sshd's drop-in first."""
    with Journal(STATE) as journal:
        return journal.undo()


def revert(changes: Sequence[Change]) -> str:
    """Carry out an `undo_plan`; a sentence about sshd. What was there is kept in the file `REVERTED` of the state directory.

    SshdError if sshd would not start with the configuration as it was; nothing has changed then.
    """
    with Journal(STATE) as journal:
        _sweep()
        works = _sshd_works()
        plan.carry_out(changes)
        if works and not _sshd_works():
            plan.take_back(changes)
            raise SshdError(daemon.main_file(), "would not parse without what pyhome has written; nothing was changed")
        journal.close(keep_as=REVERTED, undone=changes)
    log(events.SSHD_CHANGED, f"took back what pyhome had done: {', '.join(change.path for change in changes)}")
    return daemon.reload() if works else "sshd is not installed, or its configuration does not parse"


def _sshd_works() -> bool:
    try:
        daemon.check(daemon.find(), daemon.main_file())
    except SshdError:
        return False
    return True
