"""The login shell under a terminal, beside a small broker, and behind a real sshd."""
