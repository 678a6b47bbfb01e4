"""Kinds of encrypted home: formats and kernel put together."""
