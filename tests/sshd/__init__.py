"""The layout of keys in front of the real sshd, on a loopback port, in private name spaces."""
