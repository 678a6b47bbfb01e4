"""Homes of other installations: found, opened, closed."""
