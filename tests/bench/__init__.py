"""How fast pyhome is, beside the tools it replaces."""
