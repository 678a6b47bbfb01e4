"""Tests in a real Debian, booted in a virtual machine."""
