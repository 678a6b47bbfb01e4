"""Tests of pyhome."""
