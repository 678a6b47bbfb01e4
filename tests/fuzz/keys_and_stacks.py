"""Targets: keys that users write and sshd reads, and the configuration of sshd and PAM."""

from __future__ import annotations

from pam_pyhome.cli.advice import one_line
from pam_pyhome.errors import SshdError
from pam_pyhome.formats import authorized_keys, pam_stack
from pam_pyhome.sshd import config, layout
from tests.fuzz.target import check_sentence, parts, target

_ED25519 = b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f ada@laptop\n"
_OPTIONS = b'restrict,command="echo \\"hi\\"",from="10.0.0.*" ' + _ED25519
_FILES = [_ED25519, _OPTIONS, b"# comment\n\n" + _ED25519 + b"not a key\r\n", b"sk-ssh-ed25519@openssh.com AAAA x\n"]


@target("authorized-keys", seeds=_FILES, longest=2048)
def keys(data: bytes) -> None:
    """Never refused; what is kept has no bad lines and the same keys, and is made of lines of the file."""
    found = authorized_keys.parse_authorized_keys(data)
    again = authorized_keys.parse_authorized_keys(found.kept)
    assert (again.bad, again.kept) == ((), found.kept)
    assert _said(again) == _said(found)
    assert len(found.kept) <= len(data)
    assert all(bad.reason.isprintable() for bad in found.bad)


def _said(file: authorized_keys.KeyFile) -> list[tuple[bytes, str, bytes, bytes]]:
    return [(key.options, key.key_type, key.blob, key.comment) for key in file.keys]


@target(
    "layout-merge",
    seeds=[
        b"\n====\n".join(each)
        for each in ((b"\1", layout.MARKER + _ED25519, _OPTIONS), (b"\0", _ED25519 + layout.MARKER, _ED25519))
    ],
    longest=2048,
)
def merged(data: bytes) -> None:
    """The administrator's part stays as it is; doing it again changes nothing; the user's part has the user's keys."""
    how, held, own = parts(data, 3)
    sources = (layout.Source("/home/ada/.ssh/authorized_keys", own),)
    keys = layout.Keys(held, sources, complete=how[:1] == b"\1")
    content, _ = layout.merge("/etc/ssh/authorized_keys.d/ada", keys)
    foreign, _ = layout.split(held)
    kept, users = layout.split(content)
    assert kept in {foreign, foreign + b"\n"}
    again, _ = layout.merge("/etc/ssh/authorized_keys.d/ada", layout.Keys(content, sources, keys.complete))
    assert again == content
    if keys.complete and users:
        assert _said(authorized_keys.parse_authorized_keys(users)) == _said(authorized_keys.parse_authorized_keys(own))


@target(
    "pam-stack",
    seeds=[
        (
            b"auth [success=1 default=ignore] pam_unix.so nullok\nauth requisite pam_deny.so\n@include common-account\n"
            b"\n====\nauth include other\n"
        ),
        (
            b"-session optional \\\n pam_pyhome.so [a b\\] c]\nauth substack other\n====\n"
            b"auth sufficient pam_permit.so\nauth [default=reset] x.so"
        ),
    ],
    longest=1024,
)
def stack(data: bytes) -> None:
    """Never refused; lines are counted, and whatever the modules answer, following a stack comes to an end and to a code."""
    texts = [part.decode("utf-8", "replace") for part in parts(data, 3)]
    names = ("login", "other", "common-account")
    files = {name: pam_stack.parse(text, name) for name, text in zip(names, texts)}
    for name, text in zip(names, texts):
        numbers = [rule.line for rule in files[name]]
        assert numbers == sorted(set(numbers))
        assert all(1 <= rule.line <= rule.last <= text.count("\n") + 1 for rule in files[name])
    for kind in pam_stack.KINDS:
        steps = pam_stack.chain(files, "login", kind)
        for answers in ((pam_stack.SUCCESS,), (pam_stack.IGNORE,), ("auth_err", pam_stack.SUCCESS)):
            outcome = pam_stack.walk(steps, lambda rule, answers=answers: answers[rule.line % len(answers)])  # type: ignore[misc]
            assert outcome.code in pam_stack.CODES
            assert len(outcome.trail) <= len(steps)


@target(
    "sshd-config",
    seeds=[
        (b"Include b\nAuthorizedKeysFile .ssh/a %h/b\nMatch User bob\n  AuthenticationMethods publickey,password\n"
        b"====\nUsePAM yes # x\n"),
        b'UsePAM yes\nMatch all\nAuthorizedKeysFile="a b" c\\ d\nKbdInteractiveAuthentication no\n====\n',
    ],
    longest=2048,
)  # fmt: skip
def sshd(data: bytes) -> None:
    """Refused with a sentence or understood; the drop-in that follows is read as it was meant."""
    main, other = (part.decode("utf-8", "surrogateescape") for part in parts(data, 2))
    try:
        directives = config.parse(
            main, config.MAIN, lambda pattern: [(pattern, other)] if pattern in {"b", "c"} else []
        )
        blocks = config.key_files(directives)
    except SshdError as error:
        check_sentence(error, one_line)
        return
    written = config.drop_in(config.Wanted(layout.IN_DIRECTORY, tuple(blocks)))
    assert config.parse(written, config.DROP_IN, lambda _pattern: ()) is not None
    concerned = any(not block.match and config.home_files(block.files) for block in blocks)
    assert not concerned or config.template_of(written) == layout.IN_DIRECTORY
    for check in (config.common_home_files, lambda _blocks: config.unlock_after_key(directives, ("root",))):
        try:
            check(blocks)
        except SshdError as error:
            check_sentence(error, one_line)
