"""Logins by real PAM applications with the real worker, and everything about an encrypted home that comes before mount(2)."""
