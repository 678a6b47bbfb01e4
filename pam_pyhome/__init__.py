"""pyhome: encrypted home directories that open at login and close at logout."""

__version__ = "0.1.0"
