"""Changing homes and removing them: `pyhome update` and `pyhome remove`."""
