"""What sshd_config says about key files, and the drop-in that follows from it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pam_pyhome.errors import SshdError
from pam_pyhome.sshd import config
from pam_pyhome.sshd.config import Wanted, common_home_files, drop_in, key_files
from pam_pyhome.sshd.layout import IN_DIRECTORY

BOTH = (".ssh/authorized_keys", ".ssh/authorized_keys2")


def parse(text: str, **included: str) -> list[config.Directive]:
    return config.parse(text, config.MAIN, lambda pattern: [(pattern, included[pattern])] if pattern in included else [])


def files(text: str, **included: str) -> list[tuple[str, tuple[str, ...]]]:
    return [(block.match, block.files) for block in key_files(parse(text, **included))]


def written(text: str) -> str:
    return drop_in(Wanted(IN_DIRECTORY, tuple(key_files(parse(text))))).removeprefix(config.HEADER)


@pytest.mark.parametrize(
    ("line", "arguments"),
    [
        ("AuthorizedKeysFile a b", ("a", "b")),
        ("  authorizedkeysfile=a", ("a",)),
        ("AUTHORIZEDKEYSFILE\t=  a\tb # c", ("a", "b")),
        ('AuthorizedKeysFile "a b" c#d', ("a b", "c#d")),
        (r'AuthorizedKeysFile "a\"b" a\ b', ('a"b', "a b")),
        ("AuthorizedKeysFile 'a b'", ("a b",)),
    ],
)
def test_a_line_is_read_as_sshd_reads_it(line: str, arguments: tuple[str, ...]) -> None:
    (directive,) = parse(line)
    assert (directive.keyword, directive.arguments) == ("authorizedkeysfile", arguments)


def test_comments_and_empty_lines_are_none() -> None:
    assert parse("# AuthorizedKeysFile a\n\n  #\n") == []


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\n\r\f"), min_size=1), min_size=1))
def test_words_are_quoted_as_they_are_read(words: list[str]) -> None:
    assert list(config.words(" ".join(map(config.quoted, words)), "x")) == words


def test_the_first_value_counts_and_included_files_stand_in_their_places() -> None:
    assert files("Include x\nAuthorizedKeysFile b\n", x="AuthorizedKeysFile a\n") == [("", ("a",))]
    assert files("AuthorizedKeysFile b\nInclude x\n", x="AuthorizedKeysFile a\n") == [("", ("b",))]
    assert files("UsePAM yes\n") == [("", BOTH)]


def test_match_blocks_end_with_their_file() -> None:
    inner = "Match User ada\nAuthorizedKeysFile a\n"
    assert files("Include x\nAuthorizedKeysFile b\n", x=inner) == [("User ada", ("a",)), ("", ("b",))]


def test_a_match_block_inside_another_is_refused() -> None:
    with pytest.raises(SshdError, match="inside another"):
        files("Match User ada\nInclude x\n", x="Match Group g\nAuthorizedKeysFile a\n")


def test_the_drop_in_keeps_what_was_read_before() -> None:
    assert written("") == f"AuthorizedKeysFile {IN_DIRECTORY} {' '.join(BOTH)}\n"
    text = f"AuthorizedKeysFile /etc/keys/%u %h/.ssh/authorized_keys {IN_DIRECTORY}\n"
    assert written(text) == f"AuthorizedKeysFile {IN_DIRECTORY} /etc/keys/%u %h/.ssh/authorized_keys\n"


def test_match_blocks_come_along_in_their_order() -> None:
    text = """
Match Group sftp
  AuthorizedKeysFile /srv/%u
Match User ada # she
  AuthorizedKeysFile .ssh/authorized_keys .ssh/authorized_keys2
