"""pyhome: encrypted home directories that open at login and close at logout."""

__version__ = "0.2.0"
