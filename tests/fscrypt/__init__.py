"""The fscrypt backend against the real tools, on a real file system."""
