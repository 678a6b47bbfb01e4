"""The real shell has gone, is not recorded, or leads back here; the program itself is broken: everybody still gets a shell."""

from __future__ import annotations

import pytest

from tests.stub.place import BASH, STUB, Place

WHO = "echo $0 $SHELL; exit 3"


@pytest.mark.parametrize(
    ("shells", "line"),
    [
        ("pat:/bin/gone\n", b"/bin/gone cannot be run; this is /bin/sh"),
        ("pat:/etc/passwd\n", b"/etc/passwd cannot be run; this is /bin/sh"),
        ("pat:/home\n", b"/home cannot be run; this is /bin/sh"),
        (f"pat:{STUB}\n", b"pyhome-shell cannot be run; this is /bin/sh"),
        ("pat:/usr/local/bin/again\n", b"/usr/local/bin/again cannot be run; this is /bin/sh"),
        ("pat:bash\n", b"/etc/pyhome-shells has no shell for pat; this is /bin/sh"),
        ("patty:/bin/bash\n", b"/etc/pyhome-shells has no shell for pat; this is /bin/sh"),
        ("", b"/etc/pyhome-shells has no shell for pat; this is /bin/sh"),
    ],
)
def test_the_last_resort_says_so_in_one_line(served: Place, shells: str, line: bytes) -> None:
    again = served.machine.path("/usr/local/bin/again")
    again.unlink(missing_ok=True)
    again.symlink_to(STUB)
    served.set_shell("pat", STUB)
    served.shells(shells)
    done = served.ssh("pat", WHO)
    assert (done.status, done.out) == (3, b"sh /bin/sh\n")
    assert line in done.err
    assert done.err.count(b"\n") == 1
    login = served.ssh("pat", stdin=b"echo $0; exit 3\n")
    assert (login.status, login.out) == (3, b"-sh\n")


@pytest.mark.parametrize(("mode", "owner"), [(0o666, 0), (0o664, 0), (0o644, 61002)])
@pytest.mark.guarantee(7)
def test_a_list_that_others_can_write_is_not_believed(served: Place, mode: int, owner: int) -> None:
    served.shells("pat:/usr/bin/id\n")
    path = served.machine.path("/etc/pyhome-shells")
    path.chmod(mode)
    served.machine.run(["chown", str(owner), "/etc/pyhome-shells"])
    try:
        assert served.ssh("pat", WHO).out == b"sh /bin/sh\n"
    finally:
        path.unlink()


def test_a_script_without_an_interpreter_is_the_last_resort_too(served: Place) -> None:
    script = served.machine.path("/usr/local/bin/odd")
    script.write_text("#!/no/such/interpreter\n", encoding="ascii")
    script.chmod(0o755)
    served.shells("pat:/usr/local/bin/odd\n")
    done = served.ssh("pat", WHO)
    assert (done.status, done.out[:3]) == (3, b"sh ")
    assert b"/usr/local/bin/odd: No such file or directory; this is /bin/sh" in done.err


def test_another_login_shell_in_the_password_database_is_the_real_one(served: Place) -> None:
    """As ForceCommand, the list is not needed."""
    served.shells("pat:/bin/gone\n")
    served.set_shell("pat", BASH)
    done = served.ssh("pat", f"exec {STUB} -c '{WHO}'")
    assert (done.status, done.out, done.err) == (3, b"bash /bin/bash\n", b"")


def test_a_hundred_thousand_others_cost_no_time(served: Place) -> None:
    served.set_shell("pat", STUB)
    served.shells("".join(f"user{number}:/bin/sh\n" for number in range(100_000)) + "pat:/bin/bash\n")
    assert served.ssh("pat", WHO).out == b"bash /bin/bash\n"


@pytest.mark.guarantee(9)
def test_a_broken_installation_locks_nobody_out(place: Place) -> None:
    """As during an upgrade: modules are missing, or not yet those of this version."""
    place.sshd()
    module = place.machine.path("/usr/lib/pyhome/pam_pyhome/shell_stub/main.py")
    module.write_text("from pam_pyhome.formats.broker import nothing_of_this_name\n", encoding="ascii")
    for damage in ("", "rm -r /usr/lib/pyhome/pam_pyhome"):
        place.machine.run(["/bin/sh", "-c", damage])
        done = place.ssh("pat", "echo $0; exit 3")
        assert (done.status, done.out) == (3, b"sh\n")
        assert done.err.startswith(b"pyhome: ")
        assert done.err.endswith(b"; this is /bin/sh\n")
        assert place.ssh("pat", stdin=b"echo $0\n").out == b"-sh\n"
