"""Tests of the login shell: what it decides, and how it finds out."""
