"""Tests of the pure formats."""
