"""Ways to open a home."""
