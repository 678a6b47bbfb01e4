"""sshd_config(5) as far as the layout needs it: which AuthorizedKeysFile applies where, and the drop-in that goes before. Pure.

For each keyword sshd keeps the first value; those in Match blocks that apply go before those outside, whatever their order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pam_pyhome.errors import SshdError
from pam_pyhome.policy import own_keys
from pam_pyhome.sshd.layout import TEMPLATES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

MAIN = "/etc/ssh/sshd_config"
# Where the distribution's own is, as on openSUSE; it counts while there is no MAIN.
VENDOR_MAIN = "/usr/etc/ssh/sshd_config"
# Before "0-" come "!" to ",", which nobody uses: not even "00-" goes before.
DROP_IN = own_keys.DROP_IN
DEFAULT_FILES = (".ssh/authorized_keys", ".ssh/authorized_keys2")
DEFAULT_PLACE = "the default"
_AFTER_KEY = "publickey,keyboard-interactive:pam"
# Named twice: so the PAM module (host/sshd.c) tells this line, which asks for the home's password, from a site's own.
UNLOCK_METHODS = f"{_AFTER_KEY} {_AFTER_KEY}"
_ASKING = "kbdinteractiveauthentication"
_WITHOUT_KEY = (
    ("passwordauthentication", "yes", "password"),
    (_ASKING, "yes", "keyboard-interactive:pam"),
    ("gssapiauthentication", "no", "gssapi-with-mic"),
    ("hostbasedauthentication", "no", "hostbased"),
)
_SYNONYMS = {
    "challengeresponseauthentication": _ASKING,
    "skeyauthentication": _ASKING,
}
_DEPTH_MAX = 16
_BY_USER = {"user", "group", "all", "invalid-user"}
_WITHOUT_PATTERNS = {"all", "canonical", "final", "invalid-user"}
_BLANK = " \t\f\r"

HEADER = """\
# Written by "pyhome sshd apply"; "pyhome sshd revert" takes it back. Changes made here are lost.
# The first value counts, so this file must come before all others that set the same.
"""


class Directive(NamedTuple):
    """One line: where it is, its keyword in lower case, its arguments, and the Match lines that it depends on, outermost first."""

    path: str
    line: int
    keyword: str
    arguments: tuple[str, ...]
    match: tuple[str, ...]

    @property
    def place(self) -> str:
        """File and line number."""
        return f"{self.path}:{self.line}"


def parse(text: str, path: str, include: Callable[[str], Iterable[tuple[str, str]]]) -> list[Directive]:
    """All directives of `text`, those of included files in their places. `include` gives paths and texts for a pattern.

    SshdError for a line that cannot be understood.
    """
    return list(_parse(text, path, include, (), 0))


def _parse(
    text: str, path: str, include: Callable[[str], Iterable[tuple[str, str]]], outer: tuple[str, ...], depth: int
) -> Iterator[Directive]:
    if depth > _DEPTH_MAX:
        raise SshdError(path, "files include each other without end")
    match = outer
    for number, line in enumerate(text.split("\n"), 1):
        keyword, rest = _keyword(line)
        if not keyword:
            continue
        directive = Directive(path, number, keyword, tuple(words(rest, f"{path}:{number}")), match)
        if keyword == "match":
            match = (*outer, rest)
        yield directive
        if keyword == "include":
            for pattern in directive.arguments:
                for inner, content in include(pattern):
                    yield from _parse(content, inner, include, match, depth + 1)


def _keyword(line: str) -> tuple[str, str]:
    """The keyword in lower case and the rest; both empty for a comment. Blanks, or one equals sign, stand between."""
    line = line.strip(_BLANK)
    if line.startswith("#"):
        return "", ""
    end = next((at for at, char in enumerate(line) if char in _BLANK + "="), len(line))
    rest = line[end:].lstrip(_BLANK)
    rest = rest[1:].lstrip(_BLANK) if rest.startswith("=") else rest
    keyword = line[:end].strip('"').lower()
    return _SYNONYMS.get(keyword, keyword), rest


def words(rest: str, place: str) -> Iterator[str]:
    """The arguments of a line: words, or text in quotation marks, up to a comment. SshdError for an open quotation."""
    word: list[str] | None = None
    quote = ""
    at = 0
    while at < len(rest):
        char = rest[at]
        at += 1
        if char == "\\" and rest[at : at + 1] in {'"', "'", "\\", *([] if quote else [" "])}:
            word = [*(word or ()), rest[at]]
            at += 1
        elif quote:
            quote, word = ("", word) if char == quote else (quote, [*(word or ()), char])
        elif char in "\"'":
            quote, word = char, word or []
        elif char in _BLANK or (char == "#" and word is None):
            if word is not None:
                yield "".join(word)
            if char == "#":
                return
            word = None
        else:
            word = [*(word or ()), char]
    if quote:
        raise SshdError(place, "a quotation mark is not closed")
    if word is not None:
        yield "".join(word)


def quoted(word: str) -> str:
    """A word as `words` reads it."""
    if word and not set(word) & set(" \t\"'\\#"):
        return word
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'


# What applies where


class Block(NamedTuple):
    """The files that sshd reads keys from: outside all Match blocks (`match` is empty) or in one; `place` says who sets it."""

    match: str
    files: tuple[str, ...]
    place: str


class Criterion(NamedTuple):
    """What a Match line asks for: the keyword in lower case, and its patterns."""

    keyword: str
    patterns: tuple[str, ...]


def criteria(match: str, place: str) -> list[Criterion]:
    """The criteria of a Match line: `keyword patterns` or `keyword=patterns`, quoted or not. SshdError for an open quotation."""
    found: list[Criterion] = []
    rest = list(words(match, place))
    while rest:
        keyword, equals, value = rest.pop(0).partition("=")
        if keyword.lower() not in _WITHOUT_PATTERNS:
            # Releases before 9.9 let blanks stand beside the equals sign.
            if not value and rest and not equals and rest[0].startswith("="):
                value = rest.pop(0)[1:]
            value = value or (rest.pop(0) if rest else "")
        found.append(Criterion(keyword.lower(), tuple(filter(None, value.split(",")))))
    return found


def key_files(directives: Iterable[Directive]) -> list[Block]:
    """Each AuthorizedKeysFile that can apply, those in Match blocks in their order, then the one outside.

    SshdError where Match blocks are nested by Include.
    """
    blocks: list[Block] = []
    outside = Block("", DEFAULT_FILES, DEFAULT_PLACE)
    seen_outside = False
    for each in directives:
        if each.keyword != "authorizedkeysfile":
            continue
        if len(each.match) > 1:
            raise SshdError(each.place, "AuthorizedKeysFile is set in a Match block inside another")
        if each.match:
            blocks.append(Block(each.match[0], each.arguments, each.place))
        elif not seen_outside:
            outside, seen_outside = Block("", each.arguments, each.place), True
    return [*blocks, outside]


def principals_in_homes(directives: Iterable[Directive]) -> Iterator[Directive]:
    """Each AuthorizedPrincipalsFile in the homes, if certificates count at all."""
    known = list(directives)
    if any(each.keyword == "trustedusercakeys" and each.arguments[:1] not in {(), ("none",)} for each in known):
        yield from (each for each in known if each.keyword == "authorizedprincipalsfile" and any(map(in_home, each.arguments)))


def in_home(file: str) -> bool:
    """Whether a file of AuthorizedKeysFile lies in the home."""
    if file.startswith("%h"):
        return file.startswith("%h/")
    return file != "none" and (not file.startswith("/") or file.startswith("/home/%u/"))


def home_files(files: Iterable[str]) -> tuple[str, ...]:
    """Those files of AuthorizedKeysFile that lie in the home."""
    return tuple(filter(in_home, files))


def common_home_files(blocks: Iterable[Block]) -> tuple[str, ...] | None:
    """The files in homes that keys come from, if they are the same for everybody who has any; None if they depend on the user.

    SshdError if nobody has any, or if they depend on more than the user: one file per user cannot keep that apart.
    """
    sets = {home_files(block.files): block for block in blocks}
    sets.pop((), None)
    if not sets:
        raise SshdError("AuthorizedKeysFile", "names no file in a home, so a locked home hides no keys from sshd")
    if len(sets) == 1:
        return next(iter(sets))
    for block in blocks:
        if not {each.keyword for each in criteria(block.match, block.place)} <= _BY_USER:
            reason = "reads other files in homes than elsewhere, and not by user only; one key file per user cannot do that"
            raise SshdError(block.place, reason)
    return None


class Unlock(NamedTuple):
    """How sshd comes to ask after a key: by `methods`, in Match blocks by `exceptions`, lines; the `spared` log in by `without`."""

    methods: str
    without: str
    exceptions: tuple[tuple[str, tuple[str, ...]], ...] = ()
    spared: tuple[str, ...] = ()


class Wanted(NamedTuple):
    """What the drop-in is to say."""

    template: str
    blocks: tuple[Block, ...]
    unlock: Unlock | None = None


def drop_in(wanted: Wanted) -> str:
    """The text of the drop-in. Blocks without a file in the home keep what they have: there sshd never asked the home."""
    lines = [HEADER]
    concerned = [block for block in wanted.blocks if home_files(block.files)]
    lines += [_files_line(wanted.template, block) for block in concerned if not block.match]
    if wanted.unlock is not None:
        lines.append("KbdInteractiveAuthentication yes\n")
        lines.append(f"AuthenticationMethods {wanted.unlock.methods}\n")
    # The first block that applies counts, so all of them come along, and in their order.
    for block in wanted.blocks if any(block.match for block in concerned) else ():
        if block.match:
            line = _files_line(wanted.template if block in concerned else "", block)
            lines.append(f"\n# As {block.place}\nMatch {block.match}\n    {line}")
    lines += _exceptions(wanted.unlock) if wanted.unlock is not None else ()
    return "".join(lines)


def _exceptions(unlock: Unlock) -> Iterator[str]:
    """The site's own exceptions come first, and so count for root as well."""
    for match, lines in unlock.exceptions:
        yield "\n    ".join([f"\nMatch {match}", *lines]) + "\n"
    if unlock.spared:
        yield "\n# Unless PermitRootLogin is yes, sshd lets nobody in as root who has answered a prompt.\n"
        yield f"Match User {','.join(unlock.spared)}\n    AuthenticationMethods {unlock.without}\n"


