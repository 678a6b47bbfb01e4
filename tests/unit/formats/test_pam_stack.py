"""PAM files are read and followed as libpam reads and follows them."""

from __future__ import annotations

import ctypes
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pam_pyhome.formats import pam_stack
from pam_pyhome.formats.pam_stack import CODES, Rule
from pam_pyhome.kernel import libpam


def only(text: str) -> Rule:
    (rule,) = pam_stack.parse(text, "f")
    return rule


def test_a_plain_rule() -> None:
    rule = only("auth required pam_unix.so nullok try_first_pass # comment\n")
    assert (rule.kind, rule.target, rule.module) == ("auth", "pam_unix.so", "pam_unix")
    assert rule.arguments == ("nullok", "try_first_pass")
    assert [rule.action(code) for code in ("success", "ignore", "auth_err")] == ["ok", "ignore", "bad"]
    assert not rule.defect


def test_brackets_dashes_paths_and_case() -> None:
    rule = only("-SESSION [success=2 default = ignore] /lib/security/pam_x.so [a b\\] c] d")
    assert (rule.silent, rule.kind, rule.module, rule.arguments) == (True, "session", "pam_x", ("a b] c", "d"))
    assert rule.action("success") == "2"
    assert rule.action("abort") == "ignore"


def test_what_nobody_mentions_is_bad() -> None:
    assert only("auth [success=ok] pam_x.so").action("ignore") == "bad"


def test_lines_that_go_on() -> None:
    first, second = pam_stack.parse("auth \\\n  required \\\n pam_a.so\n\nauth required pam_b.so", "f")
    assert (first.line, first.last, first.module) == (1, 3, "pam_a")
    assert (second.line, second.last, second.module) == (5, 5, "pam_b")


def test_files_that_include_each_other_over_and_over_are_followed_for_a_moment_only() -> None:
    """Each includes the next one ten times, the last is empty: 10^14 rules to look at, and not one for the chain."""
    files = {str(number): pam_stack.parse(f"auth include {number + 1}\n" * 10, str(number)) for number in range(14)}
    assert pam_stack.chain(files | {"14": ()}, "0", "auth") == ()
    assert len(pam_stack.chain({"0": pam_stack.parse("auth substack 0\n" * 9, "0")}, "0", "auth")) == 4096


@pytest.mark.parametrize(
    "text",
    ["authh required pam_x.so", "auth required", "auth", "auth maybe pam_x.so", "auth [success=up] pam_x.so",
     "auth [success] pam_x.so", "auth [succes=ok] pam_x.so", "auth [success=0] pam_x.so", "@include"],
)  # fmt: skip
def test_what_libpam_does_not_take_is_a_defect(text: str) -> None:
    rule = only(text)
    assert rule.defect
    assert pam_stack.walk(pam_stack.chain({"s": (rule,)}, "s", "auth"), lambda _: "success").code != "success"


def test_services_without_rules_of_a_kind_have_those_of_other() -> None:
    files = {"s": pam_stack.parse("auth required a.so", "s"), "other": pam_stack.parse("session required b.so", "other")}
    assert [step.rule.module for step in pam_stack.chain(files, "s", "session")] == ["b"]
    assert [step.rule.module for step in pam_stack.chain(files, "s", "auth")] == ["a"]


def test_a_file_that_includes_itself_ends() -> None:
    files = {"s": pam_stack.parse("auth include s\nauth required a.so", "s")}
    assert any(step.rule.defect for step in pam_stack.chain(files, "s", "auth"))


@given(st.text(alphabet="authsesion required[]=@include \\\n#-0123456789.xpwcb", max_size=300))
def test_any_text_is_read_without_failing(text: str) -> None:
    rules = pam_stack.parse(text, "f")
    files = {"f": rules, "x": rules}
    for kind in pam_stack.KINDS:
        steps = pam_stack.chain(files, "f", kind)
        outcome = pam_stack.walk(steps, lambda rule: CODES[len(rule.target) % len(CODES)])
        assert outcome.code in CODES
        assert len(outcome.trail) <= len(steps)


@given(st.binary(max_size=400))
def test_any_bytes_are_read_without_failing(data: bytes) -> None:
    pam_stack.parse(data.decode("utf-8", "surrogateescape"), "f")


# Beside the real one

_RETURNED = ("success", "auth_err", "ignore", "user_unknown", "perm_denied", "new_authtok_reqd", "cred_err")
_ACTION = st.sampled_from(("ignore", "ok", "done", "bad", "die", "reset", "1", "2", "3"))
_BRACKETS = st.dictionaries(st.sampled_from((*_RETURNED, "default")), _ACTION, max_size=4).map(
    lambda pairs: "[" + " ".join(f"{code}={action}" for code, action in pairs.items()) + "]"
)
_CONTROL = st.one_of(st.sampled_from(("required", "requisite", "sufficient", "optional")), _BRACKETS)
_RULE = st.tuples(_CONTROL, st.sampled_from(_RETURNED)).map(lambda each: f"auth {each[0]} pam_debug.so auth={each[1]}")
_MISSING = _CONTROL.map(lambda control: f"-auth {control} pam_is_not_there.so")
_LINK = st.sampled_from(("auth include one", "auth substack one", "auth include two", "auth substack two"))
_OUTER = st.lists(st.one_of(_RULE, _RULE, _MISSING, _LINK), min_size=1, max_size=7)
_ONE = st.lists(st.one_of(_RULE, _RULE, st.sampled_from(("auth substack two", "auth include two"))), max_size=4)
_TWO = st.lists(_RULE, max_size=4)


def _ask_libpam(directory: Path, service: str) -> int:
    """What the real libpam makes of the files in a directory."""
    pam = libpam._Pam(b"")
    handle = ctypes.c_void_p()
    text = ctypes.c_char_p
    start = ctypes.CDLL("libpam.so.0").pam_start_confdir
    start.argtypes = (text, text, ctypes.c_void_p, text, ctypes.c_void_p)
    assert start(service.encode(), b"root", pam._pair, str(directory).encode(), ctypes.byref(handle)) == 0
    code = pam.call("pam_authenticate", handle, 0)
    pam.call("pam_end", handle, 0)
    return code


@settings(max_examples=400)
@given(_OUTER, _ONE, _TWO)
def test_walking_comes_to_what_libpam_comes_to(outer: list[str], one: list[str], two: list[str]) -> None:
    rules = {"s": outer, "one": one, "two": two, "other": ["auth required pam_deny.so"]}
    contents = {name: "".join(f"{line}\n" for line in lines) for name, lines in rules.items()}
    with tempfile.TemporaryDirectory() as directory:
        for name, content in contents.items():
            # Only what is included by an absolute path is looked for outside of /etc/pam.d.
            absolute = content.replace("include ", f"include {directory}/").replace("substack ", f"substack {directory}/")
            (Path(directory) / name).write_text(absolute, encoding="ascii")
        real = _ask_libpam(Path(directory), "s")
    files = {name: pam_stack.parse(content, name) for name, content in contents.items()}

    def answer(rule: Rule) -> str:
        if rule.module == "pam_deny":
            return "auth_err"
        return "module_unknown" if rule.module == "pam_is_not_there" else rule.arguments[0].removeprefix("auth=")

    outcome = pam_stack.walk(pam_stack.chain(files, "s", "auth"), answer)
    assert CODES[real] == outcome.code, outcome
