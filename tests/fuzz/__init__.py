"""Fuzzers: whatever bytes a parser is given, it answers or refuses. Each target says what must hold besides."""
