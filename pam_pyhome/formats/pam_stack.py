"""PAM service files: their rules, and what libpam makes of them. pam.d(5) is the syntax, pam.conf(5) the controls.

Read as libpam reads them: a `#` anywhere begins a comment, a backslash before the line end continues the line, brackets keep words
together. A line that libpam cannot read is a rule that always fails, and here a rule with a `defect`.
"""

from __future__ import annotations

from pam_pyhome.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

KINDS = ("auth", "account", "password", "session")
SUCCESS, IGNORE, UNKNOWN_MODULE, MUST_FAIL = "success", "ignore", "module_unknown", "perm_denied"
CODES = (
    "success", "open_err", "symbol_err", "service_err", "system_err", "buf_err", "perm_denied", "auth_err",
    "cred_insufficient", "authinfo_unavail", "user_unknown", "maxtries", "new_authtok_reqd", "acct_expired", "session_err",
    "cred_unavail", "cred_expired", "cred_err", "no_module_data", "conv_err", "authtok_err", "authtok_recover_err",
    "authtok_lock_busy", "authtok_disable_aging", "try_again", "ignore", "abort", "authtok_expired", "module_unknown",
    "bad_item", "conv_again", "incomplete",
)  # fmt: skip
_ACTIONS = ("ignore", "ok", "done", "bad", "die", "reset")
_KEYWORDS = {
    "required": {"success": "ok", "new_authtok_reqd": "ok", "ignore": "ignore", "default": "bad"},
    "requisite": {"success": "ok", "new_authtok_reqd": "ok", "ignore": "ignore", "default": "die"},
    "sufficient": {"success": "done", "new_authtok_reqd": "done", "default": "ignore"},
    "optional": {"success": "ok", "new_authtok_reqd": "ok", "default": "ignore"},
}
INCLUDE, SUBSTACK, TEXTUAL = "include", "substack", "@include"
_DEPTH_MAX = 16
_CHAIN_MAX = 4096
_READ_MAX = 16384  # rules looked at for a chain: where each file includes the next one twice, the last is reached 2^16 times
_BLANK = " \t\r\n\v\f"


class Rule(Record):
    """One rule: where it stands (lines count from 1), its kind ("" for ``@include``), and what it asks for.

    `includes` is ``include``, ``substack``, ``@include`` or empty; `target` is the module or the file. `actions` pairs
    codes with actions, `defect` says why libpam cannot use the line. `silent`: nobody is told if the module is missing.
    """

    file: str
    line: int
    last: int
    kind: str
    target: str
    includes: str = ""
    actions: tuple[tuple[str, str], ...] = ()
    arguments: tuple[str, ...] = ()
    silent: bool = False
    defect: str = ""

    @property
    def module(self) -> str:
        """The name of the module without directory and ending: ``pam_unix``."""
        return self.target.rpartition("/")[2].removesuffix(".so")

    @property
    def place(self) -> str:
        """``file:line``."""
        return f"{self.file}:{self.line}"

    def action(self, code: str) -> str:
        """What is done if the module answers `code`; what nobody mentions counts as an error."""
        chosen = dict(self.actions)
        return chosen.get(code) or chosen.get("default", "bad")


class Step(Record):
    """One rule of a chain, at its level of substacks."""

    rule: Rule
    level: int


class Passed(Record):
    """A rule that was reached, the code its module answered, and the action that followed."""

    rule: Rule
    code: str
    action: str


class Outcome(Record):
    """What a chain comes to: a code, and the rules that were reached, in order."""

    code: str
    trail: tuple[Passed, ...]


# Reading


def parse(text: str, file: str) -> tuple[Rule, ...]:
    """All rules of a service file. Never fails."""
    return tuple(_rule(words, file, first, last) for first, last, words in _lines(text))


def _lines(text: str) -> Iterator[tuple[int, int, list[str]]]:
    """First and last line number and the words of each logical line that has any."""
    pending, first = "", 0
    lines = text.split("\n")
    for number, line in enumerate(lines, 1):
        first = first or number
        body, comment, _ = line.partition("#")
        if not comment and body.rstrip(_BLANK).endswith("\\") and number < len(lines):
            pending += body.rstrip(_BLANK)[:-1] + " "
            continue
        words = _words(pending + body)
        if words:
            yield first, number, words
        pending, first = "", 0


def _words(text: str) -> list[str]:
    """Separated by blanks; what is in brackets is one word, without them, and marked by a leading ``[``."""
    words: list[str] = []
    rest = text.strip(_BLANK)
    while rest:
        if rest[0] == "[":
            word, rest = _bracketed(rest)
        else:
            size = next((at for at, letter in enumerate(rest) if letter in _BLANK), len(rest))
            word, rest = rest[:size], rest[size:]
        words.append(word)
        rest = rest.lstrip(_BLANK)
    return words


def _bracketed(text: str) -> tuple[str, str]:
    """The first word, up to its ``]``; a backslash before a bracket makes it an ordinary letter."""
    at = 1
    inside = ""
    while at < len(text) and text[at] != "]":
        if text[at] == "\\" and text[at + 1 : at + 2] in ("[", "]"):
            at += 1
        inside += text[at]
        at += 1
    return "[" + inside, text[at + 1 :]


