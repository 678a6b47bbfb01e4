"""Tests of `pyhome doctor`, `setup` and `rollback`."""
