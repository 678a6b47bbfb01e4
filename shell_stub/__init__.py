"""The login shell that unlocks a home. Reached as `pam_pyhome.shell_stub` only."""

if __name__ != "pam_pyhome.shell_stub":
    raise ImportError("import this package as pam_pyhome.shell_stub")