def _rule(words: list[str], file: str, first: int, last: int) -> Rule:
    if words[0].lower() == TEXTUAL:
        defect = "" if len(words) == 2 else "names no file, or more than one"
        return Rule(file, first, last, "", words[1] if len(words) > 1 else "", TEXTUAL, defect=defect)
    silent = words[0].startswith("-")
    kind = words[0].removeprefix("-").lower()
    control = words[1] if len(words) > 1 else ""
    target = words[2].removeprefix("[") if len(words) > 2 else ""
    arguments = tuple(word.removeprefix("[") for word in words[3:])
    includes = control.lower() if control.lower() in (INCLUDE, SUBSTACK) else ""
    actions = None if includes else _parse_control(control)
    defect = _defect(kind, words, known=bool(includes) or actions is not None)
    return Rule(file, first, last, kind, target, includes, actions or (), arguments, silent, defect)


def _defect(kind: str, words: list[str], *, known: bool) -> str:
    if kind not in KINDS:
        return f"{kind} is no kind of rule"
    if len(words) < 3:
        return "has no control, or no module"
    return "" if known else f"{words[1].removeprefix('[')} is no control"


def _parse_control(word: str) -> tuple[tuple[str, str], ...] | None:
    """Pairs of code and action, or None for what libpam does not take."""
    if not word.startswith("["):
        chosen = _KEYWORDS.get(word.lower())
        return None if chosen is None else tuple(chosen.items())
    items = word[1:].replace("=", " = ").split()
    found = []
    for at in range(0, len(items), 3):
        three = items[at : at + 3]
        if len(three) < 3 or three[1] != "=" or three[0] not in (*CODES, "default") or not _is_action(three[2]):
            return None
        found.append((three[0], three[2]))
    return tuple(found)


def _is_action(word: str) -> bool:
    return word in _ACTIONS or (word.isascii() and word.isdigit() and len(word) < 5 and int(word) > 0)


# Following


def chain(files: Mapping[str, Sequence[Rule]], service: str, kind: str) -> tuple[Step, ...]:
    """The rules of one kind for a service, includes resolved; those of ``other`` if it has none.

    `files` has the rules by name of file, as includes name it. A file that is not there is a rule that always fails.
    """
    own = _collect(files, service, kind) if service in files else ()
    return own or (_collect(files, "other", kind) if "other" in files else ())


def _collect(files: Mapping[str, Sequence[Rule]], name: str, kind: str) -> tuple[Step, ...]:
    looked_at = zip(range(_READ_MAX), _follow(files, name, kind, 0, 0))
    return tuple(step for _, step in looked_at if step is not None)[:_CHAIN_MAX]


def _follow(files: Mapping[str, Sequence[Rule]], name: str, kind: str, level: int, depth: int) -> Iterator[Step | None]:
    """The steps, and None for every rule that is none."""
    for rule in files[name]:
        if rule.kind and rule.kind != kind and rule.kind in KINDS:
            yield None
        elif not rule.includes or rule.defect:
            yield Step(rule, level)
        elif rule.target not in files or depth >= _DEPTH_MAX:
            yield Step(_broken(rule, "includes itself" if rule.target in files else "includes a file that is not there"), level)
        else:
            inner = rule.includes == SUBSTACK
            yield Step(rule, level) if inner else None
            yield from _follow(files, rule.target, kind, level + inner, depth + 1)


def _broken(rule: Rule, defect: str) -> Rule:
    return Rule(rule.file, rule.line, rule.last, rule.kind, rule.target, rule.includes, rule.actions, defect=defect)


class _State:
    """The impression that the modules so far have made, as libpam keeps it."""

    def __init__(self) -> None:
        self.good: bool | None = None
        self.code = MUST_FAIL

    def take(self, code: str, action: str) -> None:
        """What an action does to it."""
        if action in ("ok", "done"):
            if self.good is None or (self.good and self.code == SUCCESS):
                self.good, self.code = True, code
        elif action in ("bad", "die") and self.good is not False:
            self.good, self.code = False, code if code not in (SUCCESS, IGNORE) else MUST_FAIL

    def ends(self, action: str) -> bool:
        """Whether nothing after it in the same stack counts."""
        return action == "die" or (action == "done" and bool(self.good))


def walk(steps: Sequence[Step], answer: Callable[[Rule], str]) -> Outcome:
    """Follow a chain in which each module answers what `answer` says. A rule with a defect is never asked and fails."""
    state = _State()
    entered: dict[int, tuple[bool | None, str]] = {}
    trail: list[Passed] = []
    at = 0
    while at < len(steps):
        rule, level = steps[at].rule, steps[at].level
        if rule.includes == SUBSTACK and not rule.defect:
            entered[level + 1] = (state.good, state.code)
            at += 1
            continue
        code = MUST_FAIL if rule.defect else answer(rule)
        action = "bad" if rule.defect else rule.action(code)
        trail.append(Passed(rule, code, action))
        if action == "reset":
            state.good, state.code = entered.get(level, (None, MUST_FAIL))
        state.take(code, action)
        if action.isdigit():
            at = _jump(steps, at, int(action), state)
        elif state.ends(action):
            at = _end(steps, at)
        at += 1
    return Outcome(state.code if state.good is not None else MUST_FAIL, tuple(trail))


def _jump(steps: Sequence[Step], at: int, count: int, state: _State) -> int:
    """The last rule that is skipped. A substack counts as one, and nothing jumps out of its own; that fails."""
    level = steps[at].level
    while count and at + 1 < len(steps) and steps[at + 1].level >= level:
        at += 1
        while at + 1 < len(steps) and steps[at + 1].level > level:
            at += 1
        count -= 1
    if count:
        state.good, state.code = False, MUST_FAIL
    return at


def _end(steps: Sequence[Step], at: int) -> int:
    """The last rule of the stack that `at` is in."""
    level = steps[at].level
    while at + 1 < len(steps) and steps[at + 1].level >= level:
        at += 1
    return at
