"""The login shell that unlocks a home. Reached as `pam_pyhome.shell_stub` only.

Read `main` first: it gathers facts, asks `decide` what they mean, and does that. When the home is open nothing else is loaded.
"""

if __name__ != "pam_pyhome.shell_stub":
    raise ImportError("import this package as pam_pyhome.shell_stub")