"""
    assert [line.split() for line in written(text).splitlines() if line and not line.startswith("#")] == [
        ["AuthorizedKeysFile", IN_DIRECTORY, *BOTH],
        ["Match", "Group", "sftp"],
        ["AuthorizedKeysFile", "/srv/%u"],
        ["Match", "User", "ada", "#", "she"],
        ["AuthorizedKeysFile", IN_DIRECTORY, *BOTH],
    ]


def test_where_sshd_never_asked_the_home_it_is_not_told_to() -> None:
    assert written("AuthorizedKeysFile /srv/%u\nMatch User ada\nAuthorizedKeysFile .ssh/authorized_keys\n").split("\n")[2:] == [
        "Match User ada",
        f"    AuthorizedKeysFile {IN_DIRECTORY} .ssh/authorized_keys",
        "",
    ]


@pytest.mark.parametrize("value", ["none", "/etc/ssh/keys/%u", "%%h/x /y"])
def test_without_files_in_homes_there_is_nothing_to_do(value: str) -> None:
    blocks = key_files(parse(f"AuthorizedKeysFile {value}\n"))
    assert (value == "%%h/x /y") != (not any(config.home_files(block.files) for block in blocks))
    if value != "%%h/x /y":
        with pytest.raises(SshdError, match="no file in a home"):
            common_home_files(blocks)


def test_files_in_homes_that_depend_on_the_user_need_a_question_and_others_a_refusal() -> None:
    by_user = "AuthorizedKeysFile .ssh/authorized_keys\nMatch Group g\nAuthorizedKeysFile .ssh/other\n"
    assert common_home_files(key_files(parse(by_user))) is None
    with pytest.raises(SshdError, match="sshd_config:2"):
        common_home_files(key_files(parse("Match Address 10.0.0.0/8\nAuthorizedKeysFile .ssh/inside\n")))
    with pytest.raises(SshdError, match="sshd_config:2"):
        common_home_files(key_files(parse("Match User ada Address 10.0.0.0/8\nAuthorizedKeysFile .ssh/inside\n")))


def methods(text: str) -> str:
    return config.unlock_after_key(parse(text), ()).methods


def test_unlocking_at_login_leaves_what_needs_no_key() -> None:
    usual = config.UNLOCK_METHODS
    assert methods("UsePAM yes\nChallengeResponseAuthentication no\n") == f"{usual} password"
    assert methods("UsePAM yes\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n") == usual
    assert methods("UsePAM yes\n") == f"{usual} password keyboard-interactive:pam"


def test_unlocking_at_login_keeps_exceptions_and_spares_root() -> None:
    text = "UsePAM yes\nMatch Group robots\n  AuthenticationMethods publickey\nMatch User x\n  KbdInteractiveAuthentication yes\n"
    unlock = config.unlock_after_key(parse(text), ["root", "toor"])
    written = drop_in(Wanted(IN_DIRECTORY, tuple(key_files(parse(text))), unlock))
    assert written.index("Match Group robots\n    AuthenticationMethods publickey\n") < written.index("Match User root,toor\n")
    others = "password keyboard-interactive:pam"
    assert written.endswith(f"Match User root,toor\n    AuthenticationMethods publickey {others}\n")
    assert written.index("AuthenticationMethods publickey,keyboard") < written.index("Match")


@pytest.mark.parametrize(
    "text",
    [
        "UsePAM no\n",
        "",
        "UsePAM yes\nAuthenticationMethods publickey,password\n",
        "UsePAM yes\nMatch User git\n  ChallengeResponseAuthentication no\n",
    ],
)
@pytest.mark.guarantee(19)
def test_unlocking_at_login_is_refused_where_it_would_not_work(text: str) -> None:
    with pytest.raises(SshdError):
        methods(text)


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        key_files(parse(text))
    except SshdError:
        return


@pytest.mark.parametrize(
    ("match", "criteria"),
    [
        ("User ada,!bob Group x", [("user", ("ada", "!bob")), ("group", ("x",))]),
        ('Group "domain users"', [("group", ("domain users",))]),
        ("User=ada Group='a b',c", [("user", ("ada",)), ("group", ("a b", "c"))]),
        ("User = ada Group =x", [("user", ("ada",)), ("group", ("x",))]),
        ('USER= "ada b" all', [("user", ("ada b",)), ("all", ())]),
        ("invalid-user User ada # Address 10.0.0.1", [("invalid-user", ()), ("user", ("ada",))]),
        ("User", [("user", ())]),
    ],
)
def test_match_lines_in_each_form(match: str, criteria: list[tuple[str, tuple[str, ...]]]) -> None:
    assert config.criteria(match, "x") == criteria


@pytest.mark.parametrize("match", ['Group "domain users"', "Group=x User = ada", "invalid-user"])
def test_who_reads_other_files_may_be_said_in_each_form(match: str) -> None:
    assert common_home_files(key_files(parse(f"Match {match}\nAuthorizedKeysFile .ssh/other\n"))) is None
    with pytest.raises(SshdError, match="one key file per user"):
        common_home_files(key_files(parse(f"Match {match} Address=10.0.0.1\nAuthorizedKeysFile .ssh/other\n")))


def test_what_sshd_says_is_read_whatever_the_case_of_its_keywords() -> None:
    said = config.effective("AuthorizedKeysFile .ssh/Keys\nusepam yes\nSubsystem a b\nSubsystem c d\n")
    assert said == {"authorizedkeysfile": (".ssh/Keys",), "usepam": ("yes",), "subsystem": ("a b", "c d")}


def test_principals_in_homes_matter_where_certificates_count() -> None:
    text = "AuthorizedPrincipalsFile /etc/x/%u\nMatch Group g\nAuthorizedPrincipalsFile %h/.ssh/principals\n"
    assert [each.line for each in config.principals_in_homes(parse(f"{text}TrustedUserCAKeys /etc/ca\n"))] == [3]
    assert not list(config.principals_in_homes(parse(text)))
    assert not list(config.principals_in_homes(parse(f"{text}TrustedUserCAKeys none\n")))
