"""Tests of the kernel room that need no rights."""
