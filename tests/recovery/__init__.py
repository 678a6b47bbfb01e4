"""Recovery keys and the copies of key files, with real encrypted homes and the tools that made them as judges."""
