"""Tests of the packages: what is in them, and what installing and removing them does."""
