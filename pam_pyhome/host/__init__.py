"""Between libpam and policy."""
