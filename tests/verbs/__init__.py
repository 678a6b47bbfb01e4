"""The everyday verbs of ``pyhome`` in a test machine, with the real pyhomed and real sessions."""
