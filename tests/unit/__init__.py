"""Tests that need no root and no virtual machine, and less than a minute."""
