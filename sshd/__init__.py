"""The authorized_keys layout outside the home. Reached as `pam_pyhome.sshd` only."""

if __name__ != "pam_pyhome.sshd":
    raise ImportError("import this package as pam_pyhome.sshd")