def _files_line(template: str, block: Block) -> str:
    files = dict.fromkeys([template, *block.files] if template else block.files)
    return f"AuthorizedKeysFile {' '.join(map(quoted, files))}\n"


def template_of(text: str) -> str | None:
    """The layout that a drop-in puts first, None if it puts none."""
    for each in parse(text, DROP_IN, lambda _pattern: ()):
        if each.keyword == "authorizedkeysfile" and each.arguments[:1] and each.arguments[0] in TEMPLATES:
            return each.arguments[0]
    return None


def effective(dump: str) -> dict[str, tuple[str, ...]]:
    """The output of ``sshd -T``: the values of each keyword in lower case, as many as there are lines with it."""
    found: dict[str, tuple[str, ...]] = {}
    for line in dump.splitlines():
        name, _, value = line.partition(" ")
        keyword = name.lower()
        found[keyword] = (*found.get(keyword, ()), value)
    return found


def first_outside(directives: Iterable[Directive], keyword: str) -> Directive | None:
    """The directive that gives a keyword its value where no Match block applies."""
    return next((each for each in directives if each.keyword == keyword and not each.match), None)


def unlock_after_key(directives: Iterable[Directive], spared: Iterable[str]) -> Unlock:
    """AuthenticationMethods under which a public key is followed by PAM; what could do without a key still can.

    `spared`: the names of root, whose key goes on being enough. SshdError if the configuration asks for other combinations
    already, if sshd does not use PAM, or if somebody could not be asked.
    """
    known = list(directives)
    exceptions = [each for each in known if each.keyword == "authenticationmethods" and each.match]
    silent = [each for each in known if each.keyword == _ASKING and each.match]
    for each in [*(each for each in exceptions if len(each.match) > 1), *(each for each in silent if each.arguments == ("no",))]:
        raise SshdError(each.place, f"sets {each.keyword} in a Match block in which a prompt after the key would be in the way")

    def value(keyword: str, default: str) -> str:
        found = first_outside(known, keyword)
        return " ".join(found.arguments).lower() if found else default

    if (methods := value("authenticationmethods", "any")) != "any":
        raise SshdError("AuthenticationMethods", f"is {methods} already, which is not to be replaced unasked")
    if value("usepam", "no") != "yes":
        raise SshdError("UsePAM", "is no, so that sshd would not ask for the home's password")
    for each in known:
        if each.keyword == "pamservicename" and each.arguments != ("sshd",):
            raise SshdError(each.place, "gives sshd's PAM another name than sshd, under which pam_pyhome cannot ask after a key")
    others = [method for keyword, default, method in _WITHOUT_KEY if value(keyword, default) == "yes"]
    asked = {each.match for each in known if each.keyword == _ASKING and each.match}
    # What we switch on for everybody must not let anybody in who was never asked.
    silence = () if value(_ASKING, "yes") == "yes" else ("KbdInteractiveAuthentication no",)
    matches = tuple((each.match[0], (_methods_line(each), *(() if each.match in asked else silence))) for each in exceptions)
    return Unlock(" ".join([UNLOCK_METHODS, *others]), " ".join(["publickey", *others]), matches, tuple(spared))


def _methods_line(each: Directive) -> str:
    return f"AuthenticationMethods {' '.join(map(quoted, each.arguments))}"


def unlocks(text: str) -> bool:
    """Whether a drop-in has sshd ask for the home's password after a key, also as older releases have written it."""
    found = first_outside(parse(text, DROP_IN, lambda _pattern: ()), "authenticationmethods")
    return found is not None and found.arguments[:1] == (_AFTER_KEY,)


def asking_after_key(directives: Iterable[Directive]) -> Iterator[Directive]:
    """AuthenticationMethods of the site's own, in Match blocks, that have PAM ask something after a public key."""
    for each in directives:
        lists = [argument.lower().split(",") for argument in each.arguments if each.keyword == "authenticationmethods"]
        if any("publickey" in some and any(_is_asking(method) for method in some[some.index("publickey") :]) for some in lists):
            yield each


def _is_asking(method: str) -> bool:
    return method.partition(":")[0] == "keyboard-interactive"
